"""Every command of the README and of the results is run, in the order of the pages."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LINES = [
    line.strip()
    for page in ("README.md", "docs/results.md")
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
COMMANDS = [line.partition("  #")[0].strip() for line in LINES]
LONG = [
    command
    for line, command in zip(LINES, COMMANDS, strict=True)
    if command.startswith("python -m") or "# minutes" in line
]
DATA = {
    "pneumonia": "pneumoniamnist",
    "support": "clinc150",
    "fleet_engines": "cmapss",
    "homes": "fsdd",
}
"""Folder of the data of a domain that a command names; the others' are hospitals."""
DEPLOYED = ("tacit-provision", "tacit-server", "tacit-client", "tacit-ledger", "tacit-watch")
ELSEWHERE = ("make test", "make picture", "python -m benchmarks.", "flwr run", *DEPLOYED)
"""`make test` is this very suite, the picture needs a browser, `flwr run` what test_stock_flower.py
starts, the deployed run is in test_walkthrough.py, and what a person waits minutes for is marked
slow."""


def data_root() -> Path:
    return Path(os.environ.get("TACIT_DATA", ROOT.parent / "shared" / "data")).resolve()


def words_of(command: str) -> list[str]:
    """Take a line apart as a shell would, with PATH said."""
    folders = [held for domain, held in DATA.items() if domain in command]
    data = data_root() / (folders[0] if folders else "heart_disease")
    return [word.replace("PATH", str(data)) for word in shlex.split(command)]


def main_of(name: str) -> Callable[[list[str]], int]:
    """Return what an installed command does with its words."""
    (found,) = entry_points(group="console_scripts", name=name)
    main: Callable[[list[str]], int] = importlib.import_module(found.module)._main
    return main


def run(command: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a shell with .venv/bin on its PATH would."""
    words = words_of(command)
    if words[0] == "make":
        # The environment is there already: only what comes after it is run.
        words = ["make", "-f", str(ROOT / "Makefile"), "-o", "install", *words[1:], f"bin={BIN}"]
        # A container lets no browser build its sandbox; the page is ours.
        words.append("CHROMIUM=chromium --no-sandbox")
    elif words[0] == "python":
        words[0] = sys.executable
    else:
        words[0] = str(BIN / words[0])
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_readme_has_its_commands() -> None:
    assert "make demo" in COMMANDS
    assert "make test" in COMMANDS
    assert sum(command.startswith("tacit-") for command in COMMANDS) >= 5


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_works(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, where they are ours: that they start by themselves is another test's."""
    has_data = (data_root() / "heart_disease").is_dir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ran = 0
    for line in COMMANDS:
        if line.startswith(ELSEWHERE) or line in LONG:
            continue
        if not has_data and ("PATH" in line or "run.resume=heart" in line):
            continue
        name, *words = words_of(line)
        if name.startswith("tacit-"):
            ended = command(*words, main=main_of(name))
            code, out, err = ended.code, ended.out, ended.err
        else:
            done = run(line, tmp_path, tmp_path / "cache")
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, (line, out[-2000:], err[-2000:])
        assert "Traceback" not in err, line
        ran += 1
    assert ran >= 5
    for left in ("sweep/sweep.html", "baseline/report.html", "shared/results.json"):
        assert (tmp_path / left).is_file(), left
    if not has_data:
        pytest.skip("TACIT_DATA has no heart_disease: its README commands were left out")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_the_picture_is_drawn(tmp_path: Path) -> None:
    assert "make picture" in COMMANDS
    done = run("make picture", tmp_path, tmp_path / "cache")
    assert done.returncode == 0, done.stderr[-2000:]
    drawn, kept = (folder / "docs/report.png" for folder in (tmp_path, ROOT))
    assert size_of(drawn) == size_of(kept)


def size_of(png: Path) -> bytes:
    """Width and height, from the header chunk (PNG specification, 11.2.2)."""
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return content[16:24]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", LONG)
def test_every_long_command_of_the_readme_works(command: str, tmp_path: Path) -> None:
    if "PATH" in command and not (data_root() / "heart_disease").is_dir():
        pytest.skip("TACIT_DATA has no heart_disease")
    done = run(command, tmp_path, tmp_path / "cache")
    assert done.returncode == 0, done.stderr[-2000:]

"""Every command of the README is run, in the order in which a person would type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LINES = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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


def run(command: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a shell with .venv/bin on its PATH would."""
    folders = [held for domain, held in DATA.items() if domain in command]
    data = data_root() / (folders[0] if folders else "heart_disease")
    words = [word.replace("PATH", str(data)) for word in shlex.split(command)]
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
def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    has_data = (data_root() / "heart_disease").is_dir()
    ran = 0
    for command in COMMANDS:
        if command.startswith(ELSEWHERE) or command in LONG:
            continue
        if not has_data and ("PATH" in command or "run.resume=heart" in command):
            continue
        done = run(command, tmp_path, tmp_path / "cache")
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
        assert "Traceback" not in done.stderr, command
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

"""Clients of others, by the commands of docs/audits-of-others.md, with what it says of each."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import audits.target.app
from audits.command import _main
from tacit.errors import ExitCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audits-of-others.md").read_text(encoding="utf-8")
COMMANDS = {
    words[1].partition("=")[2] + (" poisson" if "poisson=true" in line else ""): words[1:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line)) and words[0] == "tacit-audit"
}
FOUND = {
    "central_dp:app": {"records that are not numbers"},
    "local_dp:app": {"records that are not numbers", "what left"},
    "local_dp:app_at_ten": {
        "ε of the claim",
        "ε of the noise that is there",
        "records that are not numbers",
        "what left",
    },
    "local_dp:app_with_temperature": {
        "noise of each tensor",
        "clipping",
        "records that are not numbers",
        "what left",
    },
    "opacus_dp:app": {"records that are not numbers", "divisor", "sampler", "what left"},
    "opacus_dp:app poisson": {"records that are not numbers"},
    "honest_dp:app": set(),
    "honest_dp:whole_app": set(),
}
OPEN = {
    "central_dp:app": {"amount of noise", "what left"},
    "honest_dp:app": {"clipping"},
}
QUICK = {"local_dp:app_with_temperature"}


def test_the_page_has_a_command_for_each():
    assert COMMANDS.keys() == FOUND.keys()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in FOUND]
)
def test_what_the_page_says_is_what_is_found(name, tmp_path, monkeypatch, command):
    seeds = iter(range(10**6))
    monkeypatch.setattr(audits.target.app.secrets, "randbelow", lambda limit: next(seeds))
    monkeypatch.chdir(ROOT / "tests" / "strangers")
    # An honest client is contradicted once in twenty tries at most: this is one try, and the same.
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setattr(import_module("honest_dp"), "chance", np.random.default_rng(0))
    out = tmp_path / "audit.json"
    done = command(*COMMANDS[name], f"out={out}", main=_main)
    stages = json.loads(out.read_text())["stages"]
    findings = [finding for stage in stages for finding in stage["findings"]]
    assert {f["test"] for f in findings if f["contradicted"]} == FOUND[name]
    assert {f["test"] for f in findings if not f["tested"]} == OPEN.get(name, set())
    code = ExitCode.INCOMPLETE if OPEN.get(name) else ExitCode.DONE
    assert done.code == (ExitCode.CONTRADICTED if FOUND[name] else code)
    assert "Traceback" not in done.err
    assert not done.err

"""The README's three terminals: exactly its lines, in one folder, on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text().partition("### For real")[2].partition("\n## ")[0]
BLOCKS = [
    [line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()]
    for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
]
PATIENCE = 120


def free(port):
    with socket.socket() as bound:
        return bound.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def terminal(tmp_path):
    """Run lines as a shell with .venv/bin on its PATH would; stop what is left at the end."""
    started = []
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }

    def run(*lines):
        process = subprocess.Popen(
            ["bash", "-ec", "\n".join(lines)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def said(process):
    """Wait for a terminal's lines to end well; give what they said."""
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    return text


def read_until(process, words):
    text = ""
    while words not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    return text


@pytest.mark.skipif(not (free(9443) and free(9444)), reason="port 9443 or 9444 is taken")
def test_the_three_terminals_finish_a_run(tmp_path, terminal):
    coordinator, county, referral, after = BLOCKS
    first = terminal(*coordinator)
    read_until(first, "sites at port 9443")
    check, ledger, watch = after
    assert "Nothing stands in the way of a run" in said(terminal(check))
    watched = terminal(watch)
    sites = [terminal(*county), terminal(*referral)]
    assert "report: " in said(first)
    assert "finished" in said(watched)
    assert (tmp_path / "trial/run/report.html").is_file()
    for site in sites:
        os.killpg(site.pid, signal.SIGTERM)
    shown = said(terminal(ledger))
    assert "county-data" in shown

"""The units for systemd are what systemd takes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "docs" / "systemd").glob("*.service"))


def verified(path):
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
    )


def test_there_is_one_for_each_side():
    assert [path.name for path in UNITS] == ["tacit-client.service", "tacit-server.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_has_nothing_to_say(unit, tmp_path):
    # The only thing about it that is not of this machine is where Tacit lies.
    text = unit.read_text().replace(f"/opt/tacit/.venv/bin/{unit.stem}", sys.executable)
    own = tmp_path / unit.name
    own.write_text(text)
    done = verified(own)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    own.write_text(text.replace("Restart=on-failure", "Restart=perhaps"))
    assert "perhaps" in verified(own).stderr

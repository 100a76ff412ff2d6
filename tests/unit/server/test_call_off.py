"""Only a coordinator that works in the run directory is told to call its run off."""

import os
import subprocess
import sys

import pytest

from server.call_off import PROCESS, CalledOffError, call_off, findable
from tacit.errors import RunDirectoryError
from tacit.runs.directory import claim


def test_whoever_works_there_hears_it(tmp_path):
    with claim(tmp_path, resume=False), findable(tmp_path), pytest.raises(CalledOffError):
        call_off(tmp_path)
    assert not (tmp_path / PROCESS).exists()


def test_the_number_of_a_process_that_was_killed_may_be_anothers(tmp_path):
    with claim(tmp_path, resume=False):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=dict(os.environ)
    ) as another:
        (tmp_path / PROCESS).write_text(str(another.pid))
        with pytest.raises(RunDirectoryError, match="no coordinator works there"):
            call_off(tmp_path)
        another.communicate(b"\n")
    assert another.returncode == 0

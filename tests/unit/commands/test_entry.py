import errno
import io
import os
import signal
import sys

import pytest

from commands import entry
from tacit import errors
from tacit.errors import ExitCode


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def left(error: BaseException | None = None, code: int = 0) -> int:
    def main() -> int:
        if error is not None:
            raise error
        return code

    with pytest.raises(SystemExit) as caught:
        entry.run(main)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TacitError("x"), ExitCode.FAULT),
        (errors.ConfigurationError("x"), ExitCode.BAD_INPUT),
        (errors.DataError("x"), ExitCode.BAD_INPUT),
        (errors.RunDirectoryError("x"), ExitCode.BAD_INPUT),
        (errors.RefusedError("budget", "x"), ExitCode.REFUSED),
        (errors.TooFewSitesError("x"), ExitCode.TOO_FEW_SITES),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (PermissionError(errno.EACCES, "Permission denied", "x"), ExitCode.BAD_INPUT),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.BAD_INPUT),
        (None, ExitCode.DONE),
    ],
)
def test_every_end_has_its_code_and_at_most_one_line(error, code, capsys):
    assert left(error) == code
    said = capsys.readouterr().err
    assert said.count("\n") == (error is not None)
    assert "Traceback" not in said


def test_a_message_of_several_lines_becomes_one(capsys):
    left(errors.DataError("first\nsecond"))
    assert capsys.readouterr().err == "error: first second\n"


def test_a_fault_of_ours_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        entry.run(lambda: 1 // 0)
    assert left(OSError("no number, no file")) == ExitCode.FAULT
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_leaves_with_its_code(capsys):
    def main() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    with pytest.raises(SystemExit) as caught:
        entry.run(main)
    assert caught.value.code == ExitCode.TERMINATED
    assert capsys.readouterr().err == "terminated\n"


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", narrow)
    assert left(errors.ConfigurationError("ε")) == ExitCode.BAD_INPUT
    narrow.flush()
    assert narrow.buffer.getvalue() == b"error: ?\n"

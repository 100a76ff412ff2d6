import errno
import io
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from commands import entry
from tacit import errors
from tacit.errors import ExitCode


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


MANY = """
import os, signal, threading
from commands import entry
for _ in range(20):
    try:
        entry.run(lambda: os.kill(os.getpid(), signal.SIGINT))
    except SystemExit as left:
        assert left.code == 130
for thread in threading.enumerate()[1:-1]:
    thread.join()
print(threading.active_count(), len(os.listdir("/proc/self/fd")))
"""


def test_many_runs_leave_one_watcher():
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        capture_output=True,
        text=True,
        check=True,
        close_fds=True,
        timeout=60,
    )
    assert done.stderr == "interrupted\n" * 20
    assert done.stdout == "2 6\n"  # three streams, the folder being listed, the watcher's pipe


WORK = {
    # Each says 'begun' when a signal may come.
    "python": "print('begun', flush=True); time.sleep(60)",
    "cleaning up": """
try:
    print('begun', flush=True); time.sleep(60)
finally:
    print('stopping', flush=True); time.sleep(60)
""",
    "shutdown": """
threading.Thread(target=time.sleep, args=(60,)).start()
atexit.register(time.sleep, 60)
print('begun', flush=True); time.sleep(60)
""",
    # One call into C without end, which says itself that it has begun: no Python runs after that.
    "a long call": """
database = sqlite3.connect(':memory:')
database.create_function('say', 0, partial(os.write, 1, b'begun\\n'))
database.execute(
    'WITH RECURSIVE c(x) AS (SELECT say() UNION ALL SELECT x FROM c) SELECT count(*) FROM c'
)
""",
}
HEAD = """
import atexit, os, signal, sqlite3, threading, time
from functools import partial
from commands import entry
def main():
"""


@pytest.fixture
def started():
    """Starts a piece of work as a process of its own, under `entry.run`."""
    processes = []

    def start(work, ignored=False):
        body = "".join(f"    {line}\n" for line in WORK[work].strip().splitlines())
        handler = signal.SIG_IGN if ignored else signal.SIG_DFL
        process = subprocess.Popen(
            [sys.executable, "-c", f"{HEAD}{body}entry.run(main)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, handler),
        )
        processes.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ended(process):
    """Wait for an end that comes long before the work's; gives exit code and stderr."""
    _, said = process.communicate(timeout=20)
    return process.returncode, said


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_leaves_by_every_clean_up(started, sent, code):
    process = started("python")
    process.send_signal(sent)
    word = {130: "interrupted\n", 143: "terminated\n"}[code]
    assert ended(process) == (code, word)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_a_clean_up_at_once(started, first):
    process = started("cleaning up")
    process.send_signal(first)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "")


@pytest.mark.parametrize(
    ("first", "word"), [(signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "terminated\n")]
)
def test_a_second_ctrl_c_ends_the_shutdown_at_once_and_without_a_traceback(started, first, word):
    process = started("shutdown")
    process.send_signal(first)
    assert process.stderr.readline() == word  # nothing but the shutdown is left
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "")


def test_a_second_ctrl_c_ends_a_long_call_into_c_at_once(started):
    process = started("a long call")
    process.send_signal(signal.SIGINT)
    # A signal that comes while the one before it waits is the same signal to the system.
    wait_until_taken(process, signal.SIGINT)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "")


def test_without_the_watcher_a_long_call_goes_on(started, monkeypatch):
    """The test above can fail: Python alone hears nothing before the call is over."""
    deaf = f"signal.set_wakeup_fd(-1)\n{WORK['a long call'].strip()}"
    monkeypatch.setitem(WORK, "a long call", deaf)
    process = started("a long call")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        wait_until_taken(process, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)


def wait_until_taken(process, number):
    """Wait until the system has handed a signal to a process."""
    bit = 1 << (number - 1)
    while True:
        with open(f"/proc/{process.pid}/status") as file:
            status = dict(line.split(":\t", 1) for line in file)
        if not (int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)) & bit:
            return


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigterm_that_comes_second_changes_nothing(started, first):
    process = started("cleaning up")
    process.send_signal(first)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    wait_until_taken(process, signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "")


def test_in_the_background_of_a_shell_ctrl_c_is_ignored(started):
    process = started("python", ignored=True)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "terminated\n")


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", narrow)
    assert left(errors.ConfigurationError("ε")) == ExitCode.BAD_INPUT
    narrow.flush()
    assert narrow.buffer.getvalue() == b"error: ?\n"

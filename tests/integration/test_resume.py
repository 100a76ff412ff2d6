"""Real processes, stopped in the middle and gone on with: by kill -9, Ctrl-C, SIGTERM, a full disk.

A process is stopped once its history says that a round is done, so nothing here waits for a time.
"""

import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from whole_run import (
    SITES,
    SYSTEM,
    call,
    charges,
    end,
    epsilons,
    lines,
    results,
    rounds_of,
    rows,
    start,
    uninterrupted,
    wait_for_round,
    words,
)

from server.checkpoint import load_checkpoint
from tacit.errors import ExitCode

ROUNDS = 25
STEPS = "training.local_steps=2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run in this process, never interrupted."""
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run", ROUNDS, STEPS)


def begin(path, *more):
    """Start a run and let it do some rounds."""
    process = start([*words(path, ROUNDS), STEPS, *more], path.parent)
    wait_for_round(process, path, 5)
    return process


def go_on(path):
    return start([f"run.resume={path}"], path.parent)


def assert_whole(path, whole):
    """A run that was stopped is, in the end, the run that was not."""
    assert rounds_of(path) == list(range(ROUNDS + 1))
    assert results(path)["weights_sha256"] == results(whole)["weights_sha256"]
    assert results(path)["rounds"] == ROUNDS
    for site, (epsilon, budget) in epsilons(path).items():
        assert epsilon == epsilons(whole)[site][0] <= budget
        rows(path, site)


def test_kill_and_resume_end_with_the_same_bits(tmp_path, whole):
    path = tmp_path / "run"
    process = begin(path)
    process.kill()
    assert end(process) == (-signal.SIGKILL, "")
    assert lines(path) < ROUNDS
    assert not (path / "results.json").exists()
    assert end(go_on(path)) == (ExitCode.DONE, "")
    assert_whole(path, whole)
    assert (path / "report.html").is_file()
    # Nothing was written anywhere else.
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_kill_and_resume_with_noise_of_the_system(tmp_path, resume):
    path = tmp_path / "run"
    process = begin(path, SYSTEM)
    process.kill()
    end(process)
    _, state = load_checkpoint(path / "checkpoint")
    # The line of a round comes before its checkpoint.
    assert 4 <= state.round < ROUNDS
    assert resume(path) == (ExitCode.DONE, "")
    done = results(path)["rounds"]
    assert rounds_of(path) == list(range(done + 1))
    # A round that was charged and lost is missing at the end, and only then is that said.
    assert done in (ROUNDS - 1, ROUNDS)
    assert (done < ROUNDS) == any("not given back" in n for n in results(path)["notes"])
    for site, (epsilon, budget) in epsilons(path).items():
        assert 0.9 * budget < epsilon <= budget
        assert len(charges(path, site)) <= ROUNDS


def test_one_process_in_a_run_ctrl_c_and_sigterm(tmp_path, whole, resume, capsys):
    path = tmp_path / "run"
    process = begin(path)
    process.send_signal(signal.SIGSTOP)
    for second in ([f"run.resume={path}"], words(path, ROUNDS)):
        code, said = call(second, capsys)
        assert code == ExitCode.BAD_INPUT
        assert said.startswith(f"error: run.dir={path}: another process is running in it")
        assert len(said.splitlines()) == 1
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert end(process) == (ExitCode.INTERRUPTED, "interrupted\n")
    _, state = load_checkpoint(path / "checkpoint")
    assert 4 <= state.round < ROUNDS
    for site in SITES:
        assert state.round <= len(charges(path, site)) <= state.round + 1

    process = go_on(path)
    wait_for_round(process, path, state.round + 5)
    process.terminate()
    assert end(process) == (ExitCode.TERMINATED, "terminated\n")
    assert load_checkpoint(path / "checkpoint")[1].round < ROUNDS
    for site in SITES:
        rows(path, site)

    assert resume(path) == (ExitCode.DONE, "")
    assert_whole(path, whole)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of the given size; gives its folder as others see it, and a prefix.

    The mount lives in a namespace of its own, so that no right is needed; a process inside is
    started through the prefix.
    """
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("unshare and nsenter are not installed")
    holders = []

    def mount(size):
        script = f'mount -t tmpfs -o size={size} none "$0" && echo mounted && read end'
        holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        holders.append(holder)
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"no file system can be mounted here: {holder.stderr.read().strip()}")
        enter = ["nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials"]
        return Path(f"/proc/{holder.pid}/root{tmp_path}"), enter

    yield mount
    for holder in holders:
        holder.communicate("\n")


@pytest.mark.slow
def test_a_disk_without_room_is_refused_at_once(small_disk, tmp_path):
    seen, enter = small_disk("2m")
    code, said = end(start(words(tmp_path / "run", ROUNDS), "/", enter))
    assert code == ExitCode.BAD_INPUT
    assert "the disk has 2 MiB left and the run needs 64" in said
    assert len(said.splitlines()) == 1
    assert [entry.name for entry in (seen / "run").iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_disk_that_fills_up(small_disk, tmp_path, whole):
    seen, enter = small_disk("72m")
    process = start([*words(tmp_path / "run", ROUNDS), STEPS], "/", enter)
    wait_for_round(process, seen / "run", 5)
    with (seen / "ballast").open("wb", buffering=0) as ballast:
        # The run writes too, so what is left is taken in ever smaller pieces.
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    ballast.write(bytes(size))
    code, said = end(process)
    assert code == ExitCode.BAD_INPUT
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert "full" in said or "No space left" in said
    (seen / "ballast").unlink()
    # SQLite would look for a path below /proc in the mounts of this process.
    shutil.copytree(seen / "run", tmp_path / "full")
    for site in SITES:
        assert len(charges(tmp_path / "full", site)) >= 5
    assert end(start([f"run.resume={tmp_path / 'run'}"], "/", enter)) == (ExitCode.DONE, "")
    shutil.copytree(seen / "run", tmp_path / "done")
    assert_whole(tmp_path / "done", whole)

"""A run's directory: one process at a time, room to write, and a history that a crash cut short."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tacit.errors import RunDirectoryError
from tacit.runs.directory import (
    CONFIG,
    HISTORY,
    LEAST_FREE_BYTES,
    RunDirectory,
    claim,
    in_use,
    read_config,
)
from tacit.runs.results import Round

HOLD = """
import sys
from pathlib import Path
from tacit.runs.directory import claim
with claim(Path(sys.argv[1]), resume=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """A directory that another process holds until its standard input is closed."""
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield path, process
        process.kill()


def claim_and_leave(path, **more):
    with claim(path, **{"resume": False, **more}) as run:
        return run


def free_bytes(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def test_a_file_that_a_kill_left_half_written_is_no_run(tmp_path):
    (tmp_path / f".{CONFIG}.123").write_text("na")
    claim_and_leave(tmp_path)


def test_whether_somebody_works_there(held, tmp_path):
    path, process = held
    assert in_use(path)
    process.communicate("")
    assert not in_use(path)
    assert not in_use(tmp_path / "none")


def test_a_directory_is_made_and_may_be_claimed_again(tmp_path):
    path = tmp_path / "new" / "run"
    assert claim_and_leave(path).path == path
    assert claim_and_leave(path).path == path
    assert path.is_dir()


@pytest.mark.parametrize("resume", [False, True])
def test_a_directory_in_use_is_refused(held, resume):
    path, _ = held
    RunDirectory(path).write_config({"seed": 0})
    with pytest.raises(RunDirectoryError, match="another process is running in it"):
        claim_and_leave(path, resume=resume)


def test_it_is_free_when_its_process_ends_however_it_ends(held):
    path, process = held
    process.kill()
    process.wait()
    assert claim_and_leave(path).path == path


def test_one_process_cannot_claim_it_twice(tmp_path):
    with (
        claim(tmp_path, resume=False),
        pytest.raises(RunDirectoryError, match="another process"),
    ):
        claim_and_leave(tmp_path)


def test_a_directory_that_is_not_empty_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(RunDirectoryError, match=r"is not empty \(it holds thesis\.tex\)"):
        claim_and_leave(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "ten years"


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot be made or written"):
        claim_and_leave(tmp_path / "run")


@pytest.mark.parametrize("there", [False, True])
def test_resume_needs_a_run(tmp_path, there):
    path = tmp_path / "run"
    if there:
        path.mkdir()
    with pytest.raises(RunDirectoryError, match=r"there is no run here \(config\.yaml is missing"):
        claim_and_leave(path, resume=True)
    assert path.exists() is there
    assert not there or list(path.iterdir()) == []


def test_resume_takes_a_directory_that_holds_a_run(tmp_path):
    claim_and_leave(tmp_path).write_config({"seed": 3})
    assert claim_and_leave(tmp_path, resume=True).path == tmp_path
    with pytest.raises(RunDirectoryError, match=f"go on with run.resume={tmp_path}"):
        claim_and_leave(tmp_path)


@pytest.mark.parametrize("needed", [0, 5 * 2**20])
def test_a_disk_without_room_is_refused(tmp_path, monkeypatch, needed):
    free_bytes(monkeypatch, LEAST_FREE_BYTES + needed - 1)
    with pytest.raises(RunDirectoryError, match=r"the disk has .* MiB left and the run needs"):
        claim_and_leave(tmp_path, needed=needed)
    free_bytes(monkeypatch, LEAST_FREE_BYTES + needed)
    claim_and_leave(tmp_path, needed=needed)


# Configuration


def test_a_configuration_comes_back(tmp_path):
    config = {"name": "Hôpital № 3", "training": {"rounds": 2, "rate": 1e-05}, "cache": None}
    run = claim_and_leave(tmp_path)
    run.write_config(config)
    assert read_config(tmp_path) == config
    assert list(yaml.safe_load((tmp_path / CONFIG).read_text())) == list(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file: is .* a run"),
        (b"a: [1", "cannot be read"),
        (b"\xff\xfe\xff", "cannot be read"),
        (b"- 1", "holds no configuration"),
        (b"", "holds no configuration"),
        (b"!!python/object/apply:os.getpid []", "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=message):
        read_config(tmp_path)


# History


def line_of(number, why=""):
    return Round(number, 0.5, 0.4, ("north",), {"south": why} if why else {}, loss=1 / (number + 1))


def rounds_in(path):
    return [
        json.loads(line)["round"] for line in (path / HISTORY).read_text("utf-8").split("\n")[:-1]
    ]


def history_of(path, *whys):
    run = RunDirectory(path)
    for number, why in enumerate(whys, 1):
        run.append(line_of(number, why))
    return run


def test_lines_are_appended_and_those_after_the_checkpoint_dropped(tmp_path):
    run = history_of(tmp_path, "", "", "", "")
    assert rounds_in(tmp_path) == [1, 2, 3, 4]
    whole = (tmp_path / HISTORY).read_text().splitlines()
    run.keep_history_through(2)
    assert (tmp_path / HISTORY).read_text().splitlines() == whole[:2]
    run.append(line_of(3))
    assert rounds_in(tmp_path) == [1, 2, 3]


def test_there_may_be_no_history_yet(tmp_path):
    RunDirectory(tmp_path).keep_history_through(5)
    assert not (tmp_path / HISTORY).exists()


def test_a_line_that_a_crash_cut_short_is_dropped_wherever_it_was_cut(tmp_path):
    """In the middle of a character of several bytes, too."""
    run = history_of(tmp_path, "", "timeout at Hôpital № 3")
    whole = (tmp_path / HISTORY).read_bytes()
    start = whole.index(b"\n") + 1
    inside = [n for n in range(start, len(whole)) if whole[n] & 0xC0 == 0x80]  # of a character
    assert len(inside) == 3
    for end in (start, start + 1, *inside, len(whole) - 2):
        (tmp_path / HISTORY).write_bytes(whole[:end])
        run.keep_history_through(9)
        assert rounds_in(tmp_path) == [1], whole[start:end]
        run.append(line_of(2))
        assert rounds_in(tmp_path) == [1, 2]


def test_a_line_that_lacks_only_its_end_is_kept(tmp_path):
    run = history_of(tmp_path, "", "")
    (tmp_path / HISTORY).write_bytes((tmp_path / HISTORY).read_bytes()[:-1])
    run.keep_history_through(9)
    run.append(line_of(3))
    assert rounds_in(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n"])
def test_a_reason_may_hold_any_character(tmp_path, separator):
    run = history_of(tmp_path, f"first{separator}second", "")
    run.keep_history_through(2)
    assert rounds_in(tmp_path) == [1, 2]
    first = json.loads((tmp_path / HISTORY).read_text("utf-8").split("\n")[0])
    assert first["failed"] == {"south": f"first{separator}second"}


def test_what_is_json_but_no_line_of_ours_is_dropped(tmp_path):
    run = history_of(tmp_path, "")
    with (tmp_path / HISTORY).open("a") as file:
        file.write('7\n{"loss": 1}\n[]\n{"round": "x"}\n\n')
    run.keep_history_through(1)
    assert rounds_in(tmp_path) == [1]

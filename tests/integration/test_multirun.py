"""--multirun: a row a job, whatever becomes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from heart_files import write_heart_files

from simulations.sweep import _ended


def test_a_sweep_over_epsilon(data_root: Path, command, tmp_path: Path):
    folder = tmp_path / "a sweep, with=odd 'name'"
    odd = str(folder).replace("'", "\\'")
    ended = command(
        "domain=heart_disease",
        f"domain.root='{data_root / 'heart_disease'}'",
        "training.rounds=2",
        "--multirun",
        "privacy.epsilon=0.5,3",
        f"run.dir='{odd}'",
    )
    assert (ended.code, ended.err) == (0, "")
    rows = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [row["overrides"] for row in rows] == [["privacy.epsilon=0.5"], ["privacy.epsilon=3"]]
    for row, budget in zip(rows, (0.5, 3), strict=True):
        # The least noise within the budget, found to five figures of σ.
        assert 0.99 * budget < row["epsilon"] <= budget
        results = json.loads((folder / row["job"] / "results.json").read_text())
        assert row["evaluation"] == results["evaluation"]
    assert "sweep.html" in ended.out
    assert (folder / "sweep.html").read_text().count("<svg") == 1


def test_a_job_that_fails_does_not_stop_the_others(command, tmp_path: Path):
    root = write_heart_files(tmp_path / "heart")
    folder = tmp_path / "sweep"
    ended = command(
        *("domain=heart_disease", f"domain.root={root}", "training.rounds=1", "-m"),
        *("privacy.delta=0.9,1e-4", f"run.dir={folder}"),
    )
    assert ended.code == 2
    assert "privacy.delta=0.9" in ended.err
    assert "Traceback" not in ended.err
    failed, done = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert (failed["exit_code"], done["exit_code"]) == (2, 0)
    assert "privacy.delta=0.9" in failed["error"]
    assert failed["evaluation"] is None
    assert done["evaluation"]["metric"] == "accuracy"
    assert (folder / "1" / "results.json").is_file()
    assert "bad input" in ended.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("privacy.epsilon=1,abc", "privacy.epsilon=abc"),
        ("privacy.epsilonn=1,2", "'privacy.epsilon'"),
        ("domain=hospitals,hart", "'heart_disease'"),
        ("seed=1,2 run.dir=a,b", "run.dir names the sweep"),
        ("seed=1,2 run.resume=a", "leave --multirun out"),
        ("seed=1,2 --show", "leave --multirun out"),
    ],
)
def test_every_job_is_checked_before_the_first_runs(words, says, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = command("--multirun", *words.split())
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not any(tmp_path.iterdir())


def test_a_job_that_was_killed_counts_as_failed():
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert _ended([sys.executable, "-c", kill]) == (128 + signal.SIGKILL, "")


def test_a_stopped_sweep_stops_its_job(tmp_path: Path):
    job = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    sweep = (
        "from commands import entry; from simulations.sweep import _ended; import sys;"
        f"entry.run(lambda: _ended([sys.executable, '-c', {job!r}])[0])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", sweep], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (143, "terminated\n")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        os.sched_yield()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)

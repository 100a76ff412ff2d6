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

from simulations.sweep import Worker


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


@pytest.mark.slow
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
    with Worker([sys.executable, "-c", kill]) as worker:
        assert worker.run({}) == (128 + signal.SIGKILL, "")
        assert worker.run({}) == (128 + signal.SIGKILL, "")


def test_what_a_job_says_is_its_own():
    job = (
        "import os, sys\n"
        "for line in sys.stdin:\n"
        "    print(line.strip(), file=sys.stderr, flush=True)\n"
        "    os.write(int(sys.argv[1]), b'3\\n')\n"
    )
    with Worker([sys.executable, "-c", job]) as worker:
        assert worker.run({"job": 1}) == (3, '{"job": 1}\n')
        assert worker.run({"job": "ε"}) == (3, '{"job": "\\u03b5"}\n')


WARDS = """\
import os, signal
import torch
from tacit.domains.domain import Card, Examples, Metric, SiteData

class Wards:
    declared_sizes = {"east": 30}
    inputs = (2,)
    groups = ()
    card = Card("wards", "A ward", "", ("well", "ill"), Metric.ACCURACY, "one row")

    def __init__(self, does="nothing"):
        self.does = does

    def load(self):
        print("loading", self.does, os.getpid(), flush=True)
        if self.does == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "break":
            raise ZeroDivisionError("a fault")
        rows = Examples(torch.eye(2).repeat(15, 1), torch.arange(30) % 2)
        return {"east": SiteData(rows, rows)}

    def public_pool(self):
        return None
"""

OWN = """\
# @package _global_
# A ward.
name: wards
domain: {name: wards, _target_: wards_of_a_sweep.Wards, does: nothing}
recommended: {epsilon: 1.0, delta: 1.0e-4, clipping_norm: 1.0}
training: {rounds: 1, local_steps: 1, batch_size: full, learning_rate: 2.0}
baselines:
  alone: {rounds: 1, learning_rate: 2.0}
  federated: {rounds: 1, learning_rate: 2.0}
  pooled: {rounds: 1, learning_rate: 2.0}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A domain of somebody's own, which says when it loads and may end its process."""
    (tmp_path / "wards_of_a_sweep.py").write_text(WARDS)
    (tmp_path / "own" / "domain").mkdir(parents=True)
    (tmp_path / "own" / "domain" / "wards.yaml").write_text(OWN)
    return tmp_path


@pytest.mark.slow
def test_jobs_share_a_process_and_what_they_load(own: Path, process):
    words = ["domain=wards", "--config-dir", own / "own"]
    ended = process(
        *("tacit-simulate", *words, "-m", "privacy.epsilon=1,2,4", f"run.dir={own}/sweep"),
        PYTHONPATH=str(own),
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("loading") == 1
    # The screen has what belongs to a job below its line.
    parts = ended.out.split(" of 3  privacy.epsilon=")
    assert [part.count("wards: making ready") for part in parts] == [0, 1, 1, 1]
    alone = process(
        *("tacit-simulate", *words, "privacy.epsilon=4", f"run.dir={own}/alone"),
        PYTHONPATH=str(own),
    )
    assert alone.code == 0
    third, single = (
        json.loads((own / run / "results.json").read_text())["weights_sha256"]
        for run in ("sweep/2", "alone")
    )
    assert third == single


@pytest.mark.slow
def test_a_job_that_takes_its_process_with_it_does_not_stop_the_others(own: Path, process):
    ended = process(
        *("tacit-simulate", "domain=wards", "--config-dir", own / "own", "-m"),
        *("domain.does=nothing,kill,break,nothing", f"run.dir={own}/sweep"),
        PYTHONPATH=str(own),
    )
    rows = json.loads((own / "sweep" / "sweep.json").read_text())["jobs"]
    assert [row["exit_code"] for row in rows] == [0, 128 + signal.SIGKILL, 1, 0]
    assert ended.code == 128 + signal.SIGKILL
    assert rows[2]["error"] == "ZeroDivisionError: a fault"
    assert rows[1]["error"] is None
    processes = [line.split()[2] for line in ended.out.splitlines() if line.startswith("loading")]
    assert processes[0] == processes[1]
    assert len(set(processes)) == 3


@pytest.mark.slow
def test_ctrl_c_stops_the_sweep_and_its_job_can_go_on(tmp_path: Path):
    words = ["training.rounds=2000", "compare=false", "-m", "seed=1,2", f"run.dir={tmp_path}/sweep"]
    with subprocess.Popen(
        [Path(sys.executable).parent / "tacit-simulate", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as sweep:
        history = tmp_path / "sweep" / "0" / "history.jsonl"
        deadline = time.monotonic() + 120
        while not (history.exists() and history.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(sweep.pid, signal.SIGINT)
        said, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert errors.count("interrupted") == 1
    assert "Traceback" not in errors
    assert "stopped; to go on: tacit-simulate run.resume=" in said
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_stopped_sweep_stops_its_job(tmp_path: Path):
    job = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    sweep = (
        "from commands import entry; from simulations.sweep import Worker; import sys\n"
        "def run():\n"
        f"    with Worker([sys.executable, '-c', {job!r}]) as worker:\n"
        "        return worker.run({})[0]\n"
        "entry.run(run)"
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

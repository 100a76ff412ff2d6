"""Several processes for one cohort: the same weights but for rounding, and none is left behind."""

import os
import signal
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file
from whole_run import ROUNDS, SITES, charges, end, epsilons, results, start, wait_for_round, words

from simulations import workers
from tacit.errors import ExitCode


def weights(path):
    return load_file(path / "model.safetensors")


def alike(one, other):
    """Rounds of one step in fp32: 1e-5 of the largest weight is a hundred roundings."""
    for name, value in weights(one).items():
        np.testing.assert_allclose(
            weights(other)[name], value, rtol=1e-5, atol=1e-5 * abs(value).max()
        )
    assert epsilons(one) == epsilons(other)


@pytest.mark.parametrize("strategy", ["fedavg", pytest.param("fedmedian", marks=pytest.mark.slow)])
def test_two_workers(run, tmp_path, strategy):
    """The median sees each update, the mean only the means of two parts."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(one, f"strategy={strategy}") == (ExitCode.DONE, "")
    assert run(two, f"strategy={strategy}", "engine.workers=2") == (ExitCode.DONE, "")
    alike(one, two)
    if strategy == "fedmedian":
        assert results(one)["weights_sha256"] == results(two)["weights_sha256"]
    for site in SITES:
        assert len(charges(two, site)) == ROUNDS


@pytest.mark.parametrize("size", [1, 3])
def test_chunks(run, tmp_path, whole, size):
    assert run(tmp_path / "run", f"engine.chunk={size}") == (ExitCode.DONE, "")
    alike(whole, tmp_path / "run")


@pytest.mark.slow
def test_only_means_come_back(monkeypatch, run, tmp_path):
    came = []
    honest = workers.receive

    def watched(pipe):
        said, arrays = honest(pipe)
        came.append((said["which"], len(arrays)))
        return said, arrays

    monkeypatch.setattr(workers, "receive", watched)
    assert run(tmp_path / "run", "engine.workers=2")[0] == ExitCode.DONE
    assert came == [([], 0)] * 2 + [([0, 0], 1)] * 2 * ROUNDS


@pytest.mark.slow
def test_a_worker_that_is_gone_ends_the_run_in_words(run, resume, tmp_path, monkeypatch):
    begun = []
    honest = subprocess.Popen
    path = tmp_path / "run"

    def watched(*arguments, **options):
        begun.append(honest(*arguments, **options))
        return begun[-1]

    asked = workers._Worker.ask

    def dies(worker, tasks):
        if tasks[0].round == 3:
            worker._process.kill()
            worker._process.wait()
        asked(worker, tasks)

    with monkeypatch.context() as patched:
        patched.setattr(workers.subprocess, "Popen", watched)
        patched.setattr(workers._Worker, "ask", dies)
        code, error = run(path, "engine.workers=2")
    assert code == ExitCode.FAULT
    assert "a worker process ended with code -9" in error
    assert [process.poll() for process in begun] == [-9, -signal.SIGTERM]
    # It is gone on with, by one process if need be.
    assert resume(path, "engine.workers=1") == (ExitCode.DONE, "")


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_behind(tmp_path):
    path = tmp_path / "run"
    process = start([*words(path, 500), "engine.workers=2"], tmp_path)
    wait_for_round(process, path, 2)
    children = children_of(process.pid)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    code, said = end(process)
    assert code == ExitCode.INTERRUPTED
    assert "Traceback" not in said
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def children_of(process):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in found.stdout.split()]

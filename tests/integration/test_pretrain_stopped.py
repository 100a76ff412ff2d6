"""tacit-pretrain stopped in the middle, by real signals and by cuts between two of its files.

A process is stopped once it has said that a step is done, so nothing here waits for a time.
"""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from commands.compose import composed
from simulations import pretrain_report
from simulations.experiment import prepare
from simulations.pretrain import _main
from tacit.configuration import read_settings
from tacit.models.weights import load_weights

STEPS = 600
WORDS = [f"model.pretraining.steps={STEPS}", "domain=hospitals"]
# As tacit-pretrain is, but a state is written after every step.
DILIGENT = (
    "import tacit.models.pretrain_checkpoint as c, simulations.pretrain as p; c.EVERY = 0; p.main()"
)


class Cut(BaseException):
    """The power is cut."""


def sha256(out):
    load_weights(out)
    return json.loads(out.with_suffix(".json").read_text())["sha256"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Hash of the weights of a pretraining that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "m.safetensors"
    assert _main([f"out={out}", *WORDS]) == 0
    return sha256(out)


def stopped(out, number, after, code=("-m", "simulations.pretrain")):
    """Start a process, send it a signal once a step is done; gives exit code and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-u", *code, f"out={out}", *WORDS],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    while f"pretraining {after}/{STEPS}" not in said:
        line = process.stdout.readline()
        assert line, process.communicate()
        said += line
    process.send_signal(number)
    rest, err = process.communicate()
    return process.returncode, said + rest, err


@pytest.mark.slow
def test_ctrl_c_sigterm_and_kill_and_the_same_command_again(tmp_path, whole, command):
    out = tmp_path / "m.safetensors"
    checkpoint = out.with_suffix(".checkpoint")

    code, said, err = stopped(out, signal.SIGINT, 60)
    assert (code, err) == (130, "interrupted\n")
    assert f"kept: {checkpoint}: the same command goes on from there\n" in said
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]

    code, said, err = stopped(out, signal.SIGTERM, 240)
    assert (code, err) == (143, "terminated\n")
    assert f"pretraining 60/{STEPS}" not in said, "it began anew"
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]

    code, said, err = stopped(out, signal.SIGKILL, 420, ("-c", DILIGENT))
    assert (code, err) == (-signal.SIGKILL, "")
    assert f"pretraining 240/{STEPS}" not in said, "it began anew"

    ended = command(f"out={out}", *WORDS, main=_main)
    assert (ended.code, ended.err) == (0, "")
    assert f"pretraining 420/{STEPS}" not in ended.out, "it began anew"
    assert sha256(out) == whole
    assert not checkpoint.exists()
    report = out.with_suffix(".html").read_text()
    assert report.count("gone on with after step ") == 2
    assert whole in report


def cut_at(patched, owner, name, *, after):
    honest = getattr(owner, name)

    def cut(*arguments, **more):
        if after:
            honest(*arguments, **more)
        raise Cut

    patched.setattr(owner, name, cut)


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_at_the_report_loses_nothing(after, tmp_path, whole, command):
    out = tmp_path / "m.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        cut_at(patched, pretrain_report, "replace_file", after=after)
        with pytest.raises(Cut):
            _main([f"out={out}", *WORDS])
    assert not out.exists()
    assert out.with_suffix(".html").exists() == after
    ended = command(f"out={out}", *WORDS, main=_main)
    assert (ended.code, ended.err) == (0, "")
    assert "pretraining " not in ended.out, "it began anew"
    assert sha256(out) == whole
    assert not out.with_suffix(".checkpoint").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seed=1"], "seed was 0 and is 1"),
        (["model.pretraining.steps=700"], "model.pretraining.steps was 600 and is 700"),
        (["model.architecture.hidden=32"], "model.architecture.hidden was 64 and is 32"),
    ],
)
def test_another_command_is_told_what_differs(words, says, left, command):
    out = left / "m.safetensors"
    before = out.with_suffix(".checkpoint").read_bytes()
    ended = command(f"out={out}", *WORDS, *words, main=_main)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert f"m.checkpoint: is the checkpoint of another pretraining ({says})" in ended.err
    assert out.with_suffix(".checkpoint").read_bytes() == before


def test_one_thread_pretrains_whatever_a_run_uses(tmp_path, threads):
    """Another number of threads gives other bits, and a run that goes on may have another."""
    few = ["domain=hospitals", "model.pretraining.steps=2", f"cache={tmp_path}"]
    seen = []
    prepare(
        read_settings(composed([*few, "engine.threads=2"])),
        lambda step, loss: seen.append(torch.get_num_threads()),
    )
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2


@pytest.fixture
def threads():
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def left(tmp_path_factory):
    """A folder with the checkpoint of a pretraining that was stopped."""
    folder = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patched:
        cut_at(patched, pretrain_report, "recovery", after=False)
        with pytest.raises(Cut):
            _main([f"out={folder / 'm.safetensors'}", *WORDS])
    return folder


def test_the_pretraining_of_a_run_goes_on_too(tmp_path, whole):
    settings = read_settings(composed([*WORDS, f"cache={tmp_path}"]))
    told = []

    def stop(step, loss):
        told.append(step)
        if step == 400:
            raise Cut

    with pytest.raises(Cut):
        prepare(settings, stop)
    (kept,) = (tmp_path / "models").iterdir()
    assert kept.suffix == ".checkpoint"
    prepare(settings, lambda step, loss: told.append(step))
    assert told == list(range(1, STEPS + 1))
    (weights,) = (tmp_path / "models").glob("*.safetensors")
    assert sha256(weights) == whole
    assert not kept.exists()

"""The file that a stopped pretraining leaves: complete, its own, and never of any other."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from tacit.errors import ConfigurationError, ModelError
from tacit.models import pretrain_checkpoint
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretrain_checkpoint import Checkpoint
from tacit.models.pretraining import Pretraining, State, pretrain
from tacit.models.tabular import Tabular

QUESTION = {"seed": 0, "model": {"pretraining": {"steps": 9, "patch": None}}, "torch": "2.x"}


class Stopped(BaseException):
    """Ctrl-C."""


def state(steps=2):
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1.5])}
    adam = {"a/step": np.array(steps, dtype=np.float32), "a/exp_avg": np.float32([1e-30, -0.0])}
    # The list of a pretraining that has gone on since.
    return State(steps, [float(np.float32(1 / n)) for n in range(1, 8)], weights, adam)


def cut_short(kept, states):
    with kept:
        for each in states:
            kept.keep(each)
        raise Stopped


def stop(path, *states):
    kept = Checkpoint(path, QUESTION)
    with pytest.raises(Stopped):
        cut_short(kept, states)
    return kept


def bits(arrays):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made here" / "m.checkpoint"


def test_a_stop_leaves_the_latest_state_to_the_bit(path):
    stop(path, state(1), state(3))
    found = Checkpoint(path, QUESTION).start
    assert found.steps == 3
    assert list(found.losses) == list(state().losses[:3])
    assert bits(found.weights) == bits(state().weights)
    assert bits(found.optimiser) == bits(state(3).optimiser)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_done_leaves_nothing(path):
    stop(path, state())
    with Checkpoint(path, QUESTION) as kept:
        kept.keep(state(3))
    assert not path.exists()
    # Also where nothing was kept.
    with Checkpoint(path, QUESTION):
        pass


def test_a_stop_before_the_first_step(path):
    assert stop(path).start is None
    assert not path.exists()
    stop(path, state(2))
    before = path.read_bytes()
    assert stop(path).start.steps == 2
    assert Checkpoint(path, QUESTION).start.steps == 2
    assert load(path.read_bytes()).keys() == load(before).keys()


def test_sittings_and_their_time_add_up(path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pretrain_checkpoint, "monotonic", lambda: now[0])

    def lasting(seconds, each):
        now[0] += seconds
        yield each

    for steps, seconds in ((2, 1.0), (5, 2.0)):
        with pytest.raises(Stopped):
            cut_short(Checkpoint(path, QUESTION), lasting(seconds, state(steps)))
    with Checkpoint(path, QUESTION) as kept:
        now[0] += 4
        assert kept.seconds == 7
    assert kept.went_on == (2, 5)


def test_it_is_written_every_few_seconds_and_not_more_often(path, monkeypatch):
    now, found = [0.0], []
    monkeypatch.setattr(pretrain_checkpoint, "monotonic", lambda: now[0])
    with Checkpoint(path, QUESTION) as kept:
        for step in range(1, 8):
            now[0] += pretrain_checkpoint.EVERY / 2
            kept.keep(state(step))
            found.append(Checkpoint(path, QUESTION).start.steps if path.exists() else 0)
    assert found == [0, 2, 2, 4, 4, 6, 6]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({**QUESTION, "seed": 1}, "(seed was 0 and is 1)"),
        (
            {**QUESTION, "model": {"pretraining": {"steps": 9, "patch": 4}}},
            "(model.pretraining.patch was null and is 4)",
        ),
        (
            {**QUESTION, "torch": "3", "seed": 4},
            '(seed was 0 and is 4; torch was "2.x" and is "3")',
        ),
        ({**QUESTION, "pool": "a" * 64}, f'(pool was null and is "{"a" * 19}…)'),
    ],
)
def test_another_pretraining_is_refused_and_named(path, other, says):
    stop(path, state())
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as error:
        Checkpoint(path, other)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "remove it to start anew, or choose another out" in str(error.value)
    assert path.read_bytes() == before


def test_damage_is_found(path):
    stop(path, state())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"m.checkpoint: is damaged.*remove it to start anew"):
        Checkpoint(path, QUESTION)
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=r"m.checkpoint: cannot be read: .*remove it"):
        Checkpoint(path, QUESTION)
    path.write_bytes(save({"a": np.zeros(2)}, {"format": "pt"}))
    with pytest.raises(ModelError, match=r"is not the checkpoint of a pretraining \(.*'pt'"):
        Checkpoint(path, QUESTION)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match=r"m.checkpoint: cannot be read"):
        Checkpoint(path, QUESTION)


def test_a_write_that_is_cut_short_leaves_the_old_state(path, monkeypatch):
    stop(path, state(2))

    def cut(file, content):
        file.with_name(".partial").write_bytes(next(iter(content))[:100])
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(pretrain_checkpoint, "replace_file", cut)
    with pytest.raises(OSError, match="No space"):
        cut_short(Checkpoint(path, QUESTION), [state(4)])
    assert Checkpoint(path, QUESTION).start.steps == 2


def test_no_generator_is_in_it(path):
    stop(path, state())
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    found = json.loads(header[8 : 8 + length])
    assert set(found["__metadata__"]) == {"format", "question", "seconds", "went_on", "sha256"}
    assert set(found) - {"__metadata__"} == {
        "losses",
        "weights/a",
        "weights/b",
        "optimiser/a/step",
        "optimiser/a/exp_avg",
    }


def test_through_the_file_a_pretraining_ends_with_the_same_bits(path):
    settings = Pretraining(steps=12, learning_rate=1e-2, masked_share=0.3, batch_size=20)
    pool = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    blocks = blocks_of((4,), tuple(slice(n, n + 1) for n in range(4)), None)

    def go(stop_at=None):
        def on_step(step, loss):
            if step == stop_at:
                raise Stopped

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Tabular(hidden=8, embedding=4).build((4,), 2)
        with Checkpoint(path, QUESTION) as kept:
            objective = MaskedFeatures(model, pool, blocks)
            losses = pretrain(objective, settings, 3, on_step, kept.start, kept.keep)
        return losses, {k: v.numpy().tobytes() for k, v in model.state_dict().items()}

    whole = go()
    for step in (1, 5, settings.steps):
        with pytest.raises(Stopped):
            go(step)
        assert path.exists()
    assert go() == whole
    assert not path.exists()

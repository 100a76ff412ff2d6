"""A pretraining that was stopped goes on to the bits of one that never was."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from tacit.errors import ModelError
from tacit.models import pretraining
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.tabular import Tabular
from tacit.models.vision import Vision

TABLE = Pretraining(steps=30, learning_rate=1e-2, masked_share=0.3)
CASES = {
    "table, all rows": TABLE,
    "table, batches": replace(TABLE, batch_size=20),
    "images": Pretraining(steps=4, learning_rate=1e-2, masked_share=0.5, batch_size=6, patch=4),
}


class Stopped(BaseException):
    """Ctrl-C."""


def example(settings):
    """A fresh model, its pool and its blocks."""
    coins = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if settings.patch is None:
            pool = torch.randn(50, 1, generator=coins) * torch.tensor([1.0, -2, 3, 0.5, -1, 2])
            model = Tabular(hidden=16, embedding=8).build((6,), 2)
            groups = (slice(0, 1), slice(1, 3), slice(3, 6))
        else:
            pool = torch.rand(10, 1, 16, 16, generator=coins)
            model, groups = Vision(channels=8, embedding=4).build((1, 16, 16), 2), ()
    return model, pool, blocks_of(pool.shape[1:], groups, settings.patch)


def bits(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def whole(settings):
    model, pool, blocks = example(settings)
    return pretrain(MaskedFeatures(model, pool, blocks), settings, 3), bits(model)


def stopped_after(step, settings, start=None):
    """The state that is kept when `on_step` raises."""
    kept = []

    def stop(done, loss):
        if done == step:
            raise Stopped

    model, pool, blocks = example(settings)
    with pytest.raises(Stopped):
        pretrain(MaskedFeatures(model, pool, blocks), settings, 3, stop, start, kept.append)
    return kept[-1]


def gone_on(state, settings):
    model, pool, blocks = example(settings)
    return pretrain(MaskedFeatures(model, pool, blocks), settings, 3, start=state), bits(model)


def plain_loop(settings):
    """The same in the plainest words: one generator runs through all steps."""
    model, pool, blocks = example(settings)
    coins = torch.Generator().manual_seed(3)
    model.standardise(pool)
    adam = torch.optim.Adam(
        [p for name, p in model.named_parameters() if not name.startswith("head.")],
        lr=settings.learning_rate,
    )
    losses = []
    for _ in range(settings.steps):
        seen = pool
        if settings.batch_size is not None:
            seen = pool[torch.randperm(len(pool), generator=coins)[: settings.batch_size]]
        coin = torch.rand(len(seen), int(blocks.max()) + 1, generator=coins)
        masked = (coin < settings.masked_share)[:, blocks].to(pool.dtype)
        error = (model.reconstruct(seen, masked) - model.standardised(seen)).square() * masked
        loss = error.sum() / masked.sum().clamp(min=1)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    model.standardise(pool)
    return losses, bits(model)


@pytest.mark.parametrize("case", CASES)
def test_what_was_published_still_has_the_same_bits(case):
    assert whole(CASES[case]) == plain_loop(CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_to_keep_states_changes_nothing(case):
    model, pool, blocks = example(CASES[case])
    kept = []
    losses = pretrain(MaskedFeatures(model, pool, blocks), CASES[case], 3, on_state=kept.append)
    assert (losses, bits(model)) == whole(CASES[case])
    assert [state.steps for state in kept] == list(range(1, CASES[case].steps + 1))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 3, -1])
def test_it_goes_on_to_the_same_bits(case, step):
    settings = CASES[case]
    step = step % (settings.steps + 1)
    state = stopped_after(step, settings)
    assert state.steps == step
    assert gone_on(state, settings) == whole(settings)


def test_it_may_be_stopped_twice():
    second = stopped_after(20, TABLE, start=stopped_after(7, TABLE))
    assert second.steps == 20
    assert gone_on(second, TABLE) == whole(TABLE)


def test_a_state_is_a_copy():
    """What later steps do to the model and to Adam leaves a state that was kept alone."""
    kept = []
    model, pool, blocks = example(TABLE)
    pretrain(MaskedFeatures(model, pool, blocks), TABLE, 3, on_state=kept.append)
    assert gone_on(kept[11], TABLE) == whole(TABLE)
    # Going on does not change the state either.
    assert gone_on(kept[11], TABLE) == whole(TABLE)


def test_without_adams_arrays_it_goes_elsewhere():
    state = stopped_after(9, TABLE)
    assert gone_on(replace(state, optimiser={}), TABLE)[1] != whole(TABLE)[1]


@pytest.mark.parametrize("array", ["step", "exp_avg", "exp_avg_sq"])
def test_each_of_adams_arrays_counts(array):
    state = stopped_after(9, TABLE)
    wrong = {
        name: np.zeros_like(values) if name.endswith(f"/{array}") else values
        for name, values in state.optimiser.items()
    }
    assert any(name.endswith(f"/{array}") for name in wrong)
    assert gone_on(replace(state, optimiser=wrong), TABLE)[1] != whole(TABLE)[1]


def test_without_the_draws_of_the_steps_done_it_goes_elsewhere(monkeypatch):
    state = stopped_after(9, TABLE)
    monkeypatch.setattr(
        pretraining, "islice", lambda draws, done, end: islice(draws, TABLE.steps - done)
    )
    losses, weights = gone_on(state, TABLE)
    assert len(losses) == TABLE.steps
    assert weights != whole(TABLE)[1]


def test_the_state_of_another_model_is_refused():
    state = stopped_after(2, TABLE)
    model, pool, blocks = example(CASES["images"])
    with pytest.raises(ModelError, match="the state to go on from: does not fit the model"):
        pretrain(MaskedFeatures(model, pool, blocks), CASES["images"], 3, start=state)

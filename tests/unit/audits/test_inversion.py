"""Records rebuilt from what training on them changed: exactly, and not under noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audits.inversion import Layer, divided, first_moved, searched
from client.task import Task, released, train_alone
from tacit.domains.domain import Examples
from tacit.learning.local import Compute
from tacit.learning.plan import LocalOptimizer, RoundPlan
from tacit.models.linear import LinearModel
from tacit.models.tabular import TabularModel
from tacit.models.trainable import Train, choose_trainable, trainable_weights
from tacit.privacy.randomness import Stream

PLAIN = RoundPlan(1, 1.0, 70.0, 0.5)
CLIPPED = replace(PLAIN, clipping_norm=0.5, noise_multiplier=1e-9)
PRIVATE = replace(PLAIN, clipping_norm=0.5, noise_multiplier=1.0)
WIDTH = 30


def change(model, rows, plan):
    """What a site with these rows alone lets go."""
    start = trainable_weights(model)
    task = Task(
        "a", rows, lambda number, purpose: Stream.seeded(3, "a", number, purpose), 1, plan, start
    )
    sent = released(task, train_alone(model, task, Compute(torch.device("cpu"))))
    return {name: start[name] - sent[name].astype(np.float64) for name in start}


def record(seed=0, count=1):
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, WIDTH, generator=random)
    return Examples(rows, torch.randint(0, 3, (count,), generator=random))


def errors(found, original):
    return [float(np.abs(each - original).max()) for each in found]


@pytest.mark.parametrize(
    "plan",
    [
        PLAIN,
        CLIPPED,
        replace(PLAIN, steps=4),
        replace(PLAIN, steps=4, optimizer=LocalOptimizer.MOMENTUM),
    ],
)
def test_one_record_is_rebuilt_exactly_from_an_exact_update(plan):
    rows = record()
    changes = change(LinearModel(WIDTH, 3), rows, plan)
    found = list(divided(changes, Layer("head")))
    assert len(found) == 4  # a row each, and all together
    assert max(errors(found, rows.features[0].numpy())) < 1e-4


def test_noise_hides_it():
    rows = record()
    changes = change(LinearModel(WIDTH, 3), rows, PRIVATE)
    assert min(errors(divided(changes, Layer("head")), rows.features[0].numpy())) > 1


def test_of_several_records_no_row_is_one():
    rows = record(count=8)
    changes = change(LinearModel(WIDTH, 3), rows, PLAIN)
    for found in divided(changes, Layer("head")):
        for row in rows.features.numpy():
            assert np.abs(found - row).max() > 0.1


def test_what_a_frozen_part_makes_of_a_record_is_rebuilt():
    torch.manual_seed(0)
    model = TabularModel(WIDTH, 3, 16, 8)
    choose_trainable(model, Train.HEAD)
    rows = record()
    layer = Layer("head")
    original = layer.inputs(model, rows.features)[0]
    assert original.shape == (8,)
    found = list(divided(change(model, rows, PLAIN), layer))
    assert max(errors(found, original)) < 1e-4


def test_a_layer_that_stays_says_nothing():
    torch.manual_seed(0)
    model = TabularModel(WIDTH, 3, 16, 8)
    choose_trainable(model, Train.ALL)
    # Nothing comes back through a head of zeros in the first step.
    assert first_moved(model, change(model, record(), PLAIN)) == Layer("head")
    assert first_moved(model, change(model, record(), PLAIN)) == Layer("visible")
    assert first_moved(nn.Sequential(nn.Linear(3, 2, bias=False)), {"0.weight": np.ones(6)}) is None
    still = {"head.weight": np.zeros((3, WIDTH)), "head.bias": np.zeros(3)}
    assert list(divided(still, Layer("head"))) == []


def search(model, plan, count=3):
    rows = record(seed=5, count=count)
    start = trainable_weights(model)
    parts = []
    for number in range(count):
        one = Examples(rows.features[[number]], rows.targets[[number]])
        parts.append(change(model, one, plan))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in start:
                    parameter.copy_(torch.from_numpy(start[name]))
    changes = {name: torch.from_numpy(np.stack([p[name] for p in parts])) for name in start}
    begin = torch.zeros(count, WIDTH)
    found = searched(model, changes, rows.targets, begin, (-3.0, 3.0))
    return [
        float(np.corrcoef(x, y)[0, 1])
        for x, y in zip(found.numpy(), rows.features.numpy(), strict=True)
    ]


def test_a_search_rebuilds_records_from_exact_updates_and_not_from_noised_ones():
    assert min(search(LinearModel(WIDTH, 3), PLAIN)) > 0.99
    assert max(search(LinearModel(WIDTH, 3), PRIVATE)) < 0.6


def test_a_search_leaves_the_model_as_it_was():
    model = LinearModel(WIDTH, 3).train()
    before = trainable_weights(model)
    rows = record()
    changes = {
        "head.weight": torch.ones(1, 3, WIDTH),
        "head.bias": torch.ones(1, 3),
    }
    searched(model, changes, rows.targets, torch.zeros(1, WIDTH), (-1.0, 1.0))
    assert model.training
    assert all(np.array_equal(before[name], now) for name, now in trainable_weights(model).items())

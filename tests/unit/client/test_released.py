"""What may leave of a round: by its plan, an update as it is, clipped, or a part of a sum."""

import numpy as np
import pytest
import torch

from client.task import Task, released
from tacit.domains.domain import Examples
from tacit.learning.plan import Part, RoundPlan
from tacit.messages import SUM
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream

START = {"w": np.zeros((2, 3), np.float32), "b": np.ones(1, np.float32)}
LEARNT = {"w": np.full((2, 3), 3.0, np.float32), "b": np.full(1, -4.0, np.float32)}
ROWS = Examples(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))


def task(**plan):
    def streams(number, purpose):
        return Stream.seeded(0, "here", number, purpose)

    return Task("here", ROWS, streams, 1, RoundPlan(1, 1.0, 1.0, 0.1, **plan), START)


def norm_of(weights):
    return np.sqrt(sum(np.square(weights[name] - START[name]).sum() for name in START))


def test_a_sites_own_noised_weights_leave_as_they_are():
    assert released(task(clipping_norm=0.5, noise_multiplier=1.0), LEARNT) is LEARNT


@pytest.mark.parametrize("clip", [0.25, 2.0, 100.0])
def test_a_clients_update_leaves_clipped_to_c(clip):
    sent = released(task(clipping_norm=clip, noise_multiplier=1.0, unit=Unit.CLIENT), LEARNT)
    assert norm_of(sent) == pytest.approx(min(clip, norm_of(LEARNT)), rel=1e-6)


def test_a_part_of_a_sum_leaves_on_its_grid():
    part = Part(32, 2.0**-10, 7, 2, 2**20, 0.5)
    sent = released(task(clipping_norm=1.0, noise_multiplier=1.0, part=part), LEARNT)
    assert list(sent) == [SUM]
    update = np.concatenate([(LEARNT[name] - START[name]).ravel() for name in START])
    # Half of each is a multiple of the spacing: nothing is rounded.
    assert part.grid().values(sent[SUM]).numpy() == pytest.approx(update / 2, abs=0)

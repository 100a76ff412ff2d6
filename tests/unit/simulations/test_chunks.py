"""Cohorts in chunks: the same result, of a size that memory decides, and only means where asked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.chunks import UNMEASURED, InChunks, mean_of, memory_of, peak_of

CPU = torch.device("cpu")


def tasks(count):
    return [SimpleNamespace(site=f"s{k}", plan=SimpleNamespace(steps=3)) for k in range(count)]


def number(task):
    return float(task.site[1:])


class Learner:
    """Learns its own number, and needs 100 bytes a site and 1,000 for all."""

    def __init__(self):
        self.seen = []
        self.measured = []
        self.stop = None

    def learn(self, tasks, begun):
        self.seen.append(len(tasks))
        begun[:] = [3] * len(tasks)
        if self.stop == len(self.seen):
            begun[:] = [1] * len(tasks)
            raise KeyboardInterrupt
        return [{"w": np.full(2, number(task), np.float32)} for task in tasks]

    def peak(self, tasks):
        self.measured.append(len(tasks))
        return 1000 + 100 * len(tasks)


def firsts(learnt):
    return [own["w"][0] for own in learnt]


@pytest.mark.parametrize(
    ("count", "size", "seen"),
    [(10, 10, [10]), (10, 4, [4, 4, 2]), (10, 9, [5, 5]), (1, 4, [1]), (7, 1, [1] * 7)],
)
def test_chunks_are_even_and_every_site_is_in_one(count, size, seen):
    learner = Learner()
    learnt = InChunks(learner, size, 0, None).learn(tasks(count), [0] * count)
    assert firsts(learnt) == list(range(count))
    assert learner.seen == seen
    assert learner.measured == []


@pytest.mark.parametrize(
    ("memory", "most"),
    [(1200 + 100 * 128, 128), (1200 + 100 * 127, 64), (1200 + 100 * 10**6, 2**19), (0, UNMEASURED)],
)
def test_a_measured_size_fits_memory_and_is_a_power_of_two(memory, most):
    learner = Learner()
    chunked = InChunks(learner, None, memory, None)
    for _ in range(2):
        chunked.learn(tasks(300), [0] * 300)
    assert learner.measured == [2, 6]
    assert max(learner.seen) <= most
    assert len(learner.seen) == 2 * -(-300 // most)


def test_small_cohorts_are_not_measured():
    learner = Learner()
    InChunks(learner, None, 0, None).learn(tasks(UNMEASURED), [0] * UNMEASURED)
    assert (learner.seen, learner.measured) == ([UNMEASURED], [])


def test_a_stop_says_which_sites_had_begun():
    learner, begun = Learner(), [0] * 10
    learner.stop = 2
    with pytest.raises(KeyboardInterrupt):
        InChunks(learner, 4, 0, None).learn(tasks(10), begun)
    assert begun == [3, 3, 3, 3, 1, 1, 1, 1, 0, 0]


def test_of_a_chunk_the_mean_stands_for_each():
    sizes = {f"s{k}": 1 + k for k in range(4)}
    learnt = InChunks(Learner(), 2, 0, sizes).learn(tasks(4), [0] * 4)
    assert firsts(learnt) == pytest.approx([2 / 3, 2 / 3, 18 / 7, 18 / 7])
    assert learnt[0] is learnt[1]


def test_one_chunk_keeps_each_update_unless_only_means_are_wanted():
    sizes = dict.fromkeys(["s0", "s1"], 1)
    assert firsts(InChunks(Learner(), 2, 0, sizes).learn(tasks(2), [0, 0])) == [0, 1]
    means = InChunks(Learner(), 2, 0, sizes, always=True)
    assert firsts(means.learn(tasks(2), [0, 0])) == [0.5, 0.5]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=12),
    odd=st.sets(st.integers(0, 11)),
    seed=st.integers(0, 2**32),
)
def test_the_weighted_mean_of_all_stays_what_it_is(sizes, odd, seed):
    """Σ n x is the same whether a group's sites have their own x or the group's mean."""
    values = np.random.default_rng(seed).standard_normal((len(sizes), 3)).astype(np.float32)
    for place in odd & set(range(len(sizes))):
        values[place, 1] = np.inf
    asked = tasks(len(sizes))
    declared = {task.site: size for task, size in zip(asked, sizes, strict=True)}
    found = mean_of(asked, [{"w": own} for own in values], declared)
    sound = np.isfinite(values).all(1)
    for place in np.flatnonzero(~sound):
        assert np.array_equal(found[place]["w"], values[place])
    if sound.any():
        counts = np.array(sizes)[sound]
        kept = np.array([found[place]["w"] for place in np.flatnonzero(sound)])
        np.testing.assert_allclose(
            counts @ kept / counts.sum(),
            counts @ values[sound].astype(np.float64) / counts.sum(),
            rtol=1e-5,
            atol=1e-5,
        )


def test_what_is_held_at_once_is_counted():
    def work():
        one = torch.zeros(1000)
        two = one + 1
        view = two[:500]
        del one
        three = torch.cat([view, two])
        return three.sum()

    # Two arrays of 1000, then one of 1000 and one of 1500.
    assert 4 * 2500 <= peak_of(work, CPU) <= 4 * 2500 + 64


def test_workers_share_the_memory():
    assert memory_of(CPU, 4) == memory_of(CPU, 1) // 4 > 2**20


def test_workers_share_the_memory_of_a_gpu(monkeypatch):
    card = SimpleNamespace(total_memory=120 * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert [memory_of(torch.device("cuda"), n) for n in (1, 3)] == [60 * 2**20, 20 * 2**20]

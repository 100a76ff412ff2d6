"""A cohort's round is the round of each of its sites, noise and samples included."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tacit.domains.domain import Examples
from tacit.errors import ConfigurationError
from tacit.learning.local import Compute, train_round
from tacit.learning.plan import LocalOptimizer, RoundPlan
from tacit.learning.stacked import cohort
from tacit.learning.stacked.cohort import Member, train_cohort
from tacit.learning.stacked.gradients import stacked_sums
from tacit.privacy.randomness import Stream

CPU = Compute(torch.device("cpu"))
PLAN = RoundPlan(
    steps=3,
    sampling_rate=0.4,
    divisor=4.0,
    learning_rate=0.5,
    clipping_norm=0.4,
    noise_multiplier=0.7,
)
TOLERANCE = 1e-5


def stream(site, purpose):
    return Stream.seeded(7, f"site {site}", 1, purpose)


class Sites:
    """Sites with rows of their own, and what one after the other makes of them."""

    def __init__(self, sizes, plans, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
            total = sum(sizes)
            self.rows = Examples(torch.randn(total, 4), torch.randint(3, (total,)))
        self.sizes, self.plans = sizes, plans
        self.firsts = [sum(sizes[:k]) for k in range(len(sizes))]
        self.start = {
            name: torch.stack([p.detach() + 0.1 * k for k in range(len(sizes))])
            for name, p in self.model.named_parameters()
        }

    def members(self):
        return [
            Member(size, plan, stream(k, "coins"), stream(k, "noise"))
            for k, (size, plan) in enumerate(zip(self.sizes, self.plans, strict=True))
        ]

    def together(self, **more):
        return train_cohort(
            partial(stacked_sums, self.model.train()),
            self.rows,
            self.members(),
            self.start,
            **more,
        )

    def alone(self, k):
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.start[name][k])
        part = slice(self.firsts[k], self.firsts[k] + self.sizes[k])
        train_round(
            model,
            Examples(self.rows.features[part], self.rows.targets[part]),
            self.plans[k],
            coins=stream(k, "coins"),
            noise=stream(k, "noise"),
            layers=stream(k, "layers"),
            compute=CPU,
        )
        return {name: parameter.detach() for name, parameter in model.named_parameters()}

    def error(self, found):
        """Largest error relative to how far the site's weights have moved."""
        worst = 0.0
        for k in range(len(self.sizes)):
            alone = self.alone(k)
            moved = max(float((p - self.start[name][k]).abs().max()) for name, p in alone.items())
            wrong = max(float((p - found[name][k]).abs().max()) for name, p in alone.items())
            worst = max(worst, wrong / max(moved, 1e-3))
        return worst


plans = st.builds(
    partial(replace, PLAN),
    steps=st.integers(1, 3),
    sampling_rate=st.sampled_from([0.01, 0.3, 1.0]),
    divisor=st.floats(1, 9),
    learning_rate=st.floats(0.1, 1),
    clipping_norm=st.floats(0.1, 2),
    noise_multiplier=st.floats(0.1, 2),
    proximal_mu=st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_a_private_round_is_that_of_each_site(data, sizes):
    """Ragged sites, empty samples, each its own plan; the streams' numbers are the same."""
    sites = Sites(sizes, [data.draw(plans) for _ in sizes])
    assert sites.error(sites.together()) < TOLERANCE


@settings(max_examples=20, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_a_round_without_privacy_is_that_of_each_site(data, sizes):
    plain = [replace(data.draw(plans), clipping_norm=None, noise_multiplier=None) for _ in sizes]
    sites = Sites(sizes, plain)
    assert sites.error(sites.together()) < TOLERANCE


def test_the_same_seed_gives_the_same_bits():
    sites = Sites([5, 0, 8], [PLAN] * 3)
    first, again = sites.together(), sites.together()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("most", [1, 5, 100])
def test_a_microbatch_changes_no_more_than_rounding(most):
    sites = Sites([5, 0, 8], [PLAN] * 3)
    assert sites.error(sites.together(microbatch=most)) < TOLERANCE


def test_steps_are_counted_before_they_touch_data():
    begun = []
    sites = Sites([5, 8], [PLAN, replace(PLAN, steps=1)])
    sites.together(on_step=begun.append)
    assert begun == [1, 2, 3]


def test_what_a_site_starts_from_stays_as_it_was():
    sites = Sites([5, 8], [PLAN] * 2)
    before = {name: value.clone() for name, value in sites.start.items()}
    sites.together()
    assert all(torch.equal(value, before[name]) for name, value in sites.start.items())


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, clipping_norm=None, noise_multiplier=None),
        replace(PLAN, optimizer=LocalOptimizer.ADAM),
    ],
)
def test_a_cohort_is_of_one_kind(other):
    with pytest.raises(ConfigurationError, match="these sites differ"):
        Sites([5, 8], [PLAN, other]).together()


@pytest.mark.parametrize("optimizer", LocalOptimizer)
def test_every_optimizer_is_that_of_each_site(optimizer):
    """Also where a site ends before the others."""
    plan = replace(PLAN, optimizer=optimizer)
    sites = Sites([5, 8, 6], [plan, replace(plan, steps=1), replace(plan, steps=2)])
    assert sites.error(sites.together()) < TOLERANCE


class TestPlantedBugs:
    """What the comparison would not let pass."""

    def wrong(self):
        sites = Sites([5, 8, 3], [PLAN, replace(PLAN, steps=1), PLAN])
        return sites.error(sites.together())

    def test_nothing_is_wrong_without_one(self):
        assert self.wrong() < TOLERANCE

    def test_noise_of_another_site(self, monkeypatch):
        add = cohort._add_noise
        monkeypatch.setattr(
            cohort, "_add_noise", lambda total, members, step: add(total, members[::-1], step)
        )
        assert self.wrong() > 10 * TOLERANCE

    def test_noise_that_is_left_out(self, monkeypatch):
        monkeypatch.setattr(cohort, "_add_noise", lambda *_: None)
        assert self.wrong() > 10 * TOLERANCE

    def test_samples_of_another_site(self, monkeypatch):
        draw = cohort._draw
        monkeypatch.setattr(cohort, "_draw", lambda members: draw(members).flip(1))
        assert self.wrong() > 10 * TOLERANCE

    def test_a_site_that_goes_on_after_its_last_step(self, monkeypatch):
        honest = cohort._Columns.__init__

        def longer(self, members, device):
            honest(self, members, device)
            self.steps = torch.full_like(self.steps, 3)

        monkeypatch.setattr(cohort._Columns, "__init__", longer)
        monkeypatch.setattr(
            cohort, "_draw", lambda members: torch.ones(3, sum(m.size for m in members)).bool()
        )
        assert self.wrong() > 10 * TOLERANCE

"""Persons of many sites in one pass: what is clipped is a person, in every kind of layer."""

import copy
from dataclasses import fields, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacked_models import MODELS, by_hand, error, make
from torch import nn

from tacit.domains.domain import Examples
from tacit.errors import ConfigurationError
from tacit.learning.local import Compute, train_round
from tacit.learning.plan import Persons, RoundPlan, Within
from tacit.learning.stacked import tape
from tacit.learning.stacked.cohort import Member, train_cohort
from tacit.learning.stacked.gradients import Batch, stacked_sums
from tacit.learning.stacked.vmapped import vmapped_sums
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream

TOLERANCE = 1e-5
EACH = 3
WITHOUT_VMAP = {"in place", "twice"}
WITHIN = pytest.mark.parametrize("within", list(Within))


def make_persons(name, rows, within, seed=0):
    """Sites of persons of so many rows each, 0 to EACH: model, weights, batch."""
    widest = max(map(len, rows))
    model, values, batch = make(name, [EACH * widest] * len(rows), seed)
    counts = torch.tensor([[*own, *[0] * (widest - len(own))] for own in rows])
    present = (torch.arange(EACH) < counts.unsqueeze(2)).flatten(1)
    shares = (present.unflatten(1, (-1, EACH)) / counts.clamp(min=1).unsqueeze(2)).flatten(1)
    shares = shares if within is Within.MEAN else None
    return model, values, Batch(batch.features, batch.targets, present, EACH, shares)


def persons_by_hand(model, values, batch, clips):
    """Each site's sum, person by person, of gradients that autograd gives row by row."""
    rows = batch.present.shape[1]
    sums = {name: torch.zeros_like(value) for name, value in values.items()}
    for first in range(0, rows, batch.each):
        person = {
            name: torch.zeros_like(value, dtype=torch.float64) for name, value in sums.items()
        }
        for row in range(first, first + batch.each):
            one = batch.part(slice(None), slice(row, row + 1))
            found, _ = by_hand(model, values, one, None)
            for name, gradient in found.items():
                share = torch.ones(1) if one.shares is None else one.shares
                person[name] += gradient * share.view(-1, *[1] * (gradient.dim() - 1))
        squares = sum(g.flatten(1).square().sum(1) for g in person.values())
        factors = clips / squares.sqrt().clamp(min=1e-300).maximum(clips)
        for name, gradient in person.items():
            sums[name] += gradient * factors.view(-1, *[1] * (gradient.dim() - 1))
    return sums


def clips_for(model, values, batch, share):
    """C of each site, so that some of its persons are clipped and some are not."""
    _, norms = by_hand(model, values, replace(batch, each=1, shares=None), None)
    return (norms.amax(1) * share).clamp(min=1e-3).float()


ROWS = [[3, 1], [], [2, 3]]
persons = st.lists(st.lists(st.integers(1, EACH), max_size=3), min_size=1, max_size=3)


@WITHIN
@pytest.mark.parametrize("name", sorted(MODELS))
def test_sums_are_those_of_a_loop_over_persons(name, within):
    model, values, batch = make_persons(name, ROWS, within)
    clips = clips_for(model, values, batch, 0.7)
    expected = persons_by_hand(model, values, batch, clips)
    assert error(stacked_sums(model, values, batch, clips), expected) < TOLERANCE
    if name not in WITHOUT_VMAP:
        assert error(vmapped_sums(model, values, batch, clips), expected) < TOLERANCE


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    rows=persons.filter(any),
    within=st.sampled_from(Within),
    seed=st.integers(0, 99),
    share=st.floats(0.05, 2),
    most=st.sampled_from([None, 1, 7]),
)
def test_also_where_sites_differ_and_a_batch_is_cut(name, rows, within, seed, share, most):
    model, values, batch = make_persons(name, rows, within, seed)
    clips = clips_for(model, values, batch, share)
    expected = persons_by_hand(model, values, batch, clips)
    found = [stacked_sums(model, values, part, clips, at_once=4) for part in batch.passes(most)]
    total = {name: sum(each[name] for each in found) for name in expected}
    assert error(total, expected) < TOLERANCE


@WITHIN
@pytest.mark.parametrize("sums_of", [stacked_sums, vmapped_sums])
@pytest.mark.parametrize("name", ["linear", "convolutions"])
def test_a_row_that_cannot_be_used_counts_as_zero_among_its_persons(name, sums_of, within):
    """NaN, and features so large that the row's own gradient overflows."""
    model, values, batch = make_persons(name, ROWS, within)
    clips = torch.full((len(ROWS),), 0.3)
    gone = batch.present.clone()
    gone[0, 0], gone[2, 4] = False, False
    shares = None if batch.shares is None else batch.shares * gone
    expected = persons_by_hand(model, values, replace(batch, present=gone, shares=shares), clips)
    batch.features[0, 0] = torch.nan
    batch.features[2, 4] = 3e38 * batch.features[2, 4].sign()
    found = sums_of(model, values, batch, clips)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert error(found, expected) < TOLERANCE


@pytest.mark.parametrize("use", [tape.Direct, tape.Product, tape.Lookup])
def test_planted_clipping_each_row_is_found(use, monkeypatch):
    """A use that says of a person what holds of its first row."""
    model, values, batch = make_persons("transformer", ROWS, Within.SUM)
    clips = clips_for(model, values, batch, 0.5)
    expected = persons_by_hand(model, values, batch, clips)
    honest = use.by_person

    def first_alone(self, rows):
        found, own = honest(self, rows), self.squares().view(-1, rows)[:, 0]
        faulty = type("Faulty", (use,), {"__slots__": (), "squares": lambda each: own})
        return faulty(*(getattr(found, field.name) for field in fields(found)))

    assert error(stacked_sums(model, values, batch, clips), expected) < TOLERANCE
    monkeypatch.setattr(use, "by_person", first_alone)
    assert error(stacked_sums(model, values, batch, clips), expected) > 10 * TOLERANCE


PLAN = RoundPlan(
    steps=3,
    sampling_rate=0.4,
    divisor=4.0,
    learning_rate=0.5,
    clipping_norm=0.4,
    noise_multiplier=0.7,
    unit=Unit.PERSON,
    persons=Persons(2, Within.MEAN),
)


def stream(site, purpose):
    return Stream.seeded(7, f"site {site}", 1, purpose)


class Sites:
    """Sites of persons, and what each makes of its own by the loop."""

    def __init__(self, rows, plan, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.model, self.plan = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), plan
        self.held = []
        for counts in rows:
            whose = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts).long())
            order = torch.randperm(len(whose), generator=generator)
            features = torch.randn(len(whose), 4, generator=generator)
            targets = torch.randint(3, (len(whose),), generator=generator)
            self.held.append(Examples(features, targets, whose[order]))
        self.start = {
            name: torch.stack([p.detach()] * len(rows)) for name, p in self.model.named_parameters()
        }

    def members(self):
        return [
            Member(
                len(held),
                self.plan,
                stream(k, "coins"),
                stream(k, "noise"),
                persons=held.persons,
                choice=stream(k, "rows"),
            )
            for k, held in enumerate(self.held)
        ]

    def together(self, **more):
        sums_of = partial(stacked_sums, self.model.train())
        rows = Examples.together(self.held)
        return train_cohort(sums_of, rows, self.members(), self.start, **more)

    def error(self, found):
        worst = 0.0
        for k, held in enumerate(self.held):
            model = copy.deepcopy(self.model)
            streams = {name: stream(k, name) for name in ("coins", "noise", "layers")}
            compute = Compute(torch.device("cpu"))
            choice = stream(k, "rows")
            train_round(model, held, self.plan, **streams, choice=choice, compute=compute)
            for name, p in model.state_dict().items():
                moved = (p - self.start[name][k]).abs().max().clamp(min=1e-3)
                worst = max(worst, float((p - found[name][k]).abs().max() / moved))
        return worst


@settings(max_examples=10, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 5), max_size=5), min_size=1, max_size=4),
    rate=st.sampled_from([0.05, 0.5, 1.0]),
    most=st.integers(1, 4),
    within=st.sampled_from(Within),
    microbatch=st.sampled_from([None, 3]),
)
def test_a_cohorts_round_is_that_of_each_site(rows, rate, most, within, microbatch):
    """Samples, choices of rows, noise and steps; also of persons with too many rows, or none."""
    plan = replace(PLAN, sampling_rate=rate, persons=Persons(most, within))
    sites = Sites(rows, plan)
    assert sites.error(sites.together(microbatch=microbatch)) < 1e-4


def test_sites_of_another_unit_are_not_trained_together():
    sites = Sites([[2], [1]], PLAN)
    members = sites.members()
    members[1] = replace(members[1], plan=replace(PLAN, persons=Persons(5, Within.SUM)))
    with pytest.raises(ConfigurationError, match="these sites differ"):
        train_cohort(partial(stacked_sums, sites.model), sites.held[0], members, sites.start)
    members = [replace(member, persons=None) for member in sites.members()]
    with pytest.raises(ValueError, match="do not say whose they are"):
        train_cohort(partial(stacked_sums, sites.model), sites.held[0], members, sites.start)

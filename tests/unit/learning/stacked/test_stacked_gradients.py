"""All sites' clipped sums in one pass are those of one example after the other."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacked_models import MODELS, by_hand, error, make

from tacit.learning.stacked import gradients, tape
from tacit.learning.stacked.gradients import Batch, stacked_sums
from tacit.learning.stacked.vmapped import vmapped_sums

TOLERANCE = 1e-5
WITHOUT_VMAP = {"in place", "twice"}
"""torch's vmap does neither, and says so."""

counts = st.lists(st.integers(0, 5), min_size=1, max_size=4)
names = st.sampled_from(sorted(MODELS))


def clips_for(model, values, batch, share):
    """C of each site, so that some of its examples are clipped and some are not."""
    _, norms = by_hand(model, values, batch, None)
    return (norms.amax(1) * share).clamp(min=1e-3).float()


@settings(max_examples=60, deadline=None)
@given(name=names, counts=counts, seed=st.integers(0, 99), share=st.floats(0.01, 1.2))
def test_clipped_sums_are_those_of_a_loop(name, counts, seed, share):
    """With ragged sites, empty and full batches; fp32 keeps 7 digits, and 1e-5 leaves 2 of them."""
    model, values, batch = make(name, counts, seed)
    clips = clips_for(model, values, batch, share)
    expected, _ = by_hand(model, values, batch, clips)
    assert error(stacked_sums(model, values, batch, clips), expected) < TOLERANCE


@settings(max_examples=40, deadline=None)
@given(name=names, counts=counts, seed=st.integers(0, 99))
def test_sums_without_privacy_are_those_of_a_loop(name, counts, seed):
    model, values, batch = make(name, counts, seed)
    expected, _ = by_hand(model, values, batch, None)
    assert error(stacked_sums(model, values, batch, None), expected) < TOLERANCE


@pytest.mark.parametrize("name", sorted(set(MODELS) - WITHOUT_VMAP))
@pytest.mark.parametrize("private", [True, False])
def test_vmap_gives_the_same(name, private):
    model, values, batch = make(name, [3, 0, 5])
    clips = clips_for(model, values, batch, 0.6) if private else None
    expected, _ = by_hand(model, values, batch, clips)
    assert error(vmapped_sums(model, values, batch, clips), expected) < TOLERANCE


@pytest.mark.parametrize("name", sorted(MODELS))
def test_norms_are_those_of_a_loop(name):
    """By one example a site and a C below every norm: the sum then has the norm C."""
    model, values, batch = make(name, [1] * 6)
    _, norms = by_hand(model, values, batch, None)
    clips = (norms[:, 0] / 3).float()
    sums = stacked_sums(model, values, batch, clips)
    found = torch.cat([value.flatten(1) for value in sums.values()], 1).double().norm(dim=1)
    assert ((found / clips.double() - 1).abs() < TOLERANCE).all()


@pytest.mark.parametrize("most", [1, 4, 7, 100])
def test_passes_add_up(most):
    model, values, batch = make("convolutions", [3, 0, 5])
    clips = torch.full((3,), 0.4)
    expected, _ = by_hand(model, values, batch, clips)
    parts = list(batch.passes(most))
    assert all(part.present.numel() <= max(most, 3) for part in parts)
    found = [stacked_sums(model, values, part, clips) for part in parts]
    total = {name: sum(each[name] for each in found) for name in expected}
    assert error(total, expected) < TOLERANCE


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("private", [True, False])
def test_an_example_of_one_site_changes_no_other_site(name, private):
    """To the bit: nothing of one site enters what is computed for another."""
    model, values, batch = make(name, [4, 4, 4])
    clips = torch.full((3,), 0.3) if private else None
    before = stacked_sums(model, values, batch, clips)
    features = batch.features.clone()
    features[1, 2] = 5 - 3 * features[1, 2]
    after = stacked_sums(model, values, Batch(features, batch.targets, batch.present), clips)
    changed = False
    for key, value in after.items():
        assert torch.equal(value[0], before[key][0])
        assert torch.equal(value[2], before[key][2])
        changed |= not torch.equal(value[1], before[key][1])
    assert changed


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["mlp", "convolutions", "number"])
def test_an_unusable_row_counts_as_nothing(name, odd):
    model, values, batch = make(name, [4, 4])
    clips = torch.full((2,), 0.3)
    batch.features[1, 2, 0] = odd
    without = batch.present.clone()
    without[1, 2] = False
    expected, _ = by_hand(model, values, Batch(batch.features, batch.targets, without), clips)
    assert error(stacked_sums(model, values, batch, clips), expected) < TOLERANCE


@pytest.mark.parametrize("scale", [1e18, 3e19, 1e25, 3e38])
@pytest.mark.parametrize("name", ["linear", "number"])
def test_features_too_large_for_their_squares(name, scale):
    """An fp32 square overflows from 1.8e19 on: the ghost norm's of the features, where the
    gradient's own may not."""
    model, values, batch = make(name, [3, 2])
    batch.features[:, 1] *= scale / batch.features[:, 1].abs().max()
    clips = torch.full((2,), 0.3)
    expected, _ = by_hand(model, values, batch, clips)
    found = stacked_sums(model, values, batch, clips)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert error(found, expected) < TOLERANCE


def test_weights_that_overflow_harm_their_own_site_alone():
    model, values, batch = make("mlp", [3, 3])
    values["2.weight"][0] = 3e38
    clips = torch.full((2,), 0.3)
    expected, _ = by_hand(model, values, batch, clips)
    found = stacked_sums(model, values, batch, clips)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert error(found, expected) < TOLERANCE


class TestPlantedBugs:
    """What the checks above would not let pass."""

    def wrong(self, name="transformer", counts=(4, 2, 5)):
        model, values, batch = make(name, list(counts))
        clips = clips_for(model, values, batch, 0.6)
        expected, _ = by_hand(model, values, batch, clips)
        return error(stacked_sums(model, values, batch, clips), expected)

    def test_nothing_is_wrong_without_one(self):
        assert self.wrong() < TOLERANCE

    @pytest.mark.parametrize("use", [tape.Direct, tape.Product, tape.Lookup])
    def test_a_weight_left_out_of_the_norm(self, use, monkeypatch):
        squares = use.squares
        monkeypatch.setattr(use, "squares", lambda self: 0.5 * squares(self))
        assert self.wrong() > 10 * TOLERANCE

    def test_padding_that_counts(self):
        model, values, batch = make("transformer", [4, 2, 5])
        clips = clips_for(model, values, batch, 0.6)
        expected, _ = by_hand(model, values, batch, clips)
        unmasked = Batch(
            batch.features.nan_to_num(1.0), batch.targets, torch.ones_like(batch.present)
        )
        assert error(stacked_sums(model, values, unmasked, clips), expected) > 10 * TOLERANCE

    def test_sites_that_mix(self, monkeypatch):
        by_site = tape._by_site
        monkeypatch.setattr(tape, "_by_site", lambda *args: by_site(*args).roll(1, 0))
        assert self.wrong() > 10 * TOLERANCE

    def test_clipping_by_another_sites_norm(self, monkeypatch):
        factors = gradients._factors
        monkeypatch.setattr(gradients, "_factors", lambda *args: factors(*args).roll(1, 0))
        assert self.wrong() > 10 * TOLERANCE


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("private", [True, False])
def test_nothing_of_a_pass_is_left_for_the_collector(name, private):
    """What a tape notes is made of records: in a cycle it would outlive its round."""
    model, values, batch = make(name, [3, 0, 2])
    clips = torch.ones(3) if private else None
    assert left_behind(lambda: stacked_sums(model, values, batch, clips)) == []


def test_planted_what_a_pass_leaves_is_seen():
    class Kept(tape.Tape):
        def __init__(self):
            self.itself = self

    assert len(left_behind(Kept)) == 1


def left_behind(work):
    """Return what is left of tapes that were made during some work."""
    gc.disable()
    gc.freeze()  # what was there before is not looked through
    try:
        work()
        return [each for each in gc.get_objects() if isinstance(each, tape.Tape | tape.Product)]
    finally:
        gc.unfreeze()
        gc.enable()

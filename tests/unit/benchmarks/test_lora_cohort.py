"""The benchmark of LoRA by many sites: what it trains, and that it measures what it says."""

import json

import numpy as np
import pytest
import torch

from benchmarks import lora_cohort
from benchmarks.lora_cohort_model import RANK, SIZES, TOKENS, encoder
from benchmarks.lora_cohort_side import Clock, difference, in_one_pass, make_work, run, stacked
from tacit.errors import TacitError
from tacit.learning.per_example import PerExampleGradients

TINY = SIZES["tiny"]


def test_lora_pairs_on_query_and_value_train_and_the_head():
    model = encoder(SIZES["minilm"])
    training = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    pairs = {
        f"layers.{layer}.{part}.{half}.weight": shape
        for layer in range(6)
        for part in ("query", "value")
        for half, shape in (("down", (RANK, 384)), ("up", (384, RANK)))
    }
    assert training == pairs | {"head.weight": (10, 384), "head.bias": (10,)}
    backbone, adapters = lora_cohort.held("minilm")
    # As published: 22.7 million weights, among them 512 places and a pooling layer.
    assert backbone * 2**20 / 4 == pytest.approx(22.7e6, rel=0.03)
    assert adapters == pytest.approx(0.296, rel=0.01)


def test_a_pair_makes_no_difference_before_it_has_learnt():
    model = encoder(TINY)
    texts = torch.randint(TINY.vocabulary, (3, TOKENS)).float()
    before = model(texts)
    with torch.no_grad():
        for layer in model.layers:
            layer.query.down.weight.zero_()
    torch.testing.assert_close(model(texts), before)
    with PerExampleGradients(model) as per_example:
        assert all(len(found) == 3 for found in per_example(texts, torch.zeros(3).long()))


def test_both_ways_give_the_same_weights():
    assert 0 < run("same", TINY, 3, 2)["difference"] < lora_cohort.SAME


def test_one_pass_gives_them_too():
    work = make_work(TINY, 3, 2, 1.0)
    ours = stacked(work, in_one_pass(work.model), lambda step: None)
    assert any(not np.array_equal(ours[0][name], ours[1][name]) for name in ours[0])
    again = stacked(make_work(TINY, 3, 2, 1.0), in_one_pass(work.model), lambda step: None)
    assert difference(ours, again) == 0


@pytest.mark.parametrize("way", ["held", "stacked", "one_pass", "loop"])
def test_every_way_says_what_it_took(way):
    found = run(way, TINY, 3, 2)
    assert 0 < found["ready_mib"] <= found["peak_mib"]
    assert len(found["seconds"]) == (0 if way == "held" else 2)


def test_steps_of_sites_one_after_another_add_up(monkeypatch):
    times = iter([0.0, 1.0, 3.0, 10.0, 14.0, 22.0])
    monkeypatch.setattr("time.process_time", lambda: next(times))
    clock = Clock()
    for step in (1, 2, 3, 1, 2, 3):
        clock(step)
    assert clock.seconds == {1: 1.0 + 4.0, 2: 2.0 + 8.0}


def test_growth_is_a_straight_line():
    fixed, per_site = lora_cohort.growth([(8, 66.0), (32, 114.0), (96, 242.0)])
    assert (fixed, per_site) == pytest.approx((50.0, 2.0))


def test_the_last_line_is_one_json_object(monkeypatch, capsys):
    apart = 1e-7

    def side(way, size, sites, steps):
        if way == "same":
            return {"difference": apart}
        assert size == "tiny"
        seconds = {"stacked": [9.0, 1.0, 1.0], "loop": [9.0, 2.0, 2.0], "one_pass": [9.0, 3.0]}
        more = {"stacked": 5.0 + 0.5 * sites, "loop": 7.0, "one_pass": 90.0}
        return {"ready_mib": 100.0, "peak_mib": 100.0 + more[way], "seconds": seconds[way]}

    monkeypatch.setattr(lora_cohort, "side", side)
    monkeypatch.setattr("sys.argv", ["lora_cohort", "--size=tiny", "--sites=8", "--pairs=2"])
    for apart, code in ((1e-7, 0), (1e-3, 1)):  # noqa: B007 (`side` reads it)
        with pytest.raises(SystemExit) as left:
            lora_cohort.main()
        assert left.value.code == code
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures, ratios = found["figures"], found["ratios"]
    assert found["benchmark"] == "lora_cohort"
    assert ratios["stacked_over_loop_cpu_seconds"] == 0.5
    assert figures["stacked_more_mib"] == 9.0
    assert figures["stacked_activations_mib"] == pytest.approx(5.0)
    assert figures["stacked_more_mib_per_site"] == pytest.approx(0.5)
    assert figures["one_pass_cpu_seconds_per_step"] == 3.0


def test_a_side_that_breaks_says_why():
    with pytest.raises(TacitError, match="invalid choice: 'backwards'"):
        lora_cohort.side("backwards", "tiny", 2, 1)

"""Whole clients as the unit: a run as a person begins it, in two engines, and stopped half-way."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from whole_run import stopped_after

from commands.entry import run
from simulations.command import _main
from tacit.errors import ConfigurationError, ExitCode
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.events import GaussianSteps, Relation, Unit

ROUNDS = 6
WORDS = (
    "domain=digits",
    "domain.partition.sites=40",
    "domain.partition.rows=20",
    "privacy=client_level",
    "privacy.epsilon=6",
    "privacy.delta=1e-3",
    "privacy.clipping_norm=0.5",
    "training.cohort=10",
    f"training.rounds={ROUNDS}",
)


def simulated(path, *more):
    assert _main([*WORDS, *more, f"run.dir={path}"]) == ExitCode.DONE
    return json.loads((path / "results.json").read_text()), load_file(path / "model.safetensors")


def test_both_engines_and_what_the_run_says(tmp_path):
    results, weights = simulated(tmp_path / "stacked")
    _, other = simulated(tmp_path / "loop", "engine=loop")
    for name, value in weights.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-5, atol=1e-5 * abs(value).max())

    (guarantee,) = results["privacy"]["guarantees"]
    assert guarantee["unit"] == "client"
    assert guarantee["relation"] == "replace_with_zero"
    assert guarantee["adversary"] == "other_sites_and_model_holders"
    assert guarantee["mechanism"] == "gaussian_at_server"
    # 40 clients, 10 a round: in six rounds each is in two at most, and noise is for these.
    spent = list(guarantee["sites"].values())
    assert {each["steps"] for each in spent} == {1, 2}
    (sigma,) = {each["noise_multiplier"] for each in spent}
    most = max(spent, key=lambda each: each["steps"])
    step = GaussianSteps(sigma, 1.0, 2, 0.5, Unit.CLIENT, Relation.REPLACE_WITH_ZERO)
    assert most["epsilon"] == pytest.approx(epsilon([step], 1e-3, Accountant.PLD))
    assert 5.9 < most["epsilon"] <= 6
    page = (tmp_path / "stacked" / "report.html").read_text()
    for words in ("The coordinator is trusted", "One client", "whoever replied"):
        assert words in page


@pytest.mark.parametrize(
    "more",
    [(), ("privacy.clipping_quantile=0.5", "privacy.noise=clients")],
    ids=["plain", "moving"],
)
def test_stopped_and_gone_on_with(tmp_path, more):
    _, expected = simulated(tmp_path / "whole", *more)
    stopped_after(3, [*WORDS, *more, f"run.dir={tmp_path / 'cut'}"])
    assert _main([f"run.resume={tmp_path / 'cut'}"]) == ExitCode.DONE
    found = load_file(tmp_path / "cut" / "model.safetensors")
    for name, value in expected.items():
        assert np.array_equal(found[name], value)


def test_c_follows_the_updates_and_a_sum_that_nobody_sees_through_gives_the_same(tmp_path):
    moving = ("privacy.clipping_quantile=0.5", "privacy.noise=clients")
    results, _ = simulated(tmp_path / "open", *moving)
    masked, _ = simulated(tmp_path / "masked", *moving, "secure_aggregation=required")
    assert masked["weights_sha256"] == results["weights_sha256"]
    assert results["secure_sum"] is None
    assert masked["secure_sum"] == {"sites": 10, "fewest": 10, "bits": 32, "corrupt": 3}
    together, alone = masked["privacy"]["guarantees"]
    assert (together["adversary"], together["honest_sites"]) == ("server_and_colluders", 9)
    assert (alone["adversary"], alone["honest_sites"]) == ("server_and_other_sites", 1)
    assert together["unit"] == alone["unit"] == "client"
    assert together["clipping_quantile"] == 0.5
    more = together["update_noise"]
    assert 1 < more < 1.033
    history = (tmp_path / "open" / "history.jsonl").read_text().splitlines()
    norms = [json.loads(line)["clipping_norm"] for line in history[1:]]
    assert norms[0] == 0.5
    assert len(set(norms)) == ROUNDS
    page = (tmp_path / "masked" / "report.html").read_text()
    for words in (
        "At least 9 clients",
        f"alone has {more:.4g} times σ × C as noise",
        "the sum over at least 10 of 10",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("strategy=fedmedian", "nothing but their noised sum"),
        ("privacy.delta=0.1", "larger than one over the number of clients"),
        ("privacy.unit=record", "privacy.unit"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, word, said, capsys):
    with pytest.raises((ConfigurationError, SystemExit)) as caught:
        run(lambda: _main([*WORDS, word, f"run.dir={tmp_path / 'run'}"]))
    assert caught.value.code == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

"""What is claimed of a client that is not ours: numbers of others, and words that are wrong."""

import math

import pytest
from dp_accounting import get_epsilon_gaussian
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from audits.target.claims import arithmetic, gaussian_delta, read_claim, textbook_multiplier
from tacit.errors import ConfigurationError

CLIENT = {"unit": "client", "clipping_norm": 1.0, "epsilon": 1.0, "delta": 1e-5}


def found(said):
    (finding,) = arithmetic(read_claim(said))
    return finding


@given(st.floats(0.3, 20), st.floats(1e-10, 0.1))
def test_delta_of_a_gaussian_is_the_one_that_another_library_inverts(sigma, delta):
    epsilon = get_epsilon_gaussian(sigma, delta)
    if epsilon > 0:
        assert gaussian_delta(sigma, epsilon) == pytest.approx(delta, rel=1e-4)


def test_delta_of_a_gaussian_is_the_difference_of_two_laws():
    """Of all outputs above the threshold where the loss is ε, for σ = 1 and ε = 1."""
    threshold = 1.5
    worst = norm.sf(threshold - 1) - math.e * norm.sf(threshold)
    assert gaussian_delta(1.0, 1.0) == pytest.approx(worst, rel=1e-12)


def test_the_textbook_holds_at_one_and_not_at_ten():
    assert textbook_multiplier(1.0, 1e-5) == pytest.approx(4.8448, abs=1e-4)
    assert gaussian_delta(textbook_multiplier(1.0, 1e-5), 1.0) < 1e-5
    assert gaussian_delta(textbook_multiplier(10.0, 1e-5), 10.0) > 2e-5
    said = CLIENT | {"noise_multiplier": "textbook"}
    assert not found(said).contradicted
    at_ten = found(said | {"epsilon": 10.0})
    assert at_ten.contradicted
    assert "2.3e-05" in at_ten.said
    # What is hidden is a change to any other update: twice as long.
    assert found(said | {"relation": "replace_one"}).contradicted


def test_a_sampled_claim_is_recomputed():
    said = {
        "unit": "record",
        "noise_multiplier": 1.0,
        "sampling_rate": 0.01,
        "steps": 100,
        "replies": 10,
        "delta": 1e-5,
    }
    # notes: PLD 1.8282, Opacus's PRV 1.8384, its GDP accountant 1.6177.
    assert not found(said | {"epsilon": 1.8384}).contradicted
    assert found(said | {"epsilon": 1.8384}).figures["epsilon"] == pytest.approx(1.8282, abs=1e-3)
    assert found(said | {"epsilon": 1.6177}).contradicted
    assert not found(said | {"epsilon": 1.8, "relation": "replace_one"}).tested


@pytest.mark.parametrize("gone", ["epsilon", "delta", "noise_multiplier", "sampling_rate", "steps"])
def test_what_is_not_said_is_named(gone):
    said = {
        "unit": "record",
        "epsilon": 1.0,
        "delta": 1e-5,
        "noise_multiplier": 1.0,
        "sampling_rate": 0.1,
        "steps": 1,
    }
    said.pop(gone)
    finding = found(said)
    assert not finding.tested
    assert f"claim.{gone}" in finding.said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "claim: say what the target claims"),
        ({"epsilon": 1.0}, "claim.unit must be said: record or client"),
        ({"unit": "person"}, "claim.unit=person"),
        ({"unit": "client", "epsilom": 1.0}, "did you mean 'epsilon'"),
        ({"unit": "client", "epsilon": -1.0}, "claim.epsilon=-1.0 must be a positive number"),
        ({"unit": "client", "epsilon": "a lot"}, "claim.epsilon=a lot must be"),
        ({"unit": "client", "epsilon": True}, "claim.epsilon=True must be"),
        ({"unit": "client", "delta": 1.0}, "a positive number below 1"),
        ({"unit": "record", "sampling_rate": 2.0}, "1 at most"),
        ({"unit": "record", "steps": 1.5}, "claim.steps=1.5 must be a whole number"),
        ({"unit": "record", "steps": 0}, "claim.steps=0"),
        ({"unit": "client", "steps": 4}, "claim.steps"),
        ({"unit": "record", "noise_by": "server"}, "claim.noise_by=server"),
        ({"unit": "client", "noise_multiplier": "textbook"}, "say claim.epsilon and claim.delta"),
        ({"unit": "client", "relation": "replace"}, "claim.relation=replace"),
    ],
)
def test_a_claim_that_is_none_is_refused(said, why):
    with pytest.raises(ConfigurationError, match=r"^claim") as refused:
        read_claim(said)
    assert why in str(refused.value)

"""The noised sum of whole updates: what one client can change, and how much noise there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import central
from server.central import CentralNoise, noised_mean
from tacit.privacy.randomness import Stream

START = {"w": np.zeros((3, 2), np.float32), "b": np.full(2, 0.5, np.float32)}
CLIENTS = 4


def stream(number=1):
    return Stream.seeded(0, "coordinator", number, "noise")


def answer(values):
    return {
        "w": np.array(values[:6], np.float32).reshape(3, 2),
        "b": np.array(values[6:], np.float32),
    }


answers = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8).map(answer),
    min_size=1,
    max_size=CLIENTS,
)


def distance(one, other):
    parts = (one[name].astype(np.float64) - other[name] for name in one)
    return np.sqrt(sum(np.square(part).sum() for part in parts))


@given(answers, st.floats(0.01, 10))
def test_one_client_changes_the_sum_by_c_at_most(sent, clipping_norm):
    """Under the same noise; it is replaced by zero, or does not reply."""
    how = CentralNoise(clipping_norm, 1.0, CLIENTS)
    whole = noised_mean(sent, START, how, stream())
    without = noised_mean(sent[1:], START, how, stream())
    replaced = noised_mean([START, *sent[1:]], START, how, stream())
    # The result is rounded to fp32: half a unit in the last place of each of 8 weights, twice.
    largest = max(abs(array).max() for array in whole.values())
    rounding = 8 * np.finfo(np.float32).eps * (largest + clipping_norm)
    assert distance(whole, without) <= clipping_norm / CLIENTS + rounding
    assert distance(without, replaced) == 0


def test_planted_a_sum_divided_by_who_replied_is_found(monkeypatch):
    """The divisor would say that a client is missing, and change every other client's part."""

    def by_replies(sent, start, how, noise):
        sent = list(sent)
        return noised_mean(sent, start, CentralNoise(how.clipping_norm, 0.0, len(sent)), noise)

    pushed = [answer([value] * 8) for value in (9.0, -9.0, 9.0)]
    how = CentralNoise(1.0, 0.0, CLIENTS)
    moved = distance(
        by_replies(pushed, START, how, stream()), by_replies(pushed[1:], START, how, stream())
    )
    assert moved > 1.0 / CLIENTS + 1e-6


def test_the_noise_has_the_deviation_that_is_accounted():
    start = {"w": np.zeros(200_000, np.float32)}
    how = CentralNoise(clipping_norm=2.0, noise_multiplier=1.5, clients=10)
    noise = noised_mean([], start, how, stream())["w"].astype(np.float64)
    expected = 2.0 * 1.5 / 10
    # The deviation of n normals is off by 1 / √(2n): five of these.
    assert noise.std() == pytest.approx(expected, rel=5 / np.sqrt(400_000))
    assert abs(noise.mean()) < 5 * expected / np.sqrt(200_000)


def test_every_round_has_noise_of_its_own():
    start = {"w": np.zeros(20_000, np.float32)}
    how = CentralNoise(1.0, 1.0, 1)
    one, other = (noised_mean([], start, how, stream(number))["w"] for number in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(20_000)
    assert (noised_mean([], start, how, stream(1))["w"] == one).all()


def test_planted_updates_that_nobody_clips_are_found(monkeypatch):
    monkeypatch.setattr(
        central,
        "clipped_update",
        lambda weights, start, c: {name: weights[name] - start[name] for name in weights},
    )
    with pytest.raises(AssertionError):
        test_one_client_changes_the_sum_by_c_at_most()

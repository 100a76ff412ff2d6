"""The noise that a coordinator added, as its messages show it."""

from pathlib import Path

import pytest
from rich.console import Console

import server.rounds
from audits.coordinator import added_noise, shows_its_noise
from audits.repeat import repeated
from audits.stranger import read_stranger
from benchmarks.audit_cases import CLIENTS, hurried, simulated

WORDS = (*CLIENTS, "training.rounds=4")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    hurried(monkeypatch)


def findings(path: Path, *more):
    stranger = read_stranger(simulated(path, (*WORDS, *more)))
    assert shows_its_noise(stranger)
    with repeated(stranger, Console(quiet=True)) as again:
        return {each.test: each for each in added_noise(stranger, again.rounds, again.ended)}


AMOUNT = "noise of the coordinator in the run"
LIKENESS = "noise of the coordinator in different rounds"


@pytest.mark.parametrize("more", [(), ("training.min_replies=5", "availability.dropout=0.3")])
def test_enough_noise_is_left_alone(tmp_path, more):
    found = findings(tmp_path / "run", *more)
    assert set(found) == {AMOUNT, LIKENESS}
    assert not any(each.contradicted or not each.tested for each in found.values())
    # Of 4 x 650 numbers, five standard deviations.
    assert found[AMOUNT].figures["ratio"] == pytest.approx(1.0, abs=5 / (2 * 2600) ** 0.5)


@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_noise_that_the_rounds_leave_out_is_missed(tmp_path, monkeypatch, kept):
    """Planted where the round loop asks for it, and not in what adds it."""
    from dataclasses import replace

    real = server.rounds.noised_mean

    def less(parts, start, how, noise):
        return real(parts, start, replace(how, noise_multiplier=kept * how.noise_multiplier), noise)

    monkeypatch.setattr(server.rounds, "noised_mean", less)
    found = findings(tmp_path / "run")
    assert found[AMOUNT].contradicted
    assert found[AMOUNT].figures["ratio"] == pytest.approx(kept, abs=0.08)


def test_the_same_noise_in_two_rounds_is_seen(tmp_path, monkeypatch):
    from tacit.privacy.randomness import Stream

    real = server.rounds.noised_mean
    monkeypatch.setattr(
        server.rounds,
        "noised_mean",
        lambda parts, start, how, noise: real(
            parts, start, how, Stream.seeded(1, "coordinator", 1, "noise")
        ),
    )
    found = findings(tmp_path / "run")
    assert not found[AMOUNT].contradicted
    assert found[LIKENESS].contradicted

"""Canaries in a run: it stays what it was to the bit, and what they hear is what is claimed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import tacit.learning.local as local
from audits.audit import audit_run
from audits.canaries import InRun
from audits.case import Case
from audits.stranger import read_stranger
from commands.compose import composed
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError
from tacit.learning.canaries import LOUD, CanaryRound, clipped_sums
from tacit.learning.per_example import Whose
from tacit.learning.plan import Part, Persons, RoundPlan, Share, Within
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream
from tacit.runs.audited import FILE, Audit, Outcome, Stage, StageName, read_audit

SAMPLED = (
    "privacy.epsilon=2",
    "training.batch_size=16",
    "training.local_steps=2",
    "training.rounds=3",
)
SHARED = (
    "privacy=shared_noise",
    "privacy.epsilon=2",
    "training.rounds=3",
    "training.learning_rate=0.5",
)
COMMON = ("domain=hospitals", "compare=false")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("simulations.simulate.write_report", lambda path: None)


def run(path, *words, canaries=None):
    config = composed([*COMMON, *words, f"run.dir={path}"])
    with LiveProgress(Console(quiet=True)) as progress:
        results, _ = simulate(read_settings(config), config, progress, canaries=canaries)
    return results


@pytest.mark.parametrize(
    "words",
    [
        (*SAMPLED, "engine=loop"),
        (*SAMPLED, "engine=stacked"),
        SHARED,
        pytest.param(
            (*SAMPLED, "engine=stacked", "secure_aggregation=required"), marks=pytest.mark.slow
        ),
        pytest.param((*SAMPLED, "training.optimizer=adam"), marks=pytest.mark.slow),
    ],
    ids=["loop", "stacked", "shared noise", "masked", "adam"],
)
def test_weights_are_the_same_to_the_bit(words, tmp_path):
    canaries = InRun(400)
    plain = run(tmp_path / "plain", *words)
    carried = run(tmp_path / "carried", *words, canaries=canaries)
    assert plain.weights_sha256 == carried.weights_sha256
    claim, noise, likeness = canaries.findings(read_stranger(tmp_path / "carried"))
    assert not any(each.contradicted or not each.tested for each in (claim, noise, likeness))
    # Of 400 numbers at the least, five standard deviations.
    assert noise.figures["ratio"] == pytest.approx(1.0, abs=5 / np.sqrt(800))
    assert claim.figures["epsilon_proved"] <= claim.figures["epsilon_claimed"]


def test_a_run_attacks_itself_and_writes_what_it_found(tmp_path):
    run(tmp_path / "run", *SAMPLED, "audit=in_run", "audit.count=200")
    audit = read_audit(tmp_path / "run" / FILE)
    stages = {stage.name: stage for stage in audit.stages}
    assert stages[StageName.LEDGER].outcome is Outcome.NOT_CONTRADICTED
    assert stages[StageName.MECHANISM].outcome is Outcome.NOT_CONTRADICTED
    assert "tacit-audit" in stages[StageName.RELEASES].why
    assert audit.outcome is Outcome.NOT_TESTED


def test_noise_that_is_short_in_the_run_is_heard(tmp_path, monkeypatch):
    """Planted: four fifths of the noise in every step, and nowhere said."""
    real = local._add_noise
    monkeypatch.setattr(local, "_add_noise", lambda s, noise, d: real(s, noise, 0.8 * d))
    canaries = InRun(1000)
    run(tmp_path / "run", *SAMPLED, "engine=loop", canaries=canaries)
    _, noise, _ = canaries.findings(read_stranger(tmp_path / "run"))
    assert noise.contradicted
    assert noise.figures["ratio"] == pytest.approx(0.8, abs=0.05)


def test_a_claim_far_too_small_is_contradicted_by_guesses(tmp_path, monkeypatch):
    """Planted: a twentieth of the noise."""
    real = local._add_noise
    monkeypatch.setattr(local, "_add_noise", lambda s, noise, d: real(s, noise, 0.05 * d))
    canaries = InRun(1000)
    run(tmp_path / "run", *SAMPLED, "engine=loop", canaries=canaries)
    claim, *_ = canaries.findings(read_stranger(tmp_path / "run"))
    assert claim.contradicted
    assert claim.figures["epsilon_proved"] > claim.figures["epsilon_claimed"]


def test_the_same_noise_everywhere_is_heard(tmp_path, monkeypatch):
    """Planted: sites whose streams do not know whose they are."""
    monkeypatch.setattr(
        "simulations.cohort.seeded_streams",
        lambda seed, site: lambda number, what: Stream.seeded(seed, "any", number, what),
    )
    canaries = InRun(400)
    run(tmp_path / "run", *SAMPLED, canaries=canaries)
    *_, likeness = canaries.findings(read_stranger(tmp_path / "run"))
    assert likeness.contradicted


def test_a_canary_is_clipped_sampled_and_only_there_when_present():
    plan = RoundPlan(1, 0.5, 10.0, 0.1, 2.0, 1.0)
    present = torch.tensor([True, False] * 500)
    round_ = CanaryRound(present, Stream.seeded(0, "a", 1, "canaries"), lambda sums: None)
    (sums,) = clipped_sums([round_], [plan])
    assert set(sums.tolist()) == {0.0, 2.0}
    assert not sums[~present].any()
    # 500 fair coins, five standard deviations.
    assert (sums[present] > 0).sum() == pytest.approx(250, abs=5 * np.sqrt(125))
    assert LOUD > 1


@pytest.mark.parametrize("within", list(Within))
def test_a_canary_persons_rows_are_clipped_as_one_and_planted_one_by_one_they_are_heard(
    within, monkeypatch
):
    """Six rows, each four times as long as C; clipped each by itself they come to 6 C."""
    persons = Persons(6, within)
    plan = RoundPlan(1, 1.0, 10.0, 0.1, 2.0, 1.0, unit=Unit.PERSON, persons=persons)
    part = Part(32, 2.0**-10, 5, 4, 10**6, 1.0)
    summed = replace(plan, noise_multiplier=None, part=part, share=Share(64.0, 2))
    present = torch.tensor([True, True, False])

    def heard():
        stream = Stream.seeded(0, "a", 1, "canaries")
        round_ = CanaryRound(present, stream, lambda sums: None)
        (sums,) = clipped_sums([round_], [plan])
        rounded = round_.rounded_sum(summed, part.grid()) * part.spacing / summed.unit_norm
        return sums.tolist(), rounded.tolist()

    exact, rounded = heard()
    assert exact == [2.0, 2.0, 0.0]
    assert rounded == pytest.approx([1.0, 1.0, 0.0], abs=0.01)
    monkeypatch.setattr(Whose, "together", lambda self, gradients, part: gradients)
    exact, rounded = heard()
    assert exact == [12.0, 12.0, 0.0]
    assert rounded == pytest.approx([6.0, 6.0, 0.0], abs=0.06)


def test_without_clipping_it_is_loud(monkeypatch):
    monkeypatch.setattr(
        "tacit.learning.canaries.clip_factors", lambda norms, c: torch.ones_like(norms)
    )
    plan = RoundPlan(1, 1.0, 10.0, 0.1, 2.0, 1.0)
    round_ = CanaryRound(torch.tensor([True]), Stream.seeded(0, "a", 1, "x"), lambda sums: None)
    assert clipped_sums([round_], [plan]).item() == 2 * LOUD


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("privacy=client_level",), "audit=in_run with privacy=client_level"),
        (("privacy=none",), "audit=in_run with privacy=none"),
        (("engine=stacked", "engine.workers=2"), "engine.workers=2"),
        (("audit.count=3",), "audit.count=3"),
    ],
)
def test_a_run_that_can_carry_none_says_so(words, said, tmp_path):
    with pytest.raises(ConfigurationError, match=said):
        run(tmp_path / "run", *words, "audit=in_run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_audit_makes_the_run_again_with_canaries(tmp_path):
    run(tmp_path / "run", *SAMPLED)
    stages = {s.name: s for s in audit_run(tmp_path / "run", Console(quiet=True)).stages}
    tests = [finding.test for finding in stages[StageName.MECHANISM].findings]
    assert "claim, by canaries in the run" in tests


def test_with_auto_a_round_that_is_timed_is_not_heard(tmp_path):
    """It is trained several times, and leaves once."""
    words = [each for each in SAMPLED if "rounds" not in each]
    canaries = InRun(200)
    run(tmp_path / "run", *words, "training.rounds=2", "engine=auto", canaries=canaries)
    (heard,) = {len(told) for rounds in canaries._heard.values() for told in rounds.values()}
    assert heard == 2
    assert {tuple(rounds) for rounds in canaries._heard.values()} == {(2,)}


def test_what_was_heard_while_it_trained_is_kept_by_a_later_audit(tmp_path):
    path = tmp_path / "run"
    run(path, *SAMPLED, "audit=in_run", "audit.count=200")
    stranger = read_stranger(path)
    for _ in range(2):
        with Case(stranger, Console(quiet=True)) as case:
            kept = case.heard_in_the_run()
        assert [each.test for each in kept] == [
            "claim, by canaries in the run, while it trained",
            "noise on canaries in the run, while it trained",
            "likeness of noise on canaries in the run, while it trained",
        ]
        stages = (Stage(StageName.MECHANISM, tuple(kept)),)
        Audit(str(path), stages, stranger.results.weights_sha256).write(path / FILE)
    Audit(str(path), stages, "of another run").write(path / FILE)
    with Case(stranger, Console(quiet=True)) as case:
        (gone,) = case.heard_in_the_run()
    assert not gone.tested

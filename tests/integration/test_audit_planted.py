"""Faults that the audit has to find, and honest runs beside them that it has to leave alone.

The audit gets a run's directory and the code that made it, with the fault in place; never its name.
"""

import audit_faults as faults
import pytest
from rich.console import Console

import simulations.simulate
from audits import canary_clients, membership
from audits.audit import audit_run
from commands.compose import composed
from simulations.progress import LiveProgress
from tacit.configuration import read_settings
from tacit.runs.audited import Outcome

SAMPLED = (
    "domain=hospitals",
    "engine=loop",
    "compare=false",
    "training.rounds=3",
    "training.local_steps=2",
    "training.batch_size=16",
    "privacy.epsilon=2",
)
TOGETHER = (*SAMPLED, "engine=stacked")
SYSTEM = (*SAMPLED, "privacy.noise_seed=system")
SECURE = (*SAMPLED, "secure_aggregation=required")
SHARED = (
    "domain=hospitals",
    "compare=false",
    "training.rounds=3",
    "privacy=shared_noise",
    "training.learning_rate=0.5",
    "privacy.epsilon=1",
)
FEWER = (*SHARED, "training.min_replies=2")
CLIENTS = (
    "domain=digits",
    "domain.partition.sites=40",
    "domain.partition.rows=20",
    "compare=false",
    "privacy=client_level",
    "privacy.epsilon=6",
    "privacy.delta=1e-3",
    "training.cohort=10",
    "training.rounds=3",
)
SMALL = (
    "domain=digits",
    "domain.partition.sites=4",
    "domain.partition.rows=20",
    "compare=false",
    "training.rounds=10",
    "privacy.epsilon=0.5",
)
CLIENTS_IN_SHARES = (
    *CLIENTS,
    "privacy.noise=clients",
    "privacy.clipping_quantile=0.5",
    "secure_aggregation=required",
)
HONEST = {
    "small": SMALL,
    "sampled": SAMPLED,
    "together": TOGETHER,
    "system": SYSTEM,
    "secure": SECURE,
    "shared": SHARED,
    "fewer": FEWER,
    "clients": CLIENTS,
    "clients in shares": CLIENTS_IN_SHARES,
}

CODE = [
    # (words, fault, the test that finds it)
    (SAMPLED, faults.noise_too_small, "amount of noise"),
    (TOGETHER, faults.noise_too_small_for_many_at_once, "amount of noise"),
    (SHARED, faults.skellam_too_small, "amount of noise"),
    (SMALL, faults.no_noise_at_all, membership.TEST),
    ((*CLIENTS, "privacy.epsilon=2"), faults.coordinator_noise_too_small, canary_clients.TEST),
    (SAMPLED, faults.no_noise_on_one_layer, "noise of each tensor"),
    (SAMPLED, faults.no_clipping, "clipping of one record"),
    (SAMPLED, faults.clipping_per_batch, "clipping by itself"),
    (SAMPLED, faults.clipping_per_layer, "clipping of one record"),
    (SAMPLED, faults.noise_before_clipping, "amount of noise"),
    (SAMPLED, faults.same_noise_at_two_sites, "noise of different rounds and sites"),
    (SAMPLED, faults.same_noise_in_two_rounds, "noise of different rounds and sites"),
    (SYSTEM, faults.noise_from_a_known_seed, "noise that nobody can recompute"),
    (SAMPLED, faults.shuffled_batches, "spread of samples"),
    (SAMPLED, faults.twice_the_rate, "rate of sampling"),
    (SAMPLED, faults.steps_counted_short, "steps"),
    (SAMPLED, faults.divisor_that_follows_size, "divisor"),
    (SAMPLED, faults.nan_let_through, "records that are not numbers"),
    (SAMPLED, faults.one_parameter_never_clipped, "clipping of one record"),
    (SAMPLED, faults.exact_metric_released, "what left"),
    (SAMPLED, faults.exact_count_released, "what left"),
    (SECURE, faults.modulus_too_small, "parts of a sum"),
    (SECURE, faults.masks_left_out, "masks"),
    (FEWER, faults.shares_short_by_dropouts, "shares of noise"),
    ((*SHARED, "training.batch_size=20"), faults.weights_ignored, "sensitivities"),
]
FILES = [
    (TOGETHER, faults.row_lost, "steps"),
    (SAMPLED, faults.wrong_relation, "unit and relation"),
]
QUICK = {faults.no_noise_on_one_layer, faults.exact_count_released}


def cases(table, quick=frozenset()):
    return [
        pytest.param(*case, id=case[1].__name__, marks=[] if case[1] in quick else pytest.mark.slow)
        for case in table
    ]


def simulated(path, words):
    config = composed([*words, f"run.dir={path}"])
    with LiveProgress(Console(quiet=True)) as progress:
        simulations.simulate.simulate(read_settings(config), config, progress)
    return path


def found(path):
    audit = audit_run(path, Console(quiet=True))
    return audit, [f.test for stage in audit.stages for f in stage.findings if f.contradicted]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Reports take a second each to draw, and no audit reads one; attacks get a second each."""
    monkeypatch.setattr(simulations.simulate, "write_report", lambda path: None)
    monkeypatch.setattr(membership, "SECONDS", 1.0)
    monkeypatch.setattr(canary_clients, "SECONDS", 1.0)


@pytest.mark.parametrize(("words", "fault", "test"), cases(CODE, QUICK))
def test_a_fault_of_the_code_is_found(tmp_path, monkeypatch, words, fault, test):
    fault(monkeypatch, faults.seeds(fault, 0))
    audit, tests = found(simulated(tmp_path / "run", words))
    assert audit.outcome is Outcome.CONTRADICTED
    assert test in tests


@pytest.mark.parametrize(("words", "fault", "test"), cases(FILES))
def test_a_fault_of_the_files_is_found(tmp_path, words, fault, test):
    path = simulated(tmp_path / "run", words)
    fault(path)
    audit, tests = found(path)
    assert audit.outcome is Outcome.CONTRADICTED
    assert test in tests


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[] if name == "together" else pytest.mark.slow)
        for name, words in HONEST.items()
    ],
)
def test_an_honest_run_that_looks_alike_is_left_alone(tmp_path, words):
    audit, tests = found(simulated(tmp_path / "run", words))
    assert tests == []
    assert audit.outcome is Outcome.NOT_CONTRADICTED

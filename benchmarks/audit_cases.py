"""Small runs that are audited: honest ones, and the same with a fault put in from outside.

The audit gets a run's directory and the code that made it, with the fault in place; never its name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

import simulations.simulate
from audits import canary_clients, membership
from audits.audit import audit_run
from audits.bench import Bench
from audits.probes import Probes
from audits.stranger import read_stranger
from benchmarks import audit_faults as faults
from commands.compose import composed
from simulations.progress import LiveProgress
from tacit.configuration import read_settings
from tacit.runs.audited import Audit, Finding

Words = tuple[str, ...]

SAMPLED: Final = (
    "domain=hospitals",
    "engine=loop",
    "compare=false",
    "training.rounds=3",
    "training.local_steps=2",
    "training.batch_size=16",
    "privacy.epsilon=2",
)
TOGETHER: Final = (*SAMPLED, "engine=stacked")
SYSTEM: Final = (*SAMPLED, "privacy.noise_seed=system")
SECURE: Final = (*SAMPLED, "secure_aggregation=required")
PERSONS: Final = (
    "domain=fleets",
    "engine=loop",
    "compare=false",
    "training.rounds=3",
    "training.local_steps=2",
    "training.batch_size=3",
    "privacy.unit=person",
    "privacy.within_person=sum",
    "privacy.epsilon=2",
)
PERSONS_TOGETHER: Final = (*PERSONS, "engine=stacked", "privacy.within_person=mean")
SCALED: Final = (
    *SAMPLED,
    "model=linear",
    "model.architecture._target_=benchmarks.audit_model.Scaled",
    "model.architecture.name=scaled",
)
SHARED: Final = (
    "domain=hospitals",
    "compare=false",
    "training.rounds=3",
    "privacy=shared_noise",
    "training.learning_rate=0.5",
    "privacy.epsilon=1",
)
FEWER: Final = (*SHARED, "training.min_replies=2")
CLIENTS: Final = (
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
SMALL: Final = (
    "domain=digits",
    "domain.partition.sites=4",
    "domain.partition.rows=20",
    "compare=false",
    "training.rounds=10",
    "privacy.epsilon=0.5",
)
CLIENTS_IN_SHARES: Final = (
    *CLIENTS,
    "privacy.noise=clients",
    "privacy.clipping_quantile=0.5",
    "secure_aggregation=required",
)
HONEST: Final = {
    "small": SMALL,
    "sampled": SAMPLED,
    "together": TOGETHER,
    "system": SYSTEM,
    "secure": SECURE,
    "persons": PERSONS,
    "persons together": PERSONS_TOGETHER,
    "scaled": SCALED,
    "shared": SHARED,
    "fewer": FEWER,
    "clients": CLIENTS,
    "clients in shares": CLIENTS_IN_SHARES,
}
"""Kinds of runs by engine, unit, source and place of the noise, and what the coordinator sees."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and the test that finds it.

    Parameters
    ----------
    words
        Of the run that has it.
    put_in
        Puts it into code, with a patch and a generator of its size; or into a run's files, by path.
    test
        Which test is to find it.
    """

    words: Words
    put_in: Callable[..., None]
    test: str

    @property
    def name(self) -> str:
        """In words."""
        return self.put_in.__name__.replace("_", " ")


CODE: Final = [
    Fault(SAMPLED, faults.noise_too_small, "amount of noise"),
    Fault(TOGETHER, faults.noise_too_small_for_many_at_once, "amount of noise"),
    Fault(SHARED, faults.skellam_too_small, "amount of noise"),
    Fault(SMALL, faults.no_noise_at_all, membership.TEST),
    Fault((*CLIENTS, "privacy.epsilon=2"), faults.coordinator_noise_too_small, canary_clients.TEST),
    Fault(CLIENTS, faults.coordinator_noise_left_out, "noise of the coordinator in the run"),
    Fault(SAMPLED, faults.no_noise_on_one_layer, "noise of each tensor"),
    Fault(SAMPLED, faults.no_clipping, "clipping of one record"),
    Fault(PERSONS, faults.clipping_each_row_of_a_person, "clipping of one person"),
    Fault(SAMPLED, faults.clipping_per_batch, "clipping by itself"),
    Fault(SAMPLED, faults.clipping_per_layer, "clipping of one record"),
    Fault(SAMPLED, faults.noise_before_clipping, "amount of noise"),
    Fault(SAMPLED, faults.same_noise_at_two_sites, "noise of different rounds and sites"),
    Fault(SAMPLED, faults.same_noise_in_two_rounds, "noise of different rounds and sites"),
    Fault(SYSTEM, faults.noise_from_a_known_seed, "noise that nobody can recompute"),
    Fault(SAMPLED, faults.shuffled_batches, "spread of samples"),
    Fault(SAMPLED, faults.twice_the_rate, "rate of sampling"),
    Fault(SAMPLED, faults.steps_counted_short, "steps"),
    Fault(SAMPLED, faults.divisor_that_follows_size, "divisor"),
    Fault(SAMPLED, faults.nan_let_through, "records that are not numbers"),
    Fault(SCALED, faults.one_parameter_never_clipped, "clipping of one record"),
    Fault(SAMPLED, faults.exact_metric_released, "what left"),
    Fault(SAMPLED, faults.exact_count_released, "what left"),
    Fault(SECURE, faults.modulus_too_small, "parts of a sum"),
    Fault(SECURE, faults.masks_left_out, "masks"),
    Fault(FEWER, faults.shares_short_by_dropouts, "shares of noise"),
    Fault((*SHARED, "training.batch_size=20"), faults.weights_ignored, "sensitivities"),
]
FILES: Final = [
    Fault(TOGETHER, faults.row_lost, "steps"),
    Fault(SAMPLED, faults.wrong_relation, "unit and relation"),
]
BY_CHANCE: Final = (
    faults.noise_too_small,
    faults.noise_too_small_for_many_at_once,
    faults.skellam_too_small,
    faults.shuffled_batches,
    faults.twice_the_rate,
)
"""Faults that a test finds with a probability: the others show in one run as in any."""
WHOLE: Final = (
    faults.no_noise_at_all,
    faults.coordinator_noise_too_small,
    faults.coordinator_noise_left_out,
    faults.steps_counted_short,
    faults.exact_metric_released,
    faults.exact_count_released,
    faults.masks_left_out,
    faults.shares_short_by_dropouts,
    faults.weights_ignored,
)
"""Faults whose test is none of the probes beside a run: it takes all of the audit to find them."""


def hurried(patch: Any) -> None:
    """Let runs leave no report, which no audit reads, and give attacks on models a second each."""
    patch.setattr(simulations.simulate, "write_report", lambda path: None)
    for attack in (membership, canary_clients):
        patch.setattr(attack, "SECONDS", 1.0)


def simulated(path: Path, words: Sequence[str]) -> Path:
    """Make a run in a directory."""
    config = composed([*words, f"run.dir={path}"])
    with LiveProgress(Console(quiet=True)) as progress:
        simulations.simulate.simulate(read_settings(config), config, progress)
    return path


def audited(path: Path) -> tuple[Audit, list[str]]:
    """Audit a run; return the audit, and which tests contradict."""
    audit = audit_run(path, Console(quiet=True))
    return audit, contradicted([each for stage in audit.stages for each in stage.findings])


def probed(path: Path, seed: int) -> list[str]:
    """Do the probes beside a run alone, as if it had another seed; return which tests contradict.

    What a probe draws follows the seed; of the run it takes nothing but configuration and plan.
    """
    found = read_stranger(path)
    stranger = replace(found, settings=replace(found.settings, seed=seed))
    return contradicted(list(Probes(stranger, Bench(stranger)).findings()))


def contradicted(findings: Sequence[Finding]) -> list[str]:
    """Return the names of the tests that contradict."""
    return [finding.test for finding in findings if finding.contradicted]

"""What a run leaves for programs: results.json, and the lines of history.jsonl.

The form is a contract, published as JSON Schema in results.schema.json (``tacit/results/1``): a
field never changes its meaning; a new meaning gets a new schema version. JSON has no infinity, so
an infinite ε is the string ``"infinity"``; NaN is never written, and a figure that could not be
computed is null with its reason.

A program reads a run with::

    results = read(run / "results.json")
    results.evaluation.mean_of_sites, results.privacy.guarantees[0].sites["va"].epsilon

Every guarantee in it is public; held-out measurements are made on data of the sites, which only a
simulation may do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from tacit.errors import RunDirectoryError
from tacit.learning.plan import Persons
from tacit.privacy.events import Relation, Unit
from tacit.runs.encoding import decode, encode, write_text
from tacit.runs.evaluation import Evaluation

SCHEMA: Final = "tacit/results/1"

T = TypeVar("T")


class ReportedAccountant(StrEnum):
    """Those of `tacit.privacy.accounting.Accountant` whose ε a run may report; PRV only checks."""

    PLD = "pld"
    RDP = "rdp"


class Sampling(StrEnum):
    """How the units of one step are chosen."""

    POISSON = "poisson"


class Mechanism(StrEnum):
    """How the noise gets in."""

    GAUSSIAN_AT_SITE = "gaussian_at_site"
    GAUSSIAN_AT_SERVER = "gaussian_at_server"
    """The coordinator noises the sum of whole updates, and is trusted with each."""

    SKELLAM_IN_SHARES = "skellam_in_shares"
    """Sites make the noise of a sum together, and only the sum is seen."""


class Adversary(StrEnum):
    """Against whom a guarantee holds."""

    SERVER_AND_OTHER_SITES = "server_and_other_sites"
    """Whoever sees every message that leaves the site, and all models."""

    SERVER_AND_COLLUDERS = "server_and_colluders"
    """Whoever sees the sums and all models, and a few sites' noise, but no message of the site."""

    OTHER_SITES_AND_MODEL_HOLDERS = "other_sites_and_model_holders"
    """Whoever sees all models, but no message of the site."""


@dataclass(frozen=True, slots=True)
class SiteSpending:
    """What a run costs one site, and the public constants it follows from."""

    epsilon: float
    epsilon_budget: float
    steps: int
    sampling_rate: float
    noise_multiplier: float
    clipping_norm: float


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One guarantee, whole.

    `honest_sites` is the least number of sites, the protected one among them, that must follow the
    protocol for it to hold: 1 where the site's own noise is enough.
    """

    unit: Unit
    relation: Relation
    delta: float
    adversary: Adversary
    honest_sites: int
    mechanism: Mechanism
    sites: Mapping[str, SiteSpending]
    clipping_quantile: float | None = None
    """Share of updates that C, which followed them, was to leave as they are; None: C stayed."""
    update_noise: float | None = None
    """Where C followed the updates: noise on an update relative to σ × C, as a count shares it."""
    persons: Persons | None = None
    """What a person's gradient was made of, where a person is the unit."""
    epsilon_changed: float | None = None
    """Largest ε of any site between data sets in which one person is changed, not there or not: see
    `tacit.privacy.accounting_change`. None where another unit is, or where it is not known."""
    epsilon_overlap: float | None = None
    """Largest ε of any site for all rows together in which one measurement lies, where rows overlap
    and one row is the unit: see `tacit.privacy.accounting_group`."""

    @property
    def largest_epsilon(self) -> float:
        """The ε of the site that is protected least."""
        return max(spending.epsilon for spending in self.sites.values())


@dataclass(frozen=True, slots=True)
class Privacy:
    """What the run cost; the first guarantee is the headline."""

    accountant: ReportedAccountant
    sampling: Sampling
    simulated_noise: bool
    guarantees: tuple[Guarantee, ...]


@dataclass(frozen=True, slots=True)
class SecureSum:
    """That the coordinator saw sums only, and on what that rests.

    Parameters
    ----------
    sites
        How many a round asked.
    fewest
        Fewest in a sum.
    bits
        Of a number.
    corrupt
        How many of the sites may work with the coordinator.
    """

    sites: int
    fewest: int
    bits: int
    corrupt: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the whole run, and medians over the rounds after the first (None: no such)."""

    seconds: float
    seconds_per_round: float | None
    cpu_seconds_per_round: float | None
    clients_per_second: float | None


@dataclass(frozen=True, slots=True)
class DomainSummary:
    """What was learned, for people; all of it is public: see `tacit.domains.domain.Card`."""

    name: str
    title: str
    description: str
    unit_protected: str
    not_protected: tuple[str, ...]
    public_pool: str | None
    synthetic: bool
    row: str = "record"
    overlap: int = 1

    def named(self, unit: Unit) -> str:
        """Return what a unit of a guarantee is called."""
        return self.row if unit is Unit.RECORD else unit.value

    def explained(self, unit: Unit) -> str:
        """Return the same and, of persons, what one is here: an engine, say."""
        name = self.named(unit)
        return f"{name} ({self.unit_protected})" if unit is Unit.PERSON else name


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Which model, which part of it was trained, and what it was pretrained on (None: nothing)."""

    name: str
    train: str
    parameters_trained: int
    parameters_total: int
    parameters_head: int  # these start from zeros unless pretrained: `tacit.models.architecture`
    pretraining: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another way to get a model; an `epsilon` of None means no privacy guarantee.

    `same_as` is the key of a row that is the same model by construction, but for rounding.
    """

    key: str
    title: str
    evaluation: Evaluation
    epsilon: float | None
    note: str
    same_as: str | None = None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Predictions of like confidence: their mean confidence, how many were right, how many."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bins that are not empty, and the expected calibration error (Guo et al. 2017, eq. 3)."""

    bins: tuple[CalibrationBin, ...]
    expected_calibration_error: float


@dataclass(frozen=True, slots=True)
class Calibrations:
    """Calibration per site; the key ``all`` is for all test records together."""

    sites: Mapping[str, Calibration]


@dataclass(frozen=True, slots=True)
class OutOfScope:
    """How well confidence tells examples that are of no class from held-out ones that are.

    Parameters
    ----------
    records
        Examples of no class.
    auroc
        Chance that one of them has less confidence than one that is in scope.
    accepted_at_95
        Share of them that pass where 95 % of those in scope do.
    """

    records: int
    auroc: float
    accepted_at_95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """results.json: the summary of one run."""

    schema: str = SCHEMA
    version: str
    experiment: str
    seed: int
    rounds: int
    planned_rounds: int
    weights_sha256: str
    simulation: bool
    domain: DomainSummary
    model: ModelSummary
    strategy: str
    evaluation: Evaluation
    baselines: Mapping[str, Evaluation]
    comparison: tuple[Comparison, ...]
    calibration: Calibrations | None
    test_records: Mapping[str, int]
    privacy: Privacy | None
    timing: Timing
    notes: tuple[str, ...] = ()
    site_count: int | None = None
    """Sites of the run, also where they are not listed by name (`Evaluation`); None: not known."""
    single_models: Mapping[str, Evaluation] = field(default_factory=dict)
    """Each site's own model, by site, measured at all sites; empty where none was trained."""
    secure_sum: SecureSum | None = None
    """None where the coordinator saw what each site sent."""
    out_of_scope: OutOfScope | None = None
    """Where the domain has examples of no class to measure on."""
    environment: str | None = None
    """Of a simulation: what its last bits depend on beside configuration and data."""


@dataclass(frozen=True, slots=True)
class Round:
    """One line of history.jsonl; round 0, where there is one, is before training.

    `epsilon` is what each site has spent so far in this run, None without privacy.
    """

    round: int
    seconds: float
    cpu_seconds: float
    replied: tuple[str, ...]
    failed: Mapping[str, str]
    loss: float | None = None
    loss_on: str | None = None
    evaluation: Evaluation | None = None
    epsilon: Mapping[str, float] | None = None
    clipping_norm: float | None = None
    """C of the round, where it follows the updates."""


def write(results: Results, path: Path) -> None:
    """Write results.json whole or not at all.

    Raises
    ------
    TacitError
        A figure is NaN, or infinite and not an ε.
    RunDirectoryError
        The file cannot be written.
    """
    text = json.dumps(encode(results), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read(path: Path) -> Results:
    """Read a results.json.

    Raises
    ------
    RunDirectoryError
        There is no such file, it has another schema, or a field is missing or of another kind.
    """
    found = _parse(_text(path), str(path))
    if found.get("schema") != SCHEMA:
        raise RunDirectoryError(
            f"{path} has schema {found.get('schema')!r}; this version of Tacit reads {SCHEMA!r}"
        )
    return decode(Results, found, path.name)


def read_as(kind: type[T], path: Path) -> T:
    """Read a dataclass that `tacit.runs.encoding.encode` wrote as JSON.

    Raises
    ------
    RunDirectoryError
        There is no such file, or a field is missing or of another kind.
    """
    return decode(kind, _parse(_text(path), str(path)), path.name)


def read_history(path: Path) -> tuple[Round, ...]:
    """Read a history.jsonl.

    Raises
    ------
    RunDirectoryError
        There is no such file, or a line of it is not a round; the message names the line.
    """
    return tuple(
        decode(Round, _parse(line, where), where)
        for number, line in enumerate(_text(path).split("\n"), 1)
        if (where := f"{path.name}, line {number}") and line.strip()
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(
            f"{path} cannot be read: {error}: is {path.parent} the directory of a run that ended?"
        ) from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RunDirectoryError(f"{where} is not JSON: {error}: was it cut short?") from error
    if not isinstance(found, dict):
        raise RunDirectoryError(f"{where} is {text[:40]!r}, not an object in braces")
    return found

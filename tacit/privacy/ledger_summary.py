"""What a ledger says, added up for whoever must answer for the data: by run, and over its life."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from tacit.privacy.book import Run
from tacit.privacy.chain import Receipt, Row
from tacit.privacy.events import Event, GaussianSteps, NoisedSteps, Relation, Unit
from tacit.privacy.ledger_filter import renyi_budget
from tacit.privacy.ledger_view import Standing

FORMAT = "tacit-ledger-summary/1"
"""Changes whenever a key of `to_json_values` changes its meaning."""


class Told(Protocol):
    """What is added up: a `tacit.privacy.ledger_view.LedgerView`, or a site's part of one."""

    @property
    def data_set(self) -> str:
        """The name of the data."""

    @property
    def unit(self) -> Unit:
        """Whose presence is hidden."""

    @property
    def relation(self) -> Relation:
        """Between which data sets."""

    @property
    def delta(self) -> float:
        """The lifetime's δ."""

    def rows(self) -> list[Row]:
        """Give its rows, oldest first."""

    def runs(self) -> Mapping[str, Run]:
        """Give what stands for each run."""

    def standing(self) -> Standing:
        """Compute what everything charged so far has cost."""

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Parameters
    ----------
    run
        Its name.
    state
        ``open`` or ``closed``.
    first, last
        When it was reserved and when it was last heard of, as ISO 8601 in UTC.
    rounds, planned_rounds
        Rounds charged, net, and rounds reserved.
    steps
        Noised sums charged, net; exact releases for a run without noise.
    noise_multiplier, sampling_rate, clipping_norm
        Its mechanism; None for an exact release. Skellam noise is relative to a sensitivity on its
        grid and has no clipping norm.
    epsilon, delta
        What it has cost so far, by PLD (Skellam noise by RDP) at its own δ: infinite where noise
        was predictable or absent.
    planned_epsilon
        What it may cost in all.
    """

    run: str
    state: str
    first: str
    last: str
    rounds: int
    planned_rounds: int
    steps: int
    noise_multiplier: float | None
    sampling_rate: float | None
    clipping_norm: float | None
    epsilon: float
    planned_epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole ledger.

    Parameters
    ----------
    data_set, unit, relation
        What it was opened for.
    receipt
        Count of rows and last hash.
    rows_of_kind
        How many rows there are of each kind.
    standing
        What the data set has cost over its life.
    lifetime_epsilon
        The limit: today's where it is known, otherwise the largest that a run was admitted under;
        None where there is neither.
    budget
        The Rényi divergence that this limit allows at the ledger's order; None without either.
    room
        About the ε, at the lifetime's δ, that one more run could cost whose steps take all rows;
        None where the ledger has no order yet.
    runs
        Every run, in the order of their reservations.
    """

    data_set: str
    unit: str
    relation: str
    receipt: Receipt
    rows_of_kind: dict[str, int]
    standing: Standing
    lifetime_epsilon: float | None
    budget: float | None
    room: float | None
    runs: list[RunSummary]

    def to_json_values(self) -> dict[str, object]:
        """Write as JSON values; what is infinite is null."""
        return {"format": FORMAT, **{key: finite(value) for key, value in asdict(self).items()}}


def summarise(view: Told, lifetime_epsilon: float | None = None) -> Summary:
    """Add up a ledger.

    Parameters
    ----------
    lifetime_epsilon
        Today's limit, where it is known.
    """
    rows, runs, standing = view.rows(), view.runs(), view.standing()
    limit = lifetime_epsilon
    if limit is None:
        limits = (run.filter.lifetime_epsilon for run in runs.values() if run.filter is not None)
        limit = max(limits, default=None)
    budget = room = None
    if limit is not None and standing.order is not None:
        budget = renyi_budget(limit, view.delta, standing.order)
        room = _room(budget - standing.committed, view, standing.order)
    dates = dates_of(rows)
    return Summary(
        data_set=view.data_set,
        unit=str(view.unit),
        relation=str(view.relation),
        receipt=view.receipt(),
        rows_of_kind=kinds_of(rows),
        standing=standing,
        lifetime_epsilon=limit,
        budget=budget,
        room=room,
        runs=[summary_of(run, *dates[name]) for name, run in runs.items()],
    )


def kinds_of(rows: Iterable[Row]) -> dict[str, int]:
    """Count the rows of each kind."""
    return dict(Counter(str(json.loads(row.body)["kind"]) for row in rows))


def summary_of(run: Run, first: str, last: str) -> RunSummary:
    """Add up one run, of which was heard first and last at these times."""
    event = run.plan.event
    noised = event if isinstance(event, NoisedSteps) else None
    return RunSummary(
        run=run.plan.run,
        state="closed" if run.closed else "open",
        first=first,
        last=last,
        rounds=run.rounds,
        planned_rounds=run.plan.rounds,
        steps=run.steps,
        noise_multiplier=noised.noise_multiplier if noised else None,
        sampling_rate=noised.sampling_rate if noised else None,
        clipping_norm=event.clipping_norm if isinstance(event, GaussianSteps) else None,
        epsilon=_epsilon(run, run.spent()),
        planned_epsilon=_epsilon(run, run.plan.events()),
        delta=run.plan.delta,
    )


def _epsilon(run: Run, events: Iterable[Event]) -> float:
    from tacit.privacy.accounting import Accountant, epsilon

    events = list(events)
    if not events:
        return 0.0
    return epsilon(events, run.plan.delta, Accountant.PLD) if run.plan.private else math.inf


def _room(left: float, view: Told, order: int) -> float:
    """Return ε of the one Gaussian that has a divergence of `left`: α/(2σ²) (Mironov 2017)."""
    from tacit.privacy.accounting import Accountant, epsilon

    if not left > 0:
        return 0.0
    sigma = math.sqrt(order / (2 * left))
    last = GaussianSteps(sigma, 1.0, 1, 1.0, view.unit, view.relation)
    return epsilon([last], view.delta, Accountant.PLD)


def dates_of(rows: Iterable[Row]) -> dict[str, tuple[str, str]]:
    """Find when each run was first and last heard of."""
    dates: dict[str, tuple[str, str]] = {}
    for at, run, _ in heard(rows):
        dates[run] = dates.get(run, (at,))[0], at
    return dates


def heard(rows: Iterable[Row]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Give the time, the run and the sites, where it names any, of each row but the first."""
    run_of: dict[int, str] = {}
    for row in rows:
        if row.number == 1:
            continue
        fields = json.loads(row.body)
        plan = fields.get("plan")
        run = str(plan["run"] if plan else fields.get("run") or run_of[fields["charge"]])
        run_of[row.number] = run
        yield fields["at"], run, fields.get("sites", ())


def finite(value: object) -> object:
    """Write numbers that are not finite as null."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

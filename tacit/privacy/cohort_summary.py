"""What a ledger of many sites says, added up: how it spreads over them, and the dearest by name."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import ceil
from typing import Final

from tacit.privacy.book import Book
from tacit.privacy.chain import Receipt
from tacit.privacy.cohort_view import CohortView
from tacit.privacy.ledger_summary import RunSummary, dates_of, finite, heard, kinds_of, summary_of
from tacit.privacy.ledger_view import standing_of

FORMAT: Final = "tacit-cohort-ledger-summary/1"
"""Changes whenever a key of `to_json_values` changes its meaning."""

DEAREST: Final = 10
"""Sites that are named."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Least, quartiles and most of a figure over sites; each is the figure of some site."""

    least: float
    lower: float
    median: float
    upper: float
    most: float


@dataclass(frozen=True, slots=True)
class SiteCost:
    """What a site has spent over all its runs: ε by PLD at the ledger's δ."""

    site: str
    rounds: int
    steps: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class RunOfMany:
    """One run of many sites.

    Parameters
    ----------
    run
        Its name.
    sites, charged, open
        How many sites reserved it, were charged for it, and may still be.
    first, last
        When it was first reserved and when it was last heard of, as ISO 8601 in UTC.
    """

    run: str
    sites: int
    charged: int
    open: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """A whole ledger of many sites.

    Parameters
    ----------
    simulation, unit, relation, delta
        What it was opened for.
    receipt
        Count of rows and last hash.
    rows_of_kind
        How many rows there are of each kind.
    sites
        How many sites it names.
    charged
        How many of them were ever charged.
    rounds, steps, epsilon
        How these spread over the sites; None where there are none.
    dearest
        The sites that have spent most: by ε, and where it is the same by steps. None of them is
        named where all have spent the same.
    as_dear
        How many sites that are not named have spent as much as the last that is.
    runs
        Every run, in the order of their first reservations.
    """

    simulation: str
    unit: str
    relation: str
    delta: float
    receipt: Receipt
    rows_of_kind: dict[str, int]
    sites: int
    charged: int
    rounds: Quantiles | None
    steps: Quantiles | None
    epsilon: Quantiles | None
    dearest: list[SiteCost]
    as_dear: int
    runs: list[RunOfMany]

    def to_json_values(self) -> dict[str, object]:
        """Write as JSON values; what is infinite is null."""
        return {"format": FORMAT, **{key: finite(value) for key, value in asdict(self).items()}}


def summarise_all(view: CohortView) -> CohortSummary:
    """Add up a ledger of many sites."""
    rows, books = view.rows(), view.books()
    costs = [_cost(site, book, view.delta) for site, book in books.items()]
    ordered = sorted(costs, key=_dearest_first)
    alike = len({_dearest_first(cost) for cost in costs}) <= 1
    dearest, others = ([], []) if alike else (ordered[:DEAREST], ordered[DEAREST:])
    return CohortSummary(
        simulation=view.data_set,
        unit=str(view.unit),
        relation=str(view.relation),
        delta=view.delta,
        receipt=view.receipt(),
        rows_of_kind=kinds_of(rows),
        sites=len(books),
        charged=sum(bool(book.charges) for book in books.values()),
        rounds=_quantiles(cost.rounds for cost in costs),
        steps=_quantiles(cost.steps for cost in costs),
        epsilon=_quantiles(cost.epsilon for cost in costs),
        dearest=dearest,
        as_dear=sum(_dearest_first(cost) == _dearest_first(dearest[-1]) for cost in others),
        runs=list(_runs(view)),
    )


def runs_of_sites(view: CohortView) -> Iterator[tuple[str, RunSummary]]:
    """Give every run of every site, in the order of names."""
    dates: dict[tuple[str, str], tuple[str, str]] = {}
    for at, run, sites in heard(view.rows()):
        for site in sites:
            dates[site, run] = dates.get((site, run), (at,))[0], at
    for site, book in view.books().items():
        for name, known in book.runs.items():
            yield site, summary_of(known, *dates[site, name])


def _cost(site: str, book: Book, delta: float) -> SiteCost:
    runs = book.runs.values()
    return SiteCost(
        site,
        sum(run.rounds for run in runs),
        sum(run.steps for run in runs),
        standing_of(book, delta).pld,
    )


def _dearest_first(cost: SiteCost) -> tuple[float, int]:
    return -cost.epsilon, -cost.steps


def _runs(view: CohortView) -> Iterator[RunOfMany]:
    for name, when in dates_of(view.rows()).items():
        found = [book.runs[name] for book in view.books().values() if name in book.runs]
        charged = sum(bool(run.requests) for run in found)
        yield RunOfMany(name, len(found), charged, sum(not run.closed for run in found), *when)


def _quantiles(values: Iterable[float]) -> Quantiles | None:
    ordered = sorted(values)
    if not ordered:
        return None
    count = len(ordered)
    return Quantiles(*(ordered[max(0, ceil(q * count) - 1)] for q in (0, 0.25, 0.5, 0.75, 1)))

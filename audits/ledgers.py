"""Stage 1: the arithmetic. Every ε anew from the ledgers' events, and events against the plan.

Nothing is taken from what the run computed: rates, divisors and sensitivities follow here from the
configuration and the declared sizes alone.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from audits.stranger import Stranger
from tacit.errors import ConfigurationError, LedgerError
from tacit.plans import cohort_size, fewest_replies
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.cohort_view import CohortView, SiteView, read_any
from tacit.privacy.events import (
    Event,
    ExactRelease,
    GaussianSteps,
    NoisedSteps,
    SkellamSteps,
    noised,
)
from tacit.privacy.ledger_file import connect_to_read
from tacit.privacy.ledger_view import LedgerView
from tacit.privacy.policy import steps_of
from tacit.privacy_settings import NoPrivacy, SharedNoisePrivacy, protected
from tacit.runs import directory
from tacit.runs.audited import Finding, Stage, StageName
from tacit.runs.results import Guarantee

ROUNDED: Final = 1e-6
"""Relative difference of two ε that were computed alike, on other machines say."""
PRV_APART: Final = (0.02, 0.01)
"""By how much PRV may differ from PLD: absolutely and relatively."""
_SHOWN: Final = 3
_SQLITE: Final = b"SQLite format 3\x00"
_COLUMNS: Final = {"number", "body", "hash"}

Books = Mapping[str, LedgerView | SiteView]


def audit_ledgers(stranger: Stranger) -> Stage:
    """Check a run's ledgers against themselves, against the plan and against its report."""
    results = stranger.results
    if results.privacy is None:
        return Stage(StageName.LEDGER, why="the run claims no privacy: there is nothing to check")
    paths = stranger.ledgers()
    if not paths and results.simulation:
        where = stranger.path / directory.LEDGER
        gone = f"the run's ledgers are gone: {where} has none of any site"
        return Stage(StageName.LEDGER, (Finding("ledger", gone, contradicted=True),))
    if not paths:
        return Stage(StageName.LEDGER, why="the run left no ledger here: each site keeps its own")
    with ExitStack() as stack:
        try:
            views: dict[Path, LedgerView | CohortView] = {}
            for path in set(paths.values()):
                views[path] = view = read_any(path)
                stack.enter_context(view)
                view.verify()
                view.check_head()
        except LedgerError as error:
            return Stage(StageName.LEDGER, (Finding("hash chain", str(error), contradicted=True),))
        books = {site: book for site, path in paths.items() if (book := _book(views[path], site))}
        rows = sum(len(each.rows()) for each in views.values())
        chain = Finding(
            "hash chain",
            f"{rows} rows hang together, and the last is the one that the second place knows",
        )
        return Stage(StageName.LEDGER, (chain, *_findings(stranger, books)))


def audit_ledger(path: Path) -> Stage:
    """Check one ledger by itself: its chain, and that every plan in it keeps to its budget.

    Raises
    ------
    ConfigurationError
        There is no such file, or it is no ledger.
    """
    if path.is_dir():
        raise ConfigurationError(f"ledger={path} is a folder: name the file in it")
    if path.is_file() and not _is_ours(path):
        raise ConfigurationError(
            f"ledger={path} is no ledger of ours: that is an SQLite file with a table of rows, and "
            "its head beside it"
        )
    try:
        with read_any(path) as view:
            view.verify()
            view.check_head()
            rows = len(view.rows())
            books = (
                {view.data_set: view.runs()}
                if isinstance(view, LedgerView)
                else {site: book.runs for site, book in view.books().items()}
            )
    except LedgerError as error:
        return Stage(StageName.LEDGER, (Finding("hash chain", str(error), contradicted=True),))
    over = []
    for name, runs in books.items():
        for each in runs.values():
            spent = noised(each.spent())
            cost = epsilon(spent, each.plan.delta) if spent else 0.0
            if cost > each.plan.epsilon * (1 + ROUNDED):
                over.append(f"{name} ({cost:.6g} of {each.plan.epsilon:g} in run {each.plan.run})")
    chain = Finding("hash chain", f"{rows} rows hang together, and the last is the one known")
    within = _finding(
        "budgets",
        over,
        "what was charged for each run is within what it set aside",
        "more was charged than was set aside",
    )
    return Stage(StageName.LEDGER, (chain, within))


def _is_ours(path: Path) -> bool:
    """Tell a ledger, also a damaged one, from a file of another kind."""
    if path.with_name(path.name + ".head").is_file():
        return True
    try:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                return False
        with closing(connect_to_read(path)) as database:
            columns = database.execute("SELECT name FROM pragma_table_info('rows')").fetchall()
    except sqlite3.DatabaseError:
        # What is broken is for its own reading to say.
        return True
    except OSError as error:
        raise ConfigurationError(f"ledger={path} cannot be read: {error}") from error
    return {name for (name,) in columns} == _COLUMNS


def charged_events(stranger: Stranger, sites: Collection[str]) -> dict[str, tuple[Event, ...]]:
    """Return what sites were charged for a run."""
    found = {}
    for site, path in stranger.ledgers().items():
        if site not in sites:
            continue
        with read_any(path) as view:
            book = _book(view, site)
            if book is not None and stranger.run in book.runs():
                found[site] = tuple(book.runs()[stranger.run].spent())
    return found


def _book(view: LedgerView | CohortView, site: str) -> LedgerView | SiteView | None:
    """Return what stands for a site; None for one of very many that was never asked."""
    if isinstance(view, LedgerView):
        return view
    try:
        return view.of(site)
    except ConfigurationError:
        return None


def _findings(stranger: Stranger, books: Books) -> Iterator[Finding]:
    if stranger.results.privacy is None:
        return
    spent = {
        site: [
            event
            for name, run in book.runs().items()
            if name == stranger.run
            for event in run.spent()
        ]
        for site, book in books.items()
    }
    (headline, *others) = stranger.results.privacy.guarantees
    yield _unit(stranger, books, headline)
    yield _reported(headline, spent, "ε of the report")
    for guarantee in others:
        alone = {site: [_alone(event) for event in events] for site, events in spent.items()}
        yield _reported(guarantee, alone, "ε by each site's own share")
    yield _second_accountant(headline, spent)
    yield _steps(stranger, spent)
    yield _planned(stranger, spent)
    if isinstance(stranger.settings.privacy, SharedNoisePrivacy):
        yield _sensitivities(stranger, spent)
    if getattr(stranger.settings.privacy, "colluders", None) is not None and others:
        yield _shares(stranger, spent)


def _unit(stranger: Stranger, books: Books, claimed: Guarantee) -> Finding:
    """Whose presence is hidden between which data sets: configuration, ledgers and report."""
    unit, relation = protected(stranger.settings.privacy)
    privacy = stranger.settings.privacy
    delta = None if isinstance(privacy, NoPrivacy) else privacy.delta
    wrong = [
        site
        for site, book in books.items()
        if (book.unit, book.relation, book.delta) != (unit, relation, delta)
    ]
    if (claimed.unit, claimed.relation, claimed.delta) != (unit, relation, delta):
        wrong = ["the report", *wrong]
    return _finding(
        "unit and relation",
        wrong,
        f"one {unit}, {relation.replace('_', ' ')}, δ = {delta:g}, everywhere",
        f"the configuration says one {unit}, {relation.replace('_', ' ')}, δ = {delta}",
    )


def _reported(claimed: Guarantee, spent: Mapping[str, Sequence[Event]], test: str) -> Finding:
    """ε of each site anew, from what its ledger was charged."""
    found = {site: epsilon(events, claimed.delta) for site, events in spent.items() if events}
    wrong = []
    for site, value in found.items():
        said = claimed.sites.get(site)
        if said is None or not _close(said.epsilon, value):
            wrong.append(
                f"{site} ({'–' if said is None else f'{said.epsilon:.6g}'}, not {value:.6g})"
            )
    wrong += [f"{site} (no charge)" for site in claimed.sites.keys() - found.keys()]
    return _finding(
        test,
        sorted(wrong),
        f"{len(found)} sites: the same to six digits from the events in their ledgers",
        "the events in the ledgers give another ε than the report",
        {"largest_epsilon": max(found.values(), default=0.0)},
    )


def _second_accountant(claimed: Guarantee, spent: Mapping[str, Sequence[Event]]) -> Finding:
    """The same events by another accountant: PRV beside PLD, RDP's looser number elsewhere."""
    wrong, compared = [], 0
    for events in {tuple(events) for events in spent.values() if events}:
        first = epsilon(events, claimed.delta)
        if any(isinstance(event, ExactRelease | SkellamSteps) for event in events):
            continue
        compared += 1
        other = epsilon(events, claimed.delta, Accountant.PRV)
        if abs(other - first) > PRV_APART[0] + PRV_APART[1] * first:
            wrong.append(f"{first:.4g} by PLD and {other:.4g} by PRV")
    if not compared:
        return Finding(
            "a second accountant",
            "Skellam noise is counted by its own theorem (RDP): there is no second accountant",
        )
    return _finding(
        "a second accountant",
        wrong,
        f"PLD and PRV agree on {compared} plans of spending within 0.02 + 1 %",
        "two accountants do not agree",
    )


def _steps(stranger: Stranger, spent: Mapping[str, Sequence[Event]]) -> Finding:
    """At least as many steps were charged as a site's replies took."""
    each, wrong = stranger.steps_of_a_round, []
    for site in sorted(spent.keys() | stranger.declared_sizes.keys()):
        replied = sum(site in line.replied for line in stranger.history)
        charged = sum(steps_of(event) for event in spent.get(site, ()))
        if charged < replied * each:
            wrong.append(f"{site} ({charged} steps charged, {replied * each} replied to)")
    return _finding(
        "steps",
        wrong,
        "every reply in the history was charged, step by step",
        "more left a site than its ledger was charged",
    )


def _planned(stranger: Stranger, spent: Mapping[str, Sequence[Event]]) -> Finding:
    """Rate, clipping norm, steps and noise: of the events, the configuration and the report."""
    settings, claimed = stranger.settings, stranger.results.privacy
    clip = getattr(settings.privacy, "clipping_norm", None)
    wrong = []
    for guarantee in claimed.guarantees if claimed else ():
        for site, told in guarantee.sites.items():
            charged = sum(steps_of(event) for event in spent.get(site, ()))
            if told.clipping_norm != clip:
                wrong.append(f"{site} (C = {told.clipping_norm:g} reported, and {clip} configured)")
            if told.steps != charged:
                wrong.append(f"{site} ({told.steps} steps reported, and {charged} charged)")
    for site, events in spent.items():
        size = stranger.declared_sizes[site]
        batch = settings.training.batch_size
        rate = 1.0 if batch == "full" else min(1.0, batch / size)
        if protected(settings.privacy)[0] == "client":
            rate = 1.0
        for event in events:
            if not isinstance(event, NoisedSteps):
                wrong.append(f"{site} (an exact release)")
                continue
            said = claimed.guarantees[0].sites.get(site) if claimed else None
            if event.sampling_rate != rate:
                wrong.append(f"{site} (rate {event.sampling_rate:g}, and the batch gives {rate:g})")
            if isinstance(event, GaussianSteps) and event.clipping_norm != clip:
                wrong.append(f"{site} (C = {event.clipping_norm:g}, and {clip} is configured)")
            if said is not None and not _close(said.noise_multiplier, event.noise_multiplier):
                wrong.append(f"{site} (σ = {event.noise_multiplier:g}, not as reported)")
    return _finding(
        "rate, clip, steps and noise",
        sorted(set(wrong)),
        "events and report have the rate and the clip of the configuration, and the same steps and "
        "σ",
        "configuration, events and report do not agree",
    )


def _sensitivities(stranger: Stranger, spent: Mapping[str, Sequence[Event]]) -> Finding:
    """Each site's own weight × C ÷ divisor: noise for another's leaves it with less."""
    whole = sum(stranger.declared_sizes.values())
    batch = stranger.settings.training.batch_size
    wrong, unit = [], 0.0
    for site, size in stranger.declared_sizes.items():
        divisor = size if batch == "full" else min(batch, size)
        norm = size / whole / divisor
        for event in spent.get(site, ()):
            if isinstance(event, SkellamSteps):
                reach = _before_rounding(event)
                unit = unit or reach / norm
                if not math.isclose(reach, unit * norm, rel_tol=0.05):
                    wrong.append(f"{site} ({reach / unit:.4g}, and it is {norm:.4g})")
    return _finding(
        "sensitivities",
        wrong,
        "each site's is in proportion to its own weight × C ÷ divisor",
        "sensitivities, relative to the first site's, are not weight ÷ divisor",
    )


def _before_rounding(event: SkellamSteps) -> float:
    """Return the norm in units of the grid, of which rounding made the sensitivity.

    The larger root of the two bounds of which the sensitivity is the smaller one: Kairouz, Liu and
    Steinke 2021, proposition 22, with β = 2**-10.
    """
    root, squared = math.sqrt(event.dimension), event.l2_sensitivity**2
    half = math.sqrt(2 * math.log(2**10)) / 2
    least = squared - root**2 / 4 - half * root
    usual = math.sqrt(max(0.0, half**2 + least)) - half
    return max(event.l2_sensitivity - root, usual)


def _shares(stranger: Stranger, spent: Mapping[str, Sequence[Event]]) -> Finding:
    """Shares of noise are counted on of the fewest who may reply, less the colluders."""
    settings = stranger.settings
    asked = cohort_size(settings.training, len(stranger.declared_sizes))
    fewest = fewest_replies(settings.training, len(stranger.declared_sizes))
    sums = stranger.results.secure_sum
    fewest = max(fewest, sums.fewest if sums else 0)
    there = min((len(line.replied) for line in stranger.history if line.replied), default=asked)
    colluders = getattr(settings.privacy, "colluders", 0)
    wrong = sorted(
        f"{site} (of {event.shares})"
        for site, events in spent.items()
        for event in events
        if isinstance(event, SkellamSteps) and event.shares > min(fewest, there) - colluders
    )
    return _finding(
        "shares of noise",
        wrong,
        f"no more are counted on than {fewest} sites give, less {colluders} that may collude",
        f"a round counts with {fewest} sites, {colluders} may collude, and noise is counted on",
    )


def _alone(event: Event) -> Event:
    return replace(event, shares=1) if isinstance(event, SkellamSteps) else event


def _close(said: float, found: float) -> bool:
    return said == found or math.isclose(said, found, rel_tol=ROUNDED, abs_tol=1e-12)


def _finding(
    test: str,
    wrong: Sequence[str],
    good: str,
    bad: str,
    figures: Mapping[str, float] | None = None,
) -> Finding:
    if not wrong:
        return Finding(test, good, figures=figures or {})
    shown = ", ".join(wrong[:_SHOWN])
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return Finding(test, f"{bad}: {shown}{more}", contradicted=True, figures=figures or {})

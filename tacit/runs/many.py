"""What stands for very many sites: how a figure spreads over them, and those that need a look.

Up to `LISTED` sites a page or a table has a row for each. Above, it has the quartiles, and the
`WORST` by name; what all sites share is said once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tacit.runs.evaluation import ALL, Direction, Evaluation
from tacit.runs.guarantee import format_epsilon
from tacit.runs.page import format_figure
from tacit.runs.results import Results, SiteSpending

LISTED: Final = 30
"""Sites that have a row each."""
WORST: Final = 10
"""Rows where there are more sites."""


SPREAD: Final = ("from", "lower quartile", "median", "upper quartile", "to")


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, quartiles and most of a figure over sites, as `SPREAD` names them."""

    least: float
    lower: float
    median: float
    upper: float
    most: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Summarise what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    # Each is the value of some site: ε may be infinite, steps are whole.
    found = np.quantile(known, (0, 0.25, 0.5, 0.75, 1), method="inverted_cdf")
    return Spread(*found.tolist())


def count_of(results: Results) -> int:
    """Number of sites, listed or not."""
    listed = len(results.evaluation.sites)
    return listed if results.site_count is None else results.site_count


def spenders_of(results: Results) -> int:
    """Number of sites that spent, which are those that took part; of all without privacy."""
    return len(results.privacy.guarantees[0].sites) if results.privacy else count_of(results)


def took_part(results: Results) -> str:
    """Say how many sites there were and, where that is known, how many of them took part."""
    count, spent = count_of(results), spenders_of(results)
    of_them = f", of which {spent:,} took part," if results.simulation and spent < count else ""
    return f"{count:,} sites{of_them}"


def worst_first(found: Evaluation) -> list[str]:
    """Sites from the worst to the best; last those without a value."""
    sign = 1 if found.direction is Direction.MAXIMIZE else -1

    def badness(site: str) -> float:
        value = found.value(site)
        return np.inf if value is None else sign * value

    return sorted(found.sites, key=badness)


def differ(found: Evaluation) -> bool:
    """Whether the sites have figures of their own: not where they share one test set."""
    return len({found.value(site) for site in found.sites}) > 1


def rows_of(found: Evaluation) -> list[str]:
    """Sites that a table names: all in their order or, of more than `LISTED`, the worst."""
    if len(found.sites) <= LISTED:
        return list(found.sites)
    return worst_first(found)[:WORST] if differ(found) else []


def over_sites(results: Results) -> str | None:
    """Say how the metric spreads where a table does not name every site; None where it does."""
    found, count = results.evaluation, count_of(results)
    if not found.sites and ALL in results.test_records:
        return (
            f"All {count:,} sites are measured on the same {results.test_records[ALL]:,} test "
            "records: what is said of all together holds for each."
        )
    known = spread(found.value(site) for site in found.sites)
    if known is None:
        return None
    if len(found.sites) <= LISTED:
        return alike_in_words(results)
    if not differ(found):
        return f"At each of {len(found.sites):,} sites it is the same: {format_figure(known.most)}."
    return (
        f"Over {len(found.sites):,} sites: {format_figure(known.least)} at the least, "
        f"{format_figure(known.lower)} in the lower quartile, {format_figure(known.median)} in the "
        f"median, {format_figure(known.upper)} in the upper quartile, {format_figure(known.most)} "
        f"at the most. The table names the {WORST} worst."
    )


def alike_in_words(results: Results) -> str | None:
    """Say so where the sites that a table names cannot be told apart; None where they can."""
    found = results.evaluation
    if not 2 <= len(found.sites) <= LISTED or differ(found):
        return None
    value = found.value(next(iter(found.sites)))
    if value is None:
        return None
    return (
        f"All {len(found.sites)} sites have the same figure, {format_figure(value)}. Sites that "
        "share test rows, as those of one official test set, cannot be told apart: a model that is "
        "of no use at one of them would not be seen."
    )


def spending_rows(sites: Mapping[str, SiteSpending]) -> list[tuple[str, SiteSpending]]:
    """Name what each site spent; of very many, each sum once, the largest ε first."""
    if len(sites) <= LISTED:
        return list(sites.items())
    alike = Counter(sites.values())
    first: dict[SiteSpending, str] = {}
    for site, spending in sites.items():
        first.setdefault(spending, site)
    ordered = sorted(alike, key=lambda each: -each.epsilon)[:WORST]
    return [
        (first[each] if alike[each] == 1 else f"{alike[each]:,} sites", each) for each in ordered
    ]


def spending_left_out(sites: Mapping[str, SiteSpending]) -> str | None:
    """Say what `spending_rows` does not; None where it says all."""
    ordered = sorted(set(sites.values()), key=lambda each: -each.epsilon)
    rest = set(ordered[WORST:])
    if len(sites) <= LISTED or not rest:
        return None
    count = sum(each in rest for each in sites.values())
    low, high = (format_epsilon(pick(each.epsilon for each in rest)) for pick in (min, max))
    range_ = f"ε = {low}" if low == high else f"ε from {low} to {high}"
    return f"{count:,} more sites: {range_}. results.json has them all."


def reasons_in_words(failed: Mapping[str, str]) -> str:
    """Say who failed and why; of very many sites, how many for each reason."""
    if len(failed) <= WORST:
        return "; ".join(f"{site}: {reason}" for site, reason in failed.items())
    return "; ".join(
        f"{count:,} sites: {reason}" for reason, count in Counter(failed.values()).most_common()
    )

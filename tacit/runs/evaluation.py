"""A metric of one model, site by site, and its summary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tacit.domains.domain import Metric

ALL: Final = "all"
"""Stands for all sites where a figure by site is keyed by their names."""


class Direction(StrEnum):
    """Which way a metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


DIRECTIONS: Final = {
    Metric.ACCURACY: Direction.MAXIMIZE,
    Metric.AUC: Direction.MAXIMIZE,
    Metric.RMSE: Direction.MINIMIZE,
    Metric.MAE: Direction.MINIMIZE,
}


@dataclass(frozen=True, slots=True)
class WorstSite:
    """The site with the worst value of the metric."""

    site: str
    value: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One metric of one model: all test records together, and site by site.

    `sites` maps a site to {metric: value}; a value is None where the metric cannot be computed, and
    `reasons` says why. `mean_of_sites` is over the other sites. Of very many sites that share one
    test set none is listed: `sites` is empty, a reason stands under ``all``, and there is a worst
    site only where they differ.
    """

    metric: str
    direction: Direction
    pooled: float | None
    mean_of_sites: float | None
    worst_site: WorstSite | None
    sites: Mapping[str, Mapping[str, float | None]]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def value(self, site: str) -> float | None:
        """The metric at `site`, or None where it has none."""
        return self.sites.get(site, {}).get(self.metric)

    @property
    def gap(self) -> float | None:
        """How far the worst site is from the best; None where fewer than two have a value."""
        known = [v for site in self.sites if (v := self.value(site)) is not None]
        return max(known) - min(known) if len(known) > 1 else None

    def better(self, value: float, other: float) -> bool:
        """Tell whether a value of the metric is better than another."""
        return value > other if self.direction is Direction.MAXIMIZE else value < other


def evaluation(
    metric: str,
    direction: Direction,
    values: Mapping[str, float | None],
    *,
    pooled: float | None,
    reasons: Mapping[str, str] | None = None,
) -> Evaluation:
    """Summarise `values` {site: metric or None}; the first of several worst sites is named."""
    known = {site: value for site, value in values.items() if value is not None}
    worst = None
    if known:
        pick = min if direction is Direction.MAXIMIZE else max
        name = pick(known, key=known.__getitem__)
        worst = WorstSite(name, known[name])
    return Evaluation(
        metric=metric,
        direction=direction,
        pooled=pooled,
        mean_of_sites=math.fsum(known.values()) / len(known) if known else None,
        worst_site=worst,
        sites={site: {metric: value} for site, value in values.items()},
        reasons=dict(reasons or {}),
    )


def unlisted(
    metric: str,
    direction: Direction,
    groups: Sequence[tuple[float | None, Sequence[str]]],
    *,
    pooled: float | None,
    reason: str | None = None,
) -> Evaluation:
    """Summarise sites without listing them: `groups` are a value and the sites that have it."""
    known = [(value, sites) for value, sites in groups if value is not None]
    worst = None
    if len({value for value, _ in known}) > 1:
        pick = min if direction is Direction.MAXIMIZE else max
        value = pick(value for value, _ in known)
        worst = WorstSite(min(sites[0] for own, sites in known if own == value), value)
    count = sum(len(sites) for _, sites in known)
    return Evaluation(
        metric=metric,
        direction=direction,
        pooled=pooled,
        mean_of_sites=(
            math.fsum(value * len(sites) / count for value, sites in known) if known else None
        ),
        worst_site=worst,
        sites={},
        reasons={} if reason is None else {ALL: reason},
    )

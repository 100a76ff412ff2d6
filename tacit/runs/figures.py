"""The plots of a report; each function returns one ``<svg>``, see `tacit.runs.drawing`.

A site keeps its colour and marker through all figures (Okabe and Ito 2008, told apart with every
kind of colour vision). Above `len(SERIES)` sites they share one, and above `LISTED` a figure with a
row a site shows the rows that matter most. Of very many sites (`tacit.runs.many`) a band or a
histogram is drawn.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tacit.runs.drawing import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    Curve,
    axis_of_rounds,
    axis_of_sites,
    colour,
    columns,
    draw,
    height_of,
    lines,
    marker,
    short,
)
from tacit.runs.evaluation import Evaluation
from tacit.runs.guarantee import format_epsilon
from tacit.runs.many import LISTED as MANY
from tacit.runs.many import spread, worst_first
from tacit.runs.results import Calibration, Guarantee, Round
from tacit.runs.spread import band, range_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LISTED: Final = 12
LONGEST_LINE: Final = 56
"""Characters of a row's label that fit beside each other."""
NO_PROMISE: Final = " ·\u00a0no\u00a0privacy\u00a0guarantee"
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `rows_of_models`: one way to get a model."""

    label: str
    evaluation: Evaluation
    private: bool


def loss_curve(rounds: Sequence[Round]) -> str:
    """Loss over rounds."""
    points = [(line.round, line.loss) for line in rounds if line.loss is not None]

    def plot(axes: "Axes") -> None:
        axes.plot(*columns(points), color=SERIES[0], marker="o", markersize=3.5)
        axis_of_rounds(axes)

    return draw("loss", f"Loss over {len(points)} rounds", plot)


def metric_curve(rounds: Sequence[Round], metric: str, sites: Sequence[str]) -> str:
    """The metric over rounds: a line a site, and their mean; of very many sites, a band."""
    measured = [(line.round, line.evaluation) for line in rounds if line.evaluation is not None]
    curves = {
        site: [
            (number, value)
            for number, found in measured
            if (value := found.value(site)) is not None
        ]
        for site in sites
    }
    mean = [(n, found.mean_of_sites) for n, found in measured if found.mean_of_sites is not None]

    def plot(axes: "Axes") -> None:
        if len(sites) > MANY:
            band(axes, _by_round(curves))
        lines(axes, curves if len(sites) <= MANY else {}, mean, "mean" if sites else "every site")
        axis_of_rounds(axes)

    return draw("metric", f"{metric} of each site over the rounds, and mean", plot)


def epsilon_curve(rounds: Sequence[Round], sites: Sequence[str]) -> str:
    """ε spent after each round, at each site; one line where all sites spend the same.

    Of very many sites that do not, a band.
    """
    curves = {
        site: [
            (line.round, line.epsilon[site])
            for line in rounds
            if line.epsilon is not None and math.isfinite(line.epsilon.get(site, math.inf))
        ]
        for site in sites
    }
    first = curves[sites[0]]
    alike = len(sites) > 1 and all(curve == first for curve in curves.values())

    def plot(axes: "Axes") -> None:
        if alike:
            lines(axes, {}, first, "every site")
        elif len(sites) > MANY:
            band(axes, _by_round(curves))
        else:
            lines(axes, curves, [])
        axis_of_rounds(axes)
        axes.set_ylim(bottom=0)

    return draw("spending", "ε spent by each site over the rounds", plot)


def epsilon_bars(guarantee: Guarantee, sites: Sequence[str]) -> str:
    """ε of each site as a bar, its budget as a line across the end."""
    order = sorted(sites, key=lambda site: -guarantee.sites[site].epsilon)[:LISTED]
    shown = [site for site in sites if site in order]
    finite = [
        value
        for site in shown
        for value in (guarantee.sites[site].epsilon, guarantee.sites[site].epsilon_budget)
        if math.isfinite(value)
    ]
    longest = max(finite, default=1.0) or 1.0

    def plot(axes: "Axes") -> None:
        for row, site in enumerate(shown):
            spending = guarantee.sites[site]
            endless = math.isinf(spending.epsilon)
            axes.barh(
                row,
                longest * 1.12 if endless else spending.epsilon,
                height=0.45,
                color="none" if endless else colour(site, sites),
                edgecolor=colour(site, sites),
                hatch="////" if endless else None,
            )
            budget = spending.epsilon_budget
            if math.isfinite(budget):
                axes.plot([budget, budget], [row - 0.38, row + 0.38], color=INK, linewidth=2)
            of_budget = f"{format_epsilon(spending.epsilon)} of {format_epsilon(budget)}"
            axes.annotate(of_budget, (1.03, row), xycoords=axes.get_yaxis_transform(), va="center")
        axis_of_sites(axes, shown)
        axes.set_xlim(0, longest * 1.08)
        axes.set_xlabel("ε, with the budget as a line")

    return draw("budget", "ε of each site against its budget", plot, height=height_of(len(shown)))


def metric_rows(found: Evaluation, baseline: Evaluation | None, records: Mapping[str, int]) -> str:
    """The metric of each site against a baseline.

    For accuracy a thin line shows the 95 % interval that the number of test records allows (Wilson
    1927).
    """
    shown, sites = worst_sites(found), list(found.sites)

    def plot(axes: "Axes") -> None:
        for row, site in enumerate(shown):
            value = found.value(site)
            if value is None:
                axes.annotate(
                    "not measurable",
                    (0.02, row),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    color=MUTED,
                    style="italic",
                )
                continue
            if found.metric == "accuracy" and records.get(site):
                axes.plot(_wilson(value, records[site]), (row, row), color=MUTED, linewidth=0.8)
            if baseline is not None and (base := baseline.value(site)) is not None:
                axes.plot((base, base), (row - 0.3, row + 0.3), color=INK, linewidth=2)
            axes.plot(value, row, **marker(site, sites), markersize=8)
        axis_of_sites(axes, shown)
        axes.set_xlabel(found.metric)

    return draw("sites", f"{found.metric} of each site", plot, height=height_of(len(shown)))


def reliability(calibration: Calibration) -> str:
    """Share of right predictions against the confidence they were made with."""

    def plot(axes: "Axes") -> None:
        bins = calibration.bins
        low = min(0.5, *(b.confidence for b in bins), *(b.accuracy for b in bins)) if bins else 0
        most = max((b.count for b in bins), default=1)
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
        points = [(b.confidence, b.accuracy) for b in bins]
        axes.plot(*columns(points), color=SERIES[0], linewidth=1)
        sizes = [20 + 180 * b.count / most for b in bins]
        axes.scatter(*columns(points), s=sizes, color=SERIES[0], edgecolor=PAPER, zorder=3)
        for b in bins:
            axes.annotate(
                str(b.count),
                (b.confidence, b.accuracy),
                (0, -15),
                ha="center",
                textcoords="offset points",
                color=MUTED,
                fontsize=7,
            )
        axes.set_xlim(low - 0.05, 1.03)
        axes.set_ylim(low - 0.12, 1.06)
        axes.set_xlabel("confidence of the prediction")
        axes.set_ylabel("share that is right")

    return draw("calibration", "Share of right predictions by confidence", plot)


def rows_of_models(rows: Sequence[Row], sites: Sequence[str]) -> str:
    """A row a model: the mean of sites as a bar, and on it a mark a site.

    Each site has a height of its own within a row, so that no mark hides another. Very many sites
    are a line: their range, and thick their quartiles.
    """
    labels = [
        textwrap.fill(row.label + ("" if row.private else NO_PROMISE), LONGEST_LINE) for row in rows
    ]
    most = max(label.count("\n") + 1 for label in labels)
    # Inches: a line of the label takes 0.15, the marks 0.17 up and down, a mark 0.08.
    pitch = 0.45 + 0.15 * most
    apart = min(0.085, 0.26 / max(1, len(sites) - 1))

    def plot(axes: "Axes") -> None:
        for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
            found = row.evaluation
            if (mean := found.mean_of_sites) is not None:
                ends = (number - 0.17 / pitch, number + 0.17 / pitch)
                axes.plot((mean, mean), ends, color=INK, linewidth=2.5)
            known = spread(found.value(site) for site in sites)
            if len(sites) > MANY and known is not None:
                range_line(axes, known, number)
            for place, site in enumerate(sites if len(sites) <= MANY else ()):
                if (value := found.value(site)) is not None:
                    height = number + apart / pitch * (place - (len(sites) - 1) / 2)
                    axes.plot(value, height, **marker(site, sites), markersize=6, zorder=3)
            axes.annotate(
                label,
                (0, number - 0.2 / pitch),
                xycoords=("axes fraction", "data"),
                va="bottom",
                color=INK if row.private else MUTED,
                in_layout=False,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
            )
        axes.set_ylim(len(rows) - 1 + 0.22 / pitch, -(0.23 + 0.15 * most) / pitch)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(rows[0].evaluation.metric)
        if len(sites) <= len(SERIES):
            for site in sites:
                axes.plot([], [], **marker(site, sites), label=short(site))
            bar: dict[str, Any] = {"marker": "|", "markeredgewidth": 2.5, "linestyle": ""}
            axes.plot([], [], color=INK, **bar, label="mean of sites")
            axes.figure.legend(loc="outside lower center", ncols=3, handlelength=1)

    return draw(
        "models", "The metric of each way to get a model", plot, height=1.0 + pitch * len(rows)
    )


def worst_sites(found: Evaluation) -> list[str]:
    """All sites in their order, or the `LISTED` worst where there are more."""
    return list(found.sites) if len(found.sites) <= LISTED else worst_first(found)[:LISTED]


def _by_round(curves: Mapping[str, Curve]) -> list[tuple[int, list[float]]]:
    """Turn a curve a site into the values of all sites, round by round."""
    found: dict[int, list[float]] = {}
    for curve in curves.values():
        for number, value in curve:
            found.setdefault(number, []).append(value)
    return sorted(found.items())


def _wilson(share: float, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(round(share * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)

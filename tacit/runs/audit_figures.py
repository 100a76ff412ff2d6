"""The pictures of an audit, from what audit.json says and nothing else.

A finding is drawn by what it holds. With the figures ``epsilon_claimed``, ``epsilon_proved``,
``epsilon_ceiling`` and ``confidence`` (in per cent) it is a row of the bounds; with the series
``fpr`` and ``tpr`` (``tpr_low`` and ``tpr_high`` where there is an interval of 95 %) it is a ROC,
with the claim's bound where there are ``epsilon_claimed`` and ``delta``; with the series
``original``, ``rebuilt`` and ``chance`` it is a record beside what an attack made of it, an image
where there are a ``height`` and a ``width`` of more than one pixel each.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tacit.runs.audit_records import RECORD, has, record_figure, title
from tacit.runs.audited import Audit, Finding
from tacit.runs.drawing import INK, MUTED, PAPER, SERIES, draw
from tacit.runs.page import Figure, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = NDArray[np.float64]

BOUNDS: Final = ("epsilon_claimed", "epsilon_proved", "epsilon_ceiling", "confidence")
LONGEST_LINE: Final = 64
"""Characters that fit a figure."""
FAR: Final = 12.0
"""Times the least claim: where something lies beyond, ε is drawn on a scale of logarithms."""
FARTHEST: Final = 1e-5
"""Least rate that is drawn."""


def audit_figures(audit: Audit | None) -> list[list[Figure]]:
    """Draw what there is to draw of an audit: what is proved of the claim, and records rebuilt."""
    if audit is None:
        return []
    found = [finding for stage in audit.stages for finding in stage.findings]
    bounds = [each for each in found if _bounds(each)]
    curves = [each for each in found if has(each.series, "fpr", "tpr")]
    rebuilt = [each for each in found if has(each.series, *RECORD)]
    claim = [_bounds_figure(bounds)] if bounds else []
    claim += [_roc_figure(each, number) for number, each in enumerate(curves)]
    beside = [record_figure(each, number) for number, each in enumerate(rebuilt)]
    return [group for group in (claim, beside) if group]


def _bounds(finding: Finding) -> bool:
    return all(math.isfinite(finding.figures.get(name, math.nan)) for name in BOUNDS)


# Bounds on ε


def _bounds_figure(findings: Sequence[Finding]) -> Figure:
    said = " ".join(f"{each.test}: {in_words(each)}." for each in findings)
    return figure(
        "What the attacks prove of ε",
        _bounds_drawing(findings, said),
        "The bar ends at what the attack proves, the open mark at the most that it could have "
        "proved with every guess right, and the line across is the claim. A bar short of the line "
        "leaves the claim as it is, and says nothing of how private the run is; a claim beyond the "
        "open mark could not have been contradicted by this attack.",
    )


def in_words(finding: Finding) -> str:
    """Say what a bound on ε means for the claim."""
    claimed, proved, ceiling, confidence = (finding.figures[name] for name in BOUNDS)
    at = f"at {confidence:.6g} %"
    if finding.contradicted and proved > claimed:
        return f"contradicted {at}, as any claim below ε = {proved:.3g}"
    if finding.contradicted:
        return f"contradicted {at}, at another point of its privacy profile"
    held = "not contradicted at 95 % over the whole audit"
    if claimed > ceiling:
        held += ", nor could it have been"
    if proved <= 0:
        return f"{held}; nor would a smaller claim have been"
    return f"{held}; a claim below ε = {proved:.3g} would have been, {at}"


def _bounds_drawing(findings: Sequence[Finding], said: str) -> str:
    labels = [textwrap.wrap(each.test, LONGEST_LINE) for each in findings]
    notes = [textwrap.wrap(in_words(each), LONGEST_LINE) for each in findings]
    most = max(len(label) + len(note) for label, note in zip(labels, notes, strict=True))
    pitch = 0.42 + 0.15 * most  # inches of a row: its bar, and lines of 0.15 above

    def plot(axes: "Axes") -> None:
        for row, finding in enumerate(findings):
            claimed, proved, ceiling, _ = (finding.figures[name] for name in BOUNDS)
            broken = finding.contradicted
            axes.plot((0, ceiling), (row, row), color=MUTED, linewidth=1)
            axes.barh(row, proved, height=0.16 / pitch, color=SERIES[1 if broken else 0])
            axes.plot(
                ceiling,
                row,
                marker="D",
                color=PAPER,
                markeredgecolor=MUTED,
                zorder=3,
                clip_on=False,
            )
            ends = (row - 0.15 / pitch, row + 0.15 / pitch)
            axes.plot((claimed, claimed), ends, color=INK, linewidth=2.5, zorder=4)
            lines = [*labels[row], *notes[row]]
            for number, line in enumerate(lines):
                axes.annotate(
                    line,
                    (0, row - (0.2 + 0.15 * (len(lines) - 1 - number)) / pitch),
                    xycoords=("axes fraction", "data"),
                    va="bottom",
                    color=INK if number < len(labels[row]) else MUTED,
                    in_layout=False,
                )
        axes.set_ylim(len(findings) - 1 + 0.25 / pitch, -(0.24 + 0.15 * most) / pitch)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        _axis_of_epsilon(axes, findings)
        axes.plot([], [], color=SERIES[0], marker="s", ls="", ms=7, label="proved")
        axes.plot([], [], color=INK, marker="|", ls="", mew=2.5, ms=9, label="claimed")
        axes.plot([], [], color=PAPER, marker="D", ls="", mec=MUTED, label="most it could prove")
        axes.figure.legend(loc="outside lower center", ncols=3, handlelength=1)

    return draw("audit-bounds", said, plot, height=0.9 + pitch * len(findings))


def _axis_of_epsilon(axes: "Axes", findings: Sequence[Finding]) -> None:
    from matplotlib.ticker import FuncFormatter

    least = min(each.figures["epsilon_claimed"] for each in findings)
    farthest = max(each.figures[name] for each in findings for name in BOUNDS[:3])
    if least > 0 and farthest > FAR * least:
        axes.set_xscale("symlog", linthresh=least)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0, farthest * 1.06 or 1)
    axes.set_xlabel("ε")


# ROC


def _roc_figure(finding: Finding, number: int) -> Figure:
    caption = (
        "How many members the attack finds for how many others it takes for one, both on scales "
        "of logarithms: what it is sure of shows at the left."
    )
    claimed, delta = (finding.figures.get(key, math.nan) for key in ("epsilon_claimed", "delta"))
    if math.isfinite(claimed + delta):
        caption += (
            f" Where ε = {claimed:.3g} holds at δ = {delta:g} no attack is, but for chance, above "
            "the solid line."
        )
    if has(finding.series, "fpr", "tpr_low", "tpr_high"):
        caption += " Shaded: 95 % intervals."
    return figure(title(finding.test), _roc_drawing(finding, f"audit-roc-{number}"), caption)


def _roc_drawing(finding: Finding, name: str) -> str:
    series = {key: np.array(values) for key, values in finding.series.items()}
    order = np.lexsort((series["tpr"], series["fpr"]))
    fpr, tpr = series["fpr"][order], series["tpr"][order]
    claimed, delta = (finding.figures.get(key, math.nan) for key in ("epsilon_claimed", "delta"))
    floor = _floor(fpr, tpr)
    where = np.geomspace(floor, 1, 200)

    def plot(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, NullLocator

        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot(where, where, color=MUTED, linestyle=(0, (4, 3)), linewidth=1, label="guessing")
        if math.isfinite(claimed + delta):
            # A claim of ε = 700 is one too: its bound is 1 everywhere.
            most = np.minimum(1, np.exp(np.minimum(claimed, 700.0)) * where + delta)
            axes.plot(where, most, color=INK, linewidth=1.5, label="most that the claim allows")
        if has(finding.series, "fpr", "tpr_low", "tpr_high"):
            low, high = (series[key][order].clip(floor, 1) for key in ("tpr_low", "tpr_high"))
            axes.fill_between(fpr.clip(floor), low, high, color=SERIES[0], alpha=0.25, lw=0)
        seen = (fpr > 0) & (tpr > 0)
        axes.plot(fpr[seen], tpr[seen], color=SERIES[0], linewidth=2, label="the attack")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
            axis.set_minor_locator(NullLocator())
        axes.tick_params(pad=6)
        axes.set_xlim(floor, 1)
        axes.set_ylim(floor, 1.15)
        axes.set_xlabel("others taken for members (false positive rate)")
        axes.set_ylabel("members found (true positive rate)")
        axes.figure.legend(loc="outside lower center", ncols=3, handlelength=1.4)

    said = f"{finding.test}: {finding.said.rstrip('.')}. True positive rate by false positive rate."
    return draw(name, said, plot, height=3.6)


def _floor(fpr: Numbers, tpr: Numbers) -> float:
    """Return the power of ten at which both axes begin."""
    rates = np.concatenate([fpr, tpr])
    positive = rates[rates > 0]
    least = float(positive.min()) if len(positive) else 0.1
    return max(FARTHEST, 10.0 ** math.floor(math.log10(min(least, 0.1))))

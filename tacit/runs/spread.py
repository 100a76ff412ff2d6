"""Drawings of a figure over very many sites: bands and histograms instead of a line a site."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tacit.runs.drawing import INK, SERIES, draw
from tacit.runs.many import Spread, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS: Final = 24


def histogram(name: str, label: str, values: Sequence[float]) -> str:
    """How many sites have which value."""

    def plot(axes: "Axes") -> None:
        axes.hist(values, bins=BINS, color=SERIES[0])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(label)
        axes.set_ylabel("sites")

    return draw(name, f"{label} over {len(values)} sites", plot)


def band(axes: "Axes", rounds: Sequence[tuple[int, Sequence[float]]]) -> None:
    """Draw the range, the quartiles and the median of the sites, round by round."""
    known = [(number, found) for number, own in rounds if (found := spread(own)) is not None]
    if not known:
        return
    numbers = [number for number, _ in known]

    def line(field: str) -> list[float]:
        return [getattr(found, field) for _, found in known]

    axes.fill_between(numbers, line("least"), line("most"), color=SERIES[0], alpha=0.15, lw=0)
    axes.fill_between(numbers, line("lower"), line("upper"), color=SERIES[0], alpha=0.3, lw=0)
    axes.plot(numbers, line("median"), color=SERIES[0], linewidth=1.3)


def range_line(axes: "Axes", found: Spread, height: float) -> None:
    """Draw a row's range as a thin line and its quartiles as a thick one."""
    axes.plot((found.least, found.most), (height, height), color=SERIES[0], linewidth=1)
    axes.plot((found.lower, found.upper), (height, height), color=SERIES[0], linewidth=5)
    axes.plot(found.median, height, marker="|", color=INK, markersize=6, linestyle="")

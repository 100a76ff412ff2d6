"""The picture of ``python -m benchmarks.many_sites``: what a site costs in cohorts of any size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.many_sites import Measured

LINES: Final = {
    "stacked": ("all sites at once (engine=stacked)", "#1f5fa8", "o"),
    "loop": ("one site after another (engine=loop)", "#b3541e", "s"),
}
"""Label, colour and mark of each engine."""


def draw(found: Sequence[Measured], target: Path) -> None:
    """Draw cost per site over the size of the cohort as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for engine, (label, colour, mark) in LINES.items():
        points = sorted((each.cohort, each.milliseconds) for each in found if each.engine == engine)
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), marker=mark, color=colour, label=label)
        for cohort, milliseconds in points:
            axes.annotate(
                f"{milliseconds:.2g}",
                (cohort, milliseconds),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=colour,
            )
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.3, 3 * max((each.milliseconds for each in found), default=1.0))
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.set_xlabel("sites in a round")
    axes.set_ylabel("CPU milliseconds per site and round")
    axes.set_title("CPU time of one site, by how many train together (perceptron, with privacy)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=110, format="png")

"""Records beside what an attack of an audit made of them: images in grey, tables as bars."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tacit.runs.audited import Finding
from tacit.runs.drawing import INK, MUTED, RULE, SERIES, draw
from tacit.runs.page import Figure, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = NDArray[np.float64]

RECORD: Final = {"original": "the record", "rebuilt": "rebuilt", "chance": "by chance"}

MOST_PIXELS: Final = 32
"""To a side of an image; of larger ones several are one."""
MOST_BARS: Final = 64
GREYS: Final = 24
"""Shades of an image. None is one of the nearly black ones that stand for colours of the page."""


def record_figure(finding: Finding, number: int) -> Figure:
    """Draw a finding that has the series `RECORD`; `number` tells it from others of the page."""
    name = f"audit-record-{number}"
    height, width = (int(finding.figures.get(key, 1)) for key in ("height", "width"))
    image = min(height, width) > 1 and height * width == len(finding.series["original"])
    drawing = _images(finding, name, (height, width)) if image else _bars(finding, name)
    return figure(
        title(finding.test),
        drawing,
        f"{finding.said.rstrip('.')}. A made-up record, what the attack made of it, and the best "
        "that luck makes of it without an attack.",
    )


def _images(finding: Finding, name: str, shape: tuple[int, int]) -> str:
    from matplotlib.patches import Rectangle

    images = {key: _smaller(np.reshape(finding.series[key], shape)) for key in RECORD}
    low, high = (pick(images["original"]) for pick in (np.min, np.max))
    rows, across = images["original"].shape
    pitch = 1.08 * across

    def plot(axes: "Axes") -> None:
        for place, (key, named) in enumerate(RECORD.items()):
            levels = (images[key] - low) / max(float(high - low), 1e-12)
            _pixels(axes, np.rint(levels.clip(0, 1) * GREYS).astype(int), place * pitch)
            frame = Rectangle((place * pitch, 0), across, rows, fill=False, edgecolor=RULE)
            axes.add_patch(frame)
            axes.annotate(named, (place * pitch + across / 2, -0.03 * rows), ha="center")
        axes.set_xlim(0, 2 * pitch + across)
        axes.set_ylim(rows, -0.16 * rows)
        axes.set_aspect("equal")
        axes.axis("off")

    height = 0.1 + 4.6 * 1.16 * rows / (2 * pitch + across)
    return draw(name, _described(finding), plot, height=height)


def _pixels(axes: "Axes", levels: NDArray[np.int_], left: float) -> None:
    """Draw an image as rectangles, those of one shade in one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    for level in np.unique(levels):
        rectangles = [
            Path(
                [(x, row), (x + long, row), (x + long, row + 1), (x, row + 1), (x, row)],
                closed=True,
            )
            for row, line in enumerate(levels == level)
            for x, long in ((left + first, last - first) for first, last in _runs(line))
        ]
        shade = "#" + 3 * f"{255 * level // GREYS:02x}"
        # The thin edge closes the seams that rounding leaves between neighbours.
        one = Path.make_compound_path(*rectangles)
        axes.add_patch(PathPatch(one, facecolor=shade, edgecolor=shade, linewidth=0.3))


def _runs(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where runs of True begin and end."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]])))
    return [(int(first), int(last)) for first, last in steps.reshape(-1, 2)]


def _smaller(image: Numbers) -> Numbers:
    """Take the mean of squares of neighbouring pixels until `MOST_PIXELS` to a side are left."""
    by = -(-max(image.shape) // MOST_PIXELS)
    rows, across = (size // by for size in image.shape)
    cut = image[: rows * by, : across * by]
    found: Numbers = cut.reshape(rows, by, across, by).mean(axis=(1, 3))
    return found


def _bars(finding: Finding, name: str) -> str:
    rows = {key: np.array(finding.series[key])[:MOST_BARS] for key in RECORD}
    most = max(float(np.abs(values).max()) for values in rows.values()) or 1.0
    colours = (INK, SERIES[0], SERIES[6])
    count = len(finding.series["original"])

    def plot(axes: "Axes") -> None:
        for row, (values, colour) in enumerate(zip(rows.values(), colours, strict=True)):
            places = range(1, len(values) + 1)
            axes.bar(places, -0.45 * values / most, 0.7, row, color=colour)
            axes.axhline(row, color=MUTED, linewidth=0.6)
        axes.set_yticks(range(len(RECORD)), list(RECORD.values()), color=INK)
        axes.set_ylim(len(RECORD) - 0.45, -0.55)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        shown = len(rows["original"])
        axes.set_xlabel(
            f"{count} numbers" if shown == count else f"the first {shown} of {count} numbers"
        )

    return draw(name, _described(finding), plot)


def _described(finding: Finding) -> str:
    return f"{finding.test}: {finding.said.rstrip('.')}. The record, rebuilt, and by chance."


def has(series: Mapping[str, tuple[float, ...]], *names: str) -> bool:
    """Whether series of these names are there, finite and of one length."""
    found = [series.get(name, ()) for name in names]
    whole = all(math.isfinite(value) for one in found for value in one)
    return whole and len(found[0]) > 0 and len({len(one) for one in found}) == 1


def title(test: str) -> str:
    """Begin a heading as one begins."""
    return test[:1].upper() + test[1:]

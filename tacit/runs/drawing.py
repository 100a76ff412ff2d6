"""Matplotlib drawings as SVG that stands inside an HTML page.

No script, no date and no address goes into it; text stays text, in the font of the page. Colours
are CSS variables of the page (``--ink``, ``--muted``, ``--rule``, ``--paper``, ``--s0`` to
``--s7``), so that a drawing reads on light and on dark. Equal drawings give equal bytes.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH: Final = 4.7
"""Inches; at this width text is legible on a telephone and in half a page."""

# What a drawing uses for the variables; matplotlib leaves pure black out of the SVG.
INK: Final = "#010101"
MUTED: Final = "#010102"
RULE: Final = "#010103"
PAPER: Final = "#010104"
SERIES: Final = tuple(f"#0102{n:02x}" for n in range(8))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "p")

SQUARE: Final = 2.9
"""Height of a figure whose content asks for none, so that neighbours end on one line."""
LONGEST_NAME: Final = 16
GAP: Final = 0.075
"""Between two names at the ends of lines, in heights of the axes."""

Curve = list[tuple[int, float]]

VARIABLES: Final = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    **{colour: f"--s{number}" for number, colour in enumerate(SERIES)},
}

STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


def draw(
    name: str, description: str, plot: Callable[["Axes"], None], *, height: float = SQUARE
) -> str:
    """Return the ``<svg>`` of what `plot` draws.

    Parameters
    ----------
    name
        Unique in the page: it starts every id of the drawing.
    description
        What a reader who cannot see the drawing is told.
    height
        Inches.
    """
    # Takes half a second to import, and only a report needs it.
    import matplotlib.style
    from matplotlib.figure import Figure

    # "default" first: a matplotlibrc of the reader's machine must not change a report.
    with matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        plot(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_page(buffer.getvalue(), name, description)


def columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Turn points into what ``plot`` takes."""
    return [x for x, _ in points], [y for _, y in points]


def colour(site: str, sites: Sequence[str]) -> str:
    """The colour of a site, the same in every figure of a report."""
    return SERIES[sites.index(site)] if len(sites) <= len(SERIES) else SERIES[0]


def marker(site: str, sites: Sequence[str]) -> dict[str, Any]:
    """The mark of a site, as arguments of ``plot``."""
    few = len(sites) <= len(SERIES)
    return {
        "color": colour(site, sites),
        "marker": MARKERS[sites.index(site)] if few else "o",
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.8,
        "linestyle": "",
        "alpha": 1.0 if few else 0.5,
    }


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Fit a name beside a figure; names of many sites differ at their ends, so those stay."""
    if len(name) <= longest:
        return name
    return f"{name[: longest // 2 - 1]}…{name[-(longest // 2) :]}"


def height_of(rows: int) -> float:
    """Inches of a figure with `rows` rows."""
    return max(SQUARE, 0.8 + 0.36 * rows)


def axis_of_sites(axes: "Axes", sites: Sequence[str]) -> None:
    """Name the rows 0, 1, … of a figure after `sites`, from the top."""
    axes.set_yticks(range(len(sites)), [short(site) for site in sites], color=INK)
    axes.set_ylim(len(sites) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def axis_of_rounds(axes: "Axes") -> None:
    """Let x be rounds."""
    _axis_of_counts(axes, "round")


def axis_of_steps(axes: "Axes") -> None:
    """Let x be steps."""
    _axis_of_counts(axes, "step")


def _axis_of_counts(axes: "Axes", name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(name)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.margins(x=0.02)


def lines(axes: "Axes", curves: Mapping[str, Curve], together: Curve, title: str = "mean") -> None:
    """Draw a line a site and a thick one for all `together`, each named at its right end."""
    sites = list(curves)
    few = len(sites) <= len(SERIES)
    ends: list[tuple[float, str, dict[str, Any]]] = []
    for site, curve in curves.items():
        if curve:
            style: dict[str, Any] = {"color": colour(site, sites)}
            axes.plot(*columns(curve), **style, linewidth=1.3, alpha=0.9 if few else 0.25)
            ends.append((curve[-1][1], short(site), marker(site, sites)))
    if not few:
        ends = []
    if together:
        axes.plot(*columns(together), color=INK, linewidth=2.4)
        ends.append((together[-1][1], title, {"color": INK, "marker": "_", "markeredgewidth": 2.4}))
    low, high = axes.get_ylim()
    heights = _apart([(value - low) / (high - low) for value, _, _ in ends])
    for height, (_, name, mark) in zip(heights, ends, strict=True):
        axes.plot(1.03, height, **mark, transform=axes.transAxes, clip_on=False, markersize=6)
        axes.annotate(name, (1.06, height), xycoords="axes fraction", va="center")


def _apart(heights: Sequence[float]) -> list[float]:
    """Move labels up and down until they are `GAP` apart, in the same order and inside [0, 1]."""
    placed = [0.0] * len(heights)
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    floor = 0.0
    for n in order:
        placed[n] = max(heights[n], floor)
        floor = placed[n] + GAP
    ceiling = 1.0
    for n in reversed(order):
        placed[n] = min(placed[n], ceiling)
        ceiling = placed[n] - GAP
    return placed


def _for_page(text: str, name: str, description: str) -> str:
    body = text[text.index("<svg") : text.rindex("</svg>")]
    head, _, body = body.partition(">")
    viewbox = re.search(r'viewBox="[^"]*"', head)
    size = viewbox.group() if viewbox else ""
    # Its rule would hold for the whole page.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]*(; )?", "", body)
    body = re.sub(r"\n(?=[LMCQz])", " ", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return (
        f'<svg role="img" aria-labelledby="{name}-title" {size}>'
        f'<title id="{name}-title">{escape(description)}</title>{body}</svg>'
    )

"""HTML pages of this package: their templates, and figures as a person reads them."""

from dataclasses import dataclass
from typing import Final

import jinja2
from markupsafe import Markup

from tacit.runs.guarantee import format_epsilon

TITLES: Final = {"auc": "AUC", "rmse": "RMSE"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, its heading and what to know when reading it."""

    heading: str
    svg: Markup
    caption: str


def figure(heading: str, svg: str, caption: str) -> Figure:
    """Make a figure of what `tacit.runs.drawing` drew, which has escaped every name."""
    return Figure(heading, Markup(svg), caption)


def template(name: str) -> jinja2.Template:
    """Load a page of this package; every value put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tacit", "runs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=format_figure, epsilon=format_epsilon, metric=metric_title, duration=format_duration
    )
    return environment.get_template(name)


def format_figure(value: float | None) -> str:
    """Three decimals below ten, fewer above; a dash where there is no value."""
    if value is None:
        return "–"
    if abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def format_duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def metric_title(metric: str) -> str:
    """The name of a metric at the start of a line."""
    return TITLES.get(metric, metric[:1].upper() + metric[1:].replace("_", " "))

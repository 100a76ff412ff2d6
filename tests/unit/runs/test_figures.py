"""Figures: labels are whole, nothing hides a mark, lines that lie on each other are one."""

import re
from dataclasses import replace
from html import unescape

import pytest
from example_run import RESULTS, SITES, accuracies, history
from matplotlib.figure import Figure

from tacit.runs import figures
from tacit.runs.drawing import INK
from tacit.runs.figures import LONGEST_LINE, Row, epsilon_curve, rows_of_models

LONG = "A model that " + "somebody made somewhere and that " * 3 + "has a title nobody can read"


def texts(svg: str) -> list[str]:
    return [
        unescape(found).replace("\u00a0", " ").strip()
        for found in re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    ]


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch):
    """What the last figure drew, before it became SVG."""
    drawn = Figure().add_subplot()
    monkeypatch.setattr(figures, "draw", lambda name, about, plot, **_: plot(drawn))
    return drawn


@pytest.mark.parametrize("label", ["Best single site: university", LONG, "x" * 130])
@pytest.mark.parametrize("private", [True, False])
def test_labels_are_whole(label: str, private: bool):
    found = texts(rows_of_models([Row(label, RESULTS.evaluation, private)], SITES))
    assert not any("…" in text for text in found)
    assert max(len(text) for text in found) <= LONGEST_LINE
    joined = " ".join(found)
    assert label.replace(" ", "") in joined.replace(" ", "")
    assert ("no privacy guarantee" in joined) != private


def test_long_labels_get_the_height_they_need():
    def height(label: str) -> float:
        svg = rows_of_models([Row(label, RESULTS.evaluation, True)] * 3, SITES)
        return float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg).group(1))

    more = len(LONG) // LONGEST_LINE
    assert more == 2
    assert height(LONG) - height("short") == pytest.approx(3 * more * 0.15 * 72)  # points


def test_no_mark_is_hidden(axes):
    equal = accuracies(0.8, 0.8, 0.8, 0.8)
    rows_of_models([Row("This run", equal, True), Row("Another", equal, True)], SITES)
    drawn = [line for line in axes.lines if len(line.get_xdata())]
    bars = [line for line in drawn if line.get_color() == INK]
    marks = [line for line in drawn if line.get_color() != INK]
    assert len(bars) == 2
    assert len(marks) == 2 * len(SITES)
    assert max(bar.get_zorder() for bar in bars) < min(mark.get_zorder() for mark in marks)
    heights = [float(mark.get_ydata()[0]) for mark in marks]
    assert len(set(heights)) == len(heights)
    for number, bar in enumerate(bars):
        low, high = sorted(bar.get_ydata())
        own = heights[number * len(SITES) : (number + 1) * len(SITES)]
        assert low < min(own)
        assert max(own) < high < number + 0.5


def test_sites_that_spend_the_same_share_a_line():
    apart = history()
    alike = tuple(replace(line, epsilon=dict.fromkeys(SITES, line.round / 20)) for line in apart)
    assert "every site" in texts(epsilon_curve(alike, SITES))
    assert not set(SITES) & set(texts(epsilon_curve(alike, SITES)))
    assert set(SITES) <= set(texts(epsilon_curve(apart, SITES)))
    assert "every site" not in texts(epsilon_curve(apart, SITES))
    assert "va" in texts(epsilon_curve(alike, ["va"]))

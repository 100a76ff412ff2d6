"""Pictures of an audit: what is drawn is what audit.json holds, and no more is said of it."""

import math
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from example_run import CONFIG, RESULTS, history
from html_page import Page, check
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tacit.runs import audit_figures as pictures
from tacit.runs import audit_records as records
from tacit.runs.audit_figures import audit_figures, in_words
from tacit.runs.audited import FILE, Audit, Finding, Stage, StageName, read_audit
from tacit.runs.drawing import INK, MUTED, PAPER, SERIES, VARIABLES
from tacit.runs.report import render

BOUND = Finding(
    "canaries in the run",
    "said",
    figures={
        "epsilon_claimed": 1.0,
        "epsilon_proved": 0.41,
        "epsilon_ceiling": 6.3,
        "confidence": 95.0,
    },
)
RATES = (0.0, 0.001, 0.01, 0.1, 1.0)
ROC = Finding(
    "membership",
    "TPR 0.4 % at 0.1 % FPR.",
    figures={"epsilon_claimed": 2.0, "delta": 1e-3},
    series={
        "fpr": RATES,
        "tpr": (0.0, 0.004, 0.02, 0.2, 1.0),
        "tpr_low": (0.0, 0.0, 0.01, 0.1, 0.99),
        "tpr_high": (0.01, 0.02, 0.04, 0.3, 1.0),
    },
)
HELD = "not contradicted at 95 % over the whole audit"
SHADES = tuple(np.linspace(0, 1, 12))
IMAGE = Finding(
    "records by division",
    "6 of 6 rebuilt; PSNR exact",
    figures={"height": 3.0, "width": 4.0},
    series={"original": SHADES, "rebuilt": SHADES[::-1], "chance": (0.5,) * 12},
)
TABLE = replace(
    IMAGE,
    figures={"height": 1.0, "width": 3.0},
    series={"original": (1.0, -2.0, 0.5), "rebuilt": (0.9, -1.0, 4.0), "chance": (0.0, 0.0, 0.1)},
)


def audit(*findings):
    return Audit("RUN", (Stage(StageName.SEEN, findings),))


def bound(claimed, proved, ceiling, confidence=95.0):
    names = ("epsilon_claimed", "epsilon_proved", "epsilon_ceiling", "confidence")
    return replace(
        BOUND,
        figures=dict(zip(names, (claimed, proved, ceiling, confidence), strict=True)),
        contradicted=proved > claimed,
    )


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch):
    """What the last figure drew, before it became SVG."""
    drawn = Figure().add_subplot()
    for module in (pictures, records):
        monkeypatch.setattr(module, "draw", lambda name, about, plot, **_: plot(drawn) or "")
    return drawn


def line(axes, label):
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return found


def test_each_finding_is_drawn_by_what_it_holds():
    found = audit_figures(audit(Finding("a", "b"), BOUND, ROC, IMAGE, TABLE, BOUND))
    assert [[each.heading for each in group] for group in found] == [
        ["What the attacks prove of ε", "Membership"],
        ["Records by division", "Records by division"],
    ]
    assert audit_figures(audit(Finding("a", "b"))) == audit_figures(None) == []


@pytest.mark.parametrize(
    "wrong",
    [
        replace(BOUND, figures={**BOUND.figures, "epsilon_claimed": math.inf}),
        replace(BOUND, figures={"epsilon_proved": 0.4}),
        replace(ROC, series={"fpr": RATES}),
        replace(ROC, series={"fpr": RATES, "tpr": RATES[:2]}),
        replace(ROC, series={"fpr": (), "tpr": ()}),
        replace(IMAGE, series={**IMAGE.series, "rebuilt": (math.nan,) * 12}),
    ],
)
def test_what_cannot_be_drawn_is_left_out(wrong):
    assert audit_figures(audit(wrong)) == []


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((1.0, 0.41, 6.3), f"{HELD}; a claim below ε = 0.41 would have been, at 95 %"),
        ((1.0, 0.41, 6.3, 99.65), f"{HELD}; a claim below ε = 0.41 would have been, at 99.65 %"),
        ((1.0, 0.0, 6.3), f"{HELD}; nor would a smaller claim have been"),
        ((8.0, 0.4, 2.78), f"{HELD}, nor could it have been; a claim below"),
        ((1.0, 1.7, 6.3, 99.65), "contradicted at 99.65 %, as any claim below ε = 1.7"),
    ],
)
def test_a_bound_says_what_it_means_for_the_claim_and_never_what_epsilon_is(figures, words):
    said = in_words(bound(*figures))
    assert said.startswith(words)
    assert "is ε" not in said
    assert "ε is" not in said


def test_a_claim_that_breaks_at_another_point_of_its_profile_is_no_claim_that_stands(axes):
    """What is proved at the claim's own δ may lie below it all the same."""
    broken = replace(bound(8.0, 3.0, 5.0), contradicted=True)
    assert in_words(broken) == "contradicted at 95 %, at another point of its privacy profile"
    audit_figures(audit(broken))
    (bar,) = axes.patches
    assert to_hex(bar.get_facecolor()) == SERIES[1]


def test_a_bound_is_drawn_where_it_is(axes):
    audit_figures(audit(BOUND, bound(2.0, 3.0, 5.0)))
    bars = [(patch.get_width(), to_hex(patch.get_facecolor())) for patch in axes.patches]
    assert bars == [(0.41, SERIES[0]), (3.0, SERIES[1])]
    drawn = [each for each in axes.lines if len(each.get_xdata())]
    claims = [each.get_xdata()[0] for each in drawn if each.get_color() == INK]
    ceilings = [each.get_xdata()[0] for each in drawn if each.get_marker() == "D"]
    assert claims == [1.0, 2.0]
    assert ceilings == [6.3, 5.0]
    assert axes.get_xlim()[1] > 6.3
    assert axes.get_xscale() == "linear"


def test_a_ceiling_far_beyond_the_claim_does_not_crush_it(axes):
    audit_figures(audit(bound(0.5, 0.2, 34.0)))
    left, claim, right = axes.transData.transform([(0, 0), (0.5, 0), (34.0, 0)])[:, 0]
    assert claim - left > 0.1 * (right - left)


def test_a_roc_has_the_diagonal_and_the_claims_bound(axes):
    audit_figures(audit(ROC))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    rates, most = line(axes, "most that the claim allows").get_data()
    assert most == pytest.approx(np.minimum(1, math.exp(2) * rates + 1e-3))
    assert np.array_equal(*line(axes, "guessing").get_data())
    attack = line(axes, "the attack")
    assert list(attack.get_xdata()) == [0.001, 0.01, 0.1, 1.0]
    assert list(attack.get_ydata()) == [0.004, 0.02, 0.2, 1.0]
    assert axes.get_xlim() == (0.001, 1)
    assert len(axes.collections) == 1


def test_a_roc_without_a_claim_or_an_interval(axes):
    bare = {key: ROC.series[key] for key in ("fpr", "tpr")}
    ((found,),) = audit_figures(audit(replace(ROC, figures={}, series=bare)))
    assert "claim" not in found.caption
    assert not axes.collections
    assert "most that the claim allows" not in [each.get_label() for each in axes.lines]


@pytest.mark.parametrize("epsilon", [0.0, 2.0, 5000.0])
def test_a_roc_of_nothing_found_is_drawn(epsilon):
    nothing = replace(
        ROC,
        figures={"epsilon_claimed": epsilon, "delta": 0.0},
        series={"fpr": (0.0, 0.0), "tpr": (0.0, 0.0)},
    )
    assert "nan" not in audit_figures(audit(nothing))[0][0].svg


def test_an_image_keeps_its_pixels(axes):
    audit_figures(audit(IMAGE))
    # Black is the first pixel of the record, and the last of what was rebuilt, one image further.
    blacks = [
        patch.get_path().get_extents().bounds
        for patch in axes.patches
        if patch.get_fill() and to_hex(patch.get_facecolor()) == "#000000"
    ]
    assert blacks[0] == (0, 0, 1, 1)
    assert blacks[1] == pytest.approx((1.08 * 4 + 3, 2, 1, 1))
    # The last is even: one shade, one rectangle a row.
    even = [p for p in axes.patches if p.get_fill()][-1].get_path()
    assert even.get_extents().bounds == pytest.approx((2 * 1.08 * 4, 0, 4, 3))


def test_no_shade_is_a_colour_of_the_page():
    shades = {"#" + 3 * f"{255 * level // records.GREYS:02x}" for level in range(records.GREYS + 1)}
    assert not shades & set(VARIABLES)


def test_a_large_image_is_made_smaller():
    whole = np.arange(64 * 64, dtype=float).reshape(64, 64)
    small = records._smaller(whole)
    assert small.shape == (32, 32)
    assert small[0, 0] == whole[:2, :2].mean()
    assert records._smaller(whole[:28, :28]).shape == (28, 28)


def test_a_table_is_bars_of_one_scale(axes):
    audit_figures(audit(TABLE))
    heights = [-patch.get_height() for patch in axes.patches]
    assert heights == pytest.approx(
        [0.45 * value / 4 for key in records.RECORD for value in TABLE.series[key]]
    )
    assert [text.get_text() for text in axes.get_yticklabels()] == list(records.RECORD.values())


def test_the_report_shows_them_to_everyone(tmp_path):
    hostile = replace(BOUND, test="<script>alert('$x_{$')</script>")
    whole = audit(BOUND, hostile, ROC, IMAGE, TABLE)
    whole.write(tmp_path / FILE)
    again = read_audit(tmp_path / FILE)
    html = render(RESULTS, history(), CONFIG, again)
    page = Page(html)
    check(page)
    assert html.count('aria-labelledby="audit-') == 4
    titles = [unescape(each) for each in re.findall(r"<title id=[^>]*>([^<]*)", html)]
    assert any("a claim below ε = 0.41 would have been" in each for each in titles)
    assert any("6 of 6 rebuilt" in each for each in titles)
    assert audit_figures(again) == audit_figures(whole)


def test_colours_follow_the_page():
    for each in (one for group in audit_figures(audit(BOUND, ROC, TABLE)) for one in group):
        for colour in (INK, MUTED, PAPER, *SERIES):
            assert colour not in each.svg
        assert "var(--s0)" in each.svg

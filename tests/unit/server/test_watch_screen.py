"""The screen fits, says what matters in words, and shows no control character."""

import io
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, ConsoleDimensions

from server.status import Phase, Presence, SiteStatus, Status
from server.watch_screen import _rounded_up, line, screen, span
from tacit.privacy.policy import Reason

STATUS = Status(
    "hospitals",
    "4f2a91c07be1",
    40,
    (
        SiteStatus("cleveland", Presence.PRESENT, None, 998.0, 12, 2.41, 8.0, 200),
        SiteStatus("hungarian", Presence.PRESENT, None, 998.0, 12, 2.41, 8.0, 200),
        SiteStatus("switzerland", Presence.MISSING, "no_reply", 700.0, 9, 1.93, 8.0, 100),
        SiteStatus("long_beach_va", Presence.REFUSED, "privacy_required", None, 0),
    ),
    started=0.0,
    phase=Phase.TRAINING,
    round=12,
    metrics={"AUC": 0.91234, "loss": None},
    seconds_per_round=8.27,
    seconds_left=231.0,
    written=1000.0,
)


def drawn(status, width=80, height=24, age=0.0, notice=""):
    out = io.StringIO()
    console = Console(width=width, file=out, color_system=None)
    size = ConsoleDimensions(width, height)
    console.print(screen(status, "localhost:9093", age=age, size=size, notice=notice))
    return out.getvalue()


def row(text, site):
    (found,) = (line for line in text.splitlines() if f" {site}" in line)
    return found.split()


def test_all_is_said_in_eighty_columns():
    text = drawn(STATUS)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.splitlines()[0].split() == ["hospitals", "training", "localhost:9093"]
    assert "round 12 of 40" in text
    assert "4 min left, 8.27 s a round" in text
    assert row(text, "cleveland")[1:7] == ["cleveland", "present", "12", "2", "s", "200"]
    assert row(text, "cleveland")[-3:] == ["2.41", "of", "8.00"]
    assert row(text, "switzerland")[1:6] == ["switzerland", "missing", "9", "5", "min"]
    assert row(text, "long_beach_va")[-3:] == ["–", "–", "–"]
    assert "no reply" in text
    assert "privacy required" in text
    assert "AUC 0.9123   loss –" in text
    assert "16 min 40 s" not in text
    assert "17 min ago" in text


def test_the_longest_reason_and_the_demos_names_are_not_cut():
    longest = max((reason.replace("_", " ") for reason in Reason), key=len)
    status = replace(
        STATUS,
        sites=tuple(
            replace(site, state=Presence.REFUSED, reason=longest.replace(" ", "_"))
            for site in STATUS.sites
        ),
    )
    text = drawn(status, height=40)
    assert "…" not in text
    assert all(text.count(word) >= 4 for word in longest.split())


@pytest.mark.parametrize("width", [20, 40, 60, 75, 76, 79, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, drawn(STATUS, width=width).splitlines())) <= min(width, 96)


def test_a_narrow_terminal_keeps_state_and_budget():
    text = drawn(STATUS, width=60)
    assert "2.41 of 8.00" in text
    assert "privacy required" in text
    assert "size" not in text


@pytest.mark.parametrize("height", [12, 24, 40])
def test_with_many_sites_the_troubled_ones_are_shown(height):
    many = tuple(
        SiteStatus(f"site-{number:03}", Presence.PRESENT, None, 999.0, 12, 2.41, 8.0, 200)
        for number in range(200)
    )
    bad = replace(many[150], state=Presence.MISSING, reason="no_reply")
    status = replace(STATUS, sites=(*many[:150], bad, *many[151:]))
    text = drawn(status, height=height, notice="trying again")
    assert row(text, "site-150")[2] == "missing"
    shown = sum("site-" in line for line in text.splitlines())
    assert f"and {200 - shown} more" in text
    assert len(text.splitlines()) <= max(height, 18)


def test_time_goes_on_while_nothing_comes():
    text = drawn(STATUS, age=60.0, notice="localhost:9093: it does not answer")
    assert row(text, "cleveland")[4:6] == ["1", "min"]
    assert "it does not answer" in text


def test_without_privacy_no_budget_is_drawn():
    sites = (SiteStatus("berlin", Presence.PRESENT, None, 999.0, 1, math.inf, math.inf, 1),)
    assert "∞" in row(drawn(replace(STATUS, sites=sites)), "berlin")


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_its_word(phase):
    status = replace(STATUS, phase=phase)
    assert str(phase) in drawn(status).splitlines()[0]
    assert line(status).split("  ")[1] == phase
    assert ("left" in line(status)) is not phase.over
    assert ("left" in drawn(status)) is not phase.over


def test_a_run_without_sites_or_rounds_is_drawn():
    empty = Status("hospitals", "run-1", 0, (), 0.0)
    assert "round 0 of 0" in drawn(empty)
    assert line(empty) == "hospitals  waiting  0/0 sites"


def test_a_line_says_it_all():
    assert line(STATUS) == (
        "hospitals  training  round 12/40  2/4 sites  missing: switzerland (no_reply)  "
        "refused: long_beach_va (privacy_required)  ε 2.41 of 8.00  AUC 0.9123  loss –  4 min left"
    )


@given(st.floats(0, 1e6))
def test_a_printed_epsilon_is_never_below_the_true_one(epsilon):
    shown = float(_rounded_up(epsilon))
    assert epsilon <= shown + 1e-9
    assert shown <= epsilon + 0.011


@pytest.mark.parametrize(
    ("epsilon", "shown"),
    [(0.0, "0.00"), (8.0, "8.00"), (0.29, "0.29"), (2.401, "2.41"), (1e-6, "0.01")],
)
def test_epsilon_is_rounded_up(epsilon, shown):
    assert _rounded_up(epsilon) == shown


texts = st.text(st.characters(), min_size=1, max_size=12)


@settings(max_examples=50)
@given(texts, texts, texts)
def test_names_cannot_steer_the_terminal(name, site, metric):
    status = replace(
        STATUS,
        experiment=name,
        run=name,
        version=name,
        sites=(SiteStatus(site),),
        metrics={metric: 1.0},
    )
    assert drawn(status).replace("\n", "").isprintable()
    assert line(status).isprintable()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (3601, "1 h"),
        (86_400 * 3 + 7200, "3 d 2 h"),
    ],
)
def test_lengths_of_time(seconds, said):
    assert span(seconds) == said

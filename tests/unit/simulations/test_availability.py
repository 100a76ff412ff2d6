"""Requests that do not arrive and replies that come too late, by a configured distribution."""

import math

import pytest
from site_example import ask, query

from simulations.availability import lossy, without
from tacit.configuration import read_as
from tacit.errors import ConfigurationError
from tacit.messages import ENROL
from tacit.settings import Availability, DelayKind

SITES = 4000


class Echo:
    """An engine that answers with what it was asked, and keeps whom it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, cohort):
        self.asked += [site for _, site in cohort]
        return [message for message, _ in cohort]


def asked(number=1, sites=SITES):
    message = ask(round=number)
    return [(message, f"site-{k}") for k in range(sites)]


def share(replies):
    return sum(reply is not None for reply in replies) / len(replies)


def spread(chance):
    """Five standard deviations of a share of SITES."""
    return 5 * math.sqrt(chance * (1 - chance) / SITES)


def test_a_site_that_is_not_there_is_not_asked():
    echo = Echo()
    replies = lossy(echo, Availability(dropout=0.3), 0)(asked())
    assert share(replies) == pytest.approx(0.7, abs=spread(0.3))
    assert len(echo.asked) == sum(reply is not None for reply in replies)
    assert echo.asked == [
        site for (_, site), reply in zip(asked(), replies, strict=True) if reply is not None
    ]


@pytest.mark.parametrize(
    ("chosen", "in_time"),
    [
        (
            Availability(delay=DelayKind.EXPONENTIAL, delay_mean=2.0, deadline=3.0),
            1 - math.exp(-1.5),
        ),
        (
            # P(X ≤ d) = Φ((ln d - ln m + s²/2) / s)
            Availability(delay=DelayKind.LOGNORMAL, delay_mean=2.0, delay_spread=0.5, deadline=3.0),
            0.5 * (1 + math.erf((math.log(1.5) + 0.125) / 0.5 / math.sqrt(2))),
        ),
    ],
    ids=str,
)
def test_a_late_site_has_done_its_work_and_its_reply_is_lost(chosen, in_time):
    echo = Echo()
    replies = lossy(echo, chosen, 0)(asked())
    assert len(echo.asked) == SITES
    assert share(replies) == pytest.approx(in_time, abs=spread(in_time))


def test_both_at_once():
    echo = Echo()
    chosen = Availability(dropout=0.5, delay=DelayKind.EXPONENTIAL, deadline=math.log(2))
    replies = lossy(echo, chosen, 0)(asked())
    assert len(echo.asked) / SITES == pytest.approx(0.5, abs=spread(0.5))
    assert share(replies) == pytest.approx(0.25, abs=spread(0.25))


def test_who_is_lost_follows_from_seed_and_round():
    def lost(seed, number):
        replies = lossy(Echo(), Availability(dropout=0.5), seed)(asked(number, 50))
        return [reply is None for reply in replies]

    assert lost(0, 1) == lost(0, 1)
    assert len({tuple(lost(seed, number)) for seed in (0, 1) for number in (1, 2)}) == 4


def test_other_questions_always_arrive():
    echo = Echo()
    questions = [(query(ENROL), f"site-{k}") for k in range(50)]
    assert share(lossy(echo, Availability(dropout=0.9), 0)(questions)) == 1
    assert lossy(echo, Availability(dropout=0.9), 0)([]) == []


def test_whoever_is_missing_is_asked_to_train_in_no_round_and_all_else():
    echo = Echo()
    gone = without(echo, {"site-1", "site-3"})
    for number in (1, 2):
        came = [reply is not None for reply in gone(asked(number, 5))]
        assert came == [True, False, True, False, True]
    assert echo.asked == 2 * ["site-0", "site-2", "site-4"]
    assert share(gone([(query(ENROL), f"site-{k}") for k in range(5)])) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": 1.0},
        {"delay": "exponential"},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"delay": "sometimes", "deadline": 1.0},
    ],
)
def test_settings_that_do_nothing_or_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        read_as(Availability, wrong)

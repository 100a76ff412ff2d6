"""A run is reserved by message before its first round, and says nothing about data."""

from dataclasses import replace

import pytest
from site_example import (
    POLICY,
    ROUND,
    ROUNDS,
    TERMS,
    WatchedRows,
    app_of,
    ask,
    bodies,
    kinds,
    make_site,
    open_ledger,
    query,
)

from tacit.learning.plan import RoundPlan
from tacit.messages import LEDGER, SITE, RunRequest
from tacit.privacy.policy import Reason

REQUEST = RunRequest("run-2", ROUNDS, TERMS, ROUND, 1.0, 1e-5)


@pytest.fixture
def empty(tmp_path):
    """A ledger in which nothing is reserved yet."""
    with open_ledger(tmp_path) as opened:
        yield opened


def site_of(ledger, *, seed=None, **more):
    """The example's site, but with nothing reserved."""
    kept, ledger.reserve = ledger.reserve, lambda plan, policy: None
    site = make_site(ledger, seed=seed, **more)
    ledger.reserve = kept
    return site


def reserved(site, request=REQUEST, **raw):
    return app_of(site)(query("reserve", request.to_config() | raw))


def test_a_site_says_its_name_and_its_limits_and_nothing_else(empty):
    reply = app_of(site_of(empty))(query("enrol"))
    assert {name: dict(record) for name, record in reply.content.items()} == {
        SITE: {
            "name": "north",
            "epsilon": 1.0,
            "delta": 1e-5,
            "least-noise-multiplier": 0.0,
            "most-rounds": 0,
            "predictable": False,
        }
    }
    assert kinds(empty) == ["opened"]


def test_a_reservation_is_on_disk_and_confirmed_by_the_ledgers_receipt(empty):
    site = site_of(empty)
    reply = reserved(site)
    receipt = empty.receipt()
    assert {name: dict(record) for name, record in reply.content.items()} == {
        LEDGER: {"count": receipt.count, "head": receipt.head}
    }
    assert kinds(empty) == ["opened", "reserved"]
    plan = bodies(empty)[-1]["plan"]
    assert (plan["run"], plan["rounds"], plan["epsilon"], plan["delta"], plan["predictable"]) == (
        "run-2",
        ROUNDS,
        1.0,
        1e-5,
        False,
    )


def test_the_same_reservation_again_writes_nothing(empty):
    site = site_of(empty)
    assert reserved(site).content == reserved(site).content
    assert kinds(empty) == ["opened", "reserved"]


def test_then_and_only_then_a_round_is_trained(empty):
    site = site_of(empty)
    app = app_of(site)
    assert app(ask(run="run-2")).error.reason == Reason.NOT_RESERVED
    reserved(site)
    assert not app(ask(run="run-2")).has_error()


def test_no_row_is_touched(empty, tmp_path):
    rows = WatchedRows(tmp_path / "north.sqlite")
    site = site_of(empty, data=rows)
    app_of(site)(query("enrol"))
    reserved(site)
    assert rows.seen == []


def test_seeded_noise_is_written_down_by_the_site_itself(empty):
    """The coordinator cannot know, and is not asked, whether noise could be computed again."""
    reserved(site_of(empty, seed=0))
    assert bodies(empty)[-1]["plan"]["predictable"] is True


def test_an_exact_release_is_no_predictable_noise(empty):
    site = site_of(empty, seed=0)
    site = replace(site, policy=replace(site.policy, require_privacy=False))
    plain = replace(REQUEST, plan=RoundPlan(3, 0.5, 8.0, 0.1), epsilon=float("inf"), delta=0.0)
    assert not reserved(site, plain).has_error()
    assert bodies(empty)[-1]["plan"]["predictable"] is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "0" * 64}, Reason.MODEL_DIFFERS),
        ({"domain": "homes"}, Reason.DOMAIN_DIFFERS),
        ({"epsilon": 0.01}, Reason.BUDGET),
        ({"epsilon": 2 * POLICY.epsilon_per_run}, Reason.BUDGET),
        ({"delta": 1e-3}, Reason.BUDGET),
        ({"rounds": 0}, Reason.PLAN_DIFFERS),
        ({"epsilon": -1.0}, Reason.PLAN_DIFFERS),
        ({"plan-noise-multiplier": 0.0}, Reason.PLAN_DIFFERS),
        ({"plan-unit": "household"}, Reason.PLAN_DIFFERS),
        ({"more": 1}, Reason.PLAN_DIFFERS),
    ],
)
def test_what_is_refused_sets_nothing_aside(empty, change, reason):
    reply = reserved(site_of(empty), **change)
    assert reply.error.reason == reason
    assert kinds(empty) == ["opened"]


def test_a_request_without_a_plan_is_refused(empty):
    reply = app_of(site_of(empty))(query("reserve"))
    assert reply.error.reason == Reason.PLAN_DIFFERS

"""A site's part in secure sums: what it takes part in, once, and all that it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord
from hypothesis import assume, given
from hypothesis import strategies as st
from secure_example import (
    ALLOWED,
    PART,
    PLAN,
    SITES,
    TERMS,
    WEIGHTS,
    Sum,
    advertise,
    identity,
    joint_of,
    numbers_of_a,
    roster_of,
    stage_of,
    sums_of,
    train_request,
)
from site_example import RUN, WatchedRows, app_of, ask, kinds, make_site, query, zero_weights

from client.secure import SecureSums
from client.site import admit
from tacit.errors import RefusedError, SecureSumError
from tacit.learning.plan import Share
from tacit.messages import ARRAYS, SECURE, SUM, SecureStage
from tacit.privacy.policy import Reason
from tacit.secagg.messages import Dealt, Survivors, decode

SHARED = replace(
    PLAN, steps=1, noise_multiplier=None, part=replace(PART, largest=2**20), share=Share(2.0**30, 2)
)
LATER = (SecureStage.SHARE, SecureStage.AGREE, SecureStage.REVEAL)


def refused(reason, action, *words):
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.reason in set(Reason)
    assert caught.value.reason == reason
    for each in words:
        assert each in str(caught.value)


def is_over(played, site="north"):
    """Whether a site has let go of a sum: it does no stage of it any more."""
    for stage in LATER:
        refused(Reason.SECURE_SUM, lambda stage=stage: played.asked(stage, site, b""), "is over")


def test_sites_and_an_honest_coordinator_add_up():
    played = Sum().revealed()
    total = played.server.total()
    assert total.sites == SITES
    rows = [numbers_of_a(site, played.joint) for site in SITES]
    assert total.vector.tolist() == np.sum(rows, 0, np.uint32).tolist()


def test_what_a_secure_sum_refuses_may_be_said():
    assert SecureSumError("").reason == Reason.SECURE_SUM


# What a site takes part in


@pytest.mark.parametrize(
    ("joint", "allowed", "reason", "says"),
    [
        (
            joint_of((*SITES, "made-up")),
            ALLOWED,
            Reason.SECURE_SUM,
            "made-up: not in the roster that north has pinned",
        ),
        (joint_of(SITES[:2]), ALLOWED, Reason.SECURE_SUM, "none of fewer than 3"),
        (joint_of(("east", "south", "west")), ALLOWED, Reason.PLAN_DIFFERS, "not in the cohort"),
        (
            joint_of(),
            replace(ALLOWED, others=3),
            Reason.SECURE_AGGREGATION_REQUIRED,
            "hides an update among 2 others",
        ),
        (joint_of(), replace(ALLOWED, domain="homes"), Reason.DOMAIN_DIFFERS, "'wards'"),
        (joint_of(), replace(ALLOWED, model="0" * 64), Reason.MODEL_DIFFERS, "this site has"),
        (
            joint_of(),
            replace(ALLOWED, strategies=frozenset({"krum"})),
            Reason.STRATEGY_NOT_ALLOWED,
            "'fedavg'",
        ),
    ],
)
def test_a_sum_that_is_not_for_this_site_does_not_begin(joint, allowed, reason, says):
    sums = sums_of("north")
    refused(reason, lambda: sums.answer(advertise(joint), allowed), says)
    for stage in LATER:
        later = stage_of(stage)
        refused(Reason.SECURE_SUM, lambda later=later: sums.answer(later, allowed), "did not begin")


@pytest.mark.parametrize(
    "roster",
    [
        roster_of() | {"north": roster_of()["east"], "east": roster_of()["north"]},
        roster_of() | {"west": roster_of()["east"]},
    ],
    ids=["another key for this site", "one key for two"],
)
def test_a_roster_that_is_not_about_this_cohort_is_refused(roster):
    sums = sums_of("north", roster)
    refused(Reason.PLAN_DIFFERS, lambda: sums.answer(advertise(joint_of()), ALLOWED))


def test_a_pinned_key_that_is_none_is_refused():
    sums = sums_of("north", roster_of() | {"west": b"no key"})
    refused(Reason.SECURE_SUM, lambda: sums.answer(advertise(joint_of()), ALLOWED))


@pytest.mark.parametrize("weights", ["", "xyz", "f" * 62, "f" * 66, "é" * 64])
def test_a_sum_is_about_weights_with_a_hash(weights):
    asked = advertise(joint_of(), weights=weights)
    refused(Reason.PLAN_DIFFERS, lambda: sums_of("north").answer(asked, ALLOWED))


def test_a_sum_of_more_sites_than_there_are_never_begins():
    joint = joint_of(terms=replace(TERMS, others=len(SITES)))
    asked = advertise(joint)
    refused(Reason.SECURE_SUM, lambda: sums_of("north").answer(asked, ALLOWED), "never opened")


def test_what_needs_no_more_others_than_there_are_begins():
    assert sums_of("north").answer(advertise(joint_of()), replace(ALLOWED, others=2))


def test_no_sum_is_opened_with_fewer_sites_than_all_were_told():
    """Sites agree on four where a quorum is three: three are too few."""
    joint = joint_of(terms=replace(joint_of().terms, others=3))
    played = Sum(joint).shared()
    for site in SITES[:3]:
        played.server.receive(site, played.trained(site))
    played.contents = played.server.survivors()
    says = "a sum of 3 sites, and east is in none of fewer than 4"
    refused(Reason.SECURE_SUM, lambda: played.asked(SecureStage.AGREE, "east"), says)


# One sum at a time, and each once


@pytest.mark.parametrize(
    "other",
    [
        advertise(joint_of(plan=replace(PLAN, part=replace(PART, weight=0.25)))),
        advertise(joint_of(rounds=9)),
        advertise(joint_of((*SITES[1:], "more"))),
        advertise(joint_of(), weights="0" * 64),
    ],
    ids=["weight", "rounds", "sites", "weights"],
)
def test_a_number_is_of_one_plan_and_one_model(other):
    sums = sums_of("north", roster_of((*SITES, "more")))
    first = sums.answer(advertise(joint_of()), ALLOWED)
    refused(Reason.SECURE_SUM, lambda: sums.answer(other, ALLOWED), "was about another plan")
    assert sums.answer(advertise(joint_of()), ALLOWED) == first


def test_an_older_sum_is_over():
    played = Sum(number=5).shared()
    sums = played.sums["north"]
    for number in (0, 1, 4):
        asked = advertise(joint_of(), number=number)
        refused(Reason.SECURE_SUM, lambda asked=asked: sums.answer(asked, ALLOWED), "came after it")
    sums.answer(advertise(joint_of(), number=6), ALLOWED)
    is_over(played)
    asked = advertise(joint_of(), number=5)
    refused(Reason.SECURE_SUM, lambda: sums.answer(asked, ALLOWED), "sum 5 is over")


def test_a_number_is_of_its_run():
    sums = sums_of("north")
    sums.answer(advertise(joint_of(), number=7), ALLOWED)
    other = advertise(joint_of(run="run-2"), number=1, run="run-2")
    assert sums.answer(other, ALLOWED) != sums.answer(advertise(joint_of(), number=7), ALLOWED)


def test_keys_are_of_one_sum():
    sums = sums_of("north")
    one, two = (sums.answer(advertise(joint_of(), number=n), ALLOWED) for n in (1, 2))
    assert one != two


@pytest.mark.parametrize("stage", LATER)
@pytest.mark.parametrize("number", [0, 2])
def test_a_sum_that_never_began_here_has_no_stages(stage, number):
    sums = sums_of("north")
    sums.answer(advertise(joint_of(), number=1), ALLOWED)
    asked = stage_of(stage, number=number)
    refused(Reason.SECURE_SUM, lambda: sums.answer(asked, ALLOWED), f"sum {number} did not begin")


def test_nothing_is_trained_for_a_sum_that_never_began_here():
    sums, request = sums_of("north"), train_request()
    vector = np.zeros(8, np.uint32)
    says = "was this process started again?"
    refused(Reason.SECURE_SUM, lambda: sums.ready(request, WEIGHTS, b"", ALLOWED), says)
    refused(Reason.SECURE_SUM, lambda: sums.masked(request, b"", vector), says)


@pytest.mark.parametrize("begun", ["advertised", "shared", "masked", "agreed"])
def test_a_sum_that_was_given_up_is_over(begun):
    played = getattr(Sum(), begun)()
    assert played.asked(SecureStage.GIVEN_UP, "north", b"too few") == b""
    is_over(played)
    refused(Reason.SECURE_SUM, lambda: played.ready("north"), "is over")
    again = advertise(joint_of())
    sums = played.sums["north"]
    refused(Reason.SECURE_SUM, lambda: sums.answer(again, ALLOWED), "is over")
    assert sums.answer(advertise(joint_of(), number=2), ALLOWED)


@pytest.mark.parametrize(
    "other", [{"number": 1}, {"number": 3}, {"run": "run-2"}], ids=["before", "after", "run"]
)
def test_giving_up_another_sum_changes_nothing(other):
    played = Sum(number=2).shared()
    given_up = stage_of(SecureStage.GIVEN_UP, b"why", **{"number": 2} | other)
    assert played.sums["north"].answer(given_up, ALLOWED) == b""
    assert played.trained("north")


def test_why_a_sum_is_given_up_is_one_short_line_of_the_log(caplog):
    played = Sum().advertised()
    played.asked(SecureStage.GIVEN_UP, "north", b"too few\n2026 forged: line \xff" + b"x" * 10_000)
    (record,) = caplog.records
    said = record.getMessage()
    assert "\n" not in said
    assert len(said) < 1000


# Before anything is spent on a part


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": "0" * 64}, "the model is not the one that the sum is about"),
        ({"request": train_request(model="0" * 64)}, "the model is not the one"),
        ({"request": train_request(rounds=4)}, "rounds=4 is asked of north"),
        ({"request": train_request(replace(PLAN, learning_rate=9.0))}, "plan-learning-rate=9.0"),
        ({"request": train_request(replace(PLAN, steps=1))}, "plan-steps=1 is asked of north"),
        (
            {"request": train_request(replace(PLAN, part=replace(PART, weight=1.0)))},
            "plan-part-weight=1.0",
        ),
        ({"request": train_request(replace(PLAN, part=None))}, "plan-part-bits=None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_part_is_made_for_the_sum_that_all_were_told_of_and_no_other(change, says):
    played = Sum().shared()
    refused(Reason.SECURE_SUM, lambda: played.ready("north", **change), says)


def test_a_plan_that_is_for_no_run_of_this_name_is_found_before_the_part():
    """The text says another run than the request that began the sum."""
    played = Sum(joint_of(run="run-2")).shared()
    refused(Reason.SECURE_SUM, lambda: played.ready("north"), "run=run-1 is asked of north")


def test_a_sites_own_noise_may_be_its_own():
    Sum().shared().ready("north", train_request(replace(PLAN, noise_multiplier=99.0)))


@pytest.mark.parametrize(("colluders", "counted"), [(1, 2), (2, 1), (0, 3), (5, 0)])
def test_a_plan_counts_on_no_more_shares_than_the_site_does(colluders, counted):
    played = Sum(joint_of(plan=SHARED)).shared()
    allowed = replace(ALLOWED, colluders=colluders)
    request = train_request(SHARED)
    if counted >= SHARED.share.honest:
        played.ready("north", request, allowed=allowed)
        return
    refused(
        Reason.SECURE_AGGREGATION_REQUIRED,
        lambda: played.ready("north", request, allowed=allowed),
        f"this site counts on {counted}",
    )


def test_too_few_that_share_are_refused_before_anything_is_spent():
    played = Sum().shared()
    dealt = decode(Dealt, played.contents["north"], "server")
    two = ("east", "north")
    fewer = Dealt(two, tuple(deal for deal in dealt.deals if deal.site in two)).encode()
    refused(Reason.SECURE_SUM, lambda: played.ready("north", dealt=fewer), "only 2 sites")
    is_over(played)


# Garbage


GARBAGE = [b"", b"\x00", b"tss4", b"tss6" + bytes(8), bytes(1000), "ünïcode".encode()]


@pytest.mark.parametrize("content", [*GARBAGE, b"{}", joint_of().text()[:-1]])
def test_garbage_for_a_plan_is_refused(content):
    asked = stage_of(SecureStage.ADVERTISE, content, weights=WEIGHTS)
    refused(Reason.PLAN_DIFFERS, lambda: sums_of("north").answer(asked, ALLOWED))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("plan-part-bits", value) for value in (8, 0, -32, "many", None, [32], {})),
        *(("plan-part-dimension", value) for value in (0, -1, 2**32, 10**400, "many", [8])),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_plan_on_a_grid_that_is_none_is_refused(key, value):
    found = json.loads(joint_of().text())
    found["all"][key] = value
    text = json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    asked = stage_of(SecureStage.ADVERTISE, text, weights=WEIGHTS)
    refused(Reason.PLAN_DIFFERS, lambda: sums_of("north").answer(asked, ALLOWED))


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize(
    ("begun", "stage"),
    [("advertised", LATER[0]), ("masked", LATER[1]), ("agreed", LATER[2])],
)
def test_garbage_of_the_coordinator_ends_a_sum_as_a_refusal(begun, stage, content):
    played = getattr(Sum(), begun)()
    refused(Reason.SECURE_SUM, lambda: played.asked(stage, "north", content))
    is_over(played)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_for_the_others_shares_is_refused_before_and_when_it_is_used(content):
    played = Sum().shared()
    refused(Reason.SECURE_SUM, lambda: played.ready("north", dealt=content))
    is_over(played)
    vector = numbers_of_a("east", played.joint)
    east = played.sums["east"]
    refused(Reason.SECURE_SUM, lambda: east.masked(train_request(), content, vector))


@given(st.data())
def test_a_directory_that_came_damaged_is_refused_and_nothing_else_is_raised(data):
    played = Sum().advertised()
    honest = played.contents["north"]
    content = bytearray(honest)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    assume(content != honest)
    refused(Reason.SECURE_SUM, lambda: played.asked(LATER[0], "north", bytes(content)))


def test_a_stage_out_of_turn_ends_the_sum():
    for begun, stage in (("advertised", LATER[1]), ("shared", LATER[2]), ("masked", LATER[0])):
        played = getattr(Sum(), begun)()
        refused(Reason.SECURE_SUM, lambda p=played, s=stage: p.asked(s, "north"), "out of turn")
        is_over(played)


def test_a_site_signs_no_survivors_without_itself():
    played = Sum().masked()
    told = decode(Survivors, played.contents["north"], "server")
    others = tuple(site for site in told.sites if site != "north")
    without = Survivors(others, told.signatures).encode()
    refused(
        Reason.SECURE_SUM,
        lambda: played.asked(SecureStage.AGREE, "north", without),
        "was left out of those who survived",
    )


# The same again


def test_the_same_request_again_gets_the_same_bytes_again():
    played = Sum()
    assert played.asked(SecureStage.ADVERTISE, "north") == played.asked(
        SecureStage.ADVERTISE, "north"
    )
    played.advertised()
    assert played.asked(SecureStage.SHARE, "north") == played.asked(SecureStage.SHARE, "north")
    played = Sum().shared()
    assert played.trained("north") == played.trained("north")
    played = Sum().masked()
    assert played.asked(SecureStage.AGREE, "north") == played.asked(SecureStage.AGREE, "north")
    played = Sum().agreed()
    assert played.asked(SecureStage.REVEAL, "north") == played.asked(SecureStage.REVEAL, "north")


def test_masks_are_used_for_one_vector():
    """A second vector under the same masks would tell the coordinator their difference."""
    played = Sum().shared()
    first = played.trained("north")
    other = np.zeros(8, np.uint32)
    again = played.sums["north"].masked(train_request(), played.contents["north"], other)
    assert again == first


def test_others_shares_that_came_otherwise_get_no_second_part():
    played = Sum().shared()
    played.trained("north")
    dealt = decode(Dealt, played.contents["north"], "server")
    three = tuple(site for site in dealt.dealers if site != "west")
    fewer = Dealt(three, tuple(deal for deal in dealt.deals if deal.site in three)).encode()
    refused(Reason.SECURE_SUM, lambda: played.ready("north", dealt=fewer), "was asked again")


# A site with data: nothing is charged for what is refused


@pytest.fixture
def watched(tmp_path, ledger):
    """A site whose sums have come to where it is to train, and what it has been asked by then."""
    rows = WatchedRows(tmp_path / "north.sqlite")
    played = Sum().shared()
    site = replace(make_site(ledger, data=rows), sums=played.sums["north"])
    return site, rows, played


def summed(dealt, plan=PLAN, number=1, **more):
    message = ask(plan=plan, secure=number, **more)
    message.content[SECURE] = ConfigRecord({"content": dealt})
    return message


def test_what_is_for_a_sum_is_charged_and_leaves_under_masks(watched):
    site, _, played = watched
    dealt = played.contents["north"]
    reply = app_of(site)(summed(dealt))
    assert list(reply.content[ARRAYS]) == [SUM]
    sent = reply.content[ARRAYS][SUM].numpy()
    assert sent.dtype == np.uint8
    played.server.receive("north", sent.tobytes())
    assert played.server.faults == {}
    assert kinds(site.ledger) == ["opened", "reserved", "charged", "replied"]
    again = app_of(site)(summed(dealt))
    assert again.content == reply.content
    assert kinds(site.ledger) == ["opened", "reserved", "charged", "replied"]


def fewer_dealers(dealt):
    found = decode(Dealt, dealt, "server")
    return Dealt(found.dealers[:2], found.deals[:1]).encode()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (lambda dealt: summed(b"garbage"), Reason.SECURE_SUM),
        (lambda dealt: summed(fewer_dealers(dealt)), Reason.SECURE_SUM),
        (lambda dealt: summed(dealt, number=2), Reason.SECURE_SUM),
        (
            lambda dealt: summed(
                dealt, weights=zero_weights() | {"head.bias": np.ones(2, np.float32)}
            ),
            Reason.SECURE_SUM,
        ),
        (lambda dealt: summed(dealt, replace(PLAN, learning_rate=9.0)), Reason.SECURE_SUM),
        (lambda dealt: summed(dealt, replace(PLAN, steps=2)), Reason.SECURE_SUM),
        (
            lambda dealt: summed(dealt, replace(PLAN, part=replace(PART, weight=1.0))),
            Reason.SECURE_SUM,
        ),
        (lambda dealt: summed(dealt, model="0" * 64), Reason.MODEL_DIFFERS),
        (lambda dealt: summed(dealt, run="run-2"), Reason.SECURE_SUM),
        (lambda dealt: summed(dealt, number=-1), Reason.PLAN_DIFFERS),
        (lambda dealt: summed("not bytes"), Reason.PLAN_DIFFERS),
        (lambda dealt: ask(plan=PLAN, secure=1), Reason.PLAN_DIFFERS),
    ],
    ids=[
        "garbage",
        "too few dealers",
        "another sum",
        "another model's weights",
        "another step size",
        "fewer steps",
        "another weight",
        "another model",
        "another run",
        "no number",
        "text for bytes",
        "no shares",
    ],
)
def test_a_part_that_is_refused_costs_nothing_and_no_row_is_touched(watched, asked, reason):
    site, rows, played = watched
    message = asked(played.contents["north"])
    refused(reason, lambda: admit(site, message))
    assert app_of(site)(message).error.reason == reason
    assert kinds(site.ledger) == ["opened", "reserved"]
    assert rows.seen == []


def test_a_site_that_is_in_no_sum_spends_nothing_on_one(watched):
    site, rows, played = watched
    message = summed(played.contents["north"])
    refused(Reason.SECURE_SUM, lambda: admit(replace(site, sums=None), message), "no secure sum")
    assert kinds(site.ledger) == ["opened", "reserved"]
    assert rows.seen == []


@pytest.mark.parametrize(
    ("plan", "allowed"),
    [
        (PLAN, replace(ALLOWED, others=1)),
        (replace(PLAN, part=None), replace(ALLOWED, others=1)),
        (SHARED, ALLOWED),
    ],
    ids=["the policy wants a sum", "and so without a part", "its noise is only a share"],
)
def test_what_only_a_sum_may_show_is_not_sent_by_itself(watched, plan, allowed):
    site, rows, _ = watched
    site = replace(site, allowed=allowed)
    refused(Reason.SECURE_AGGREGATION_REQUIRED, lambda: admit(site, ask(plan=plan)), "by itself")
    assert app_of(site)(ask(plan=plan)).error.reason == Reason.SECURE_AGGREGATION_REQUIRED
    assert kinds(site.ledger) == ["opened", "reserved"]
    assert rows.seen == []


def test_a_part_that_is_private_by_itself_may_be_sent_by_itself(watched):
    site, _, _ = watched
    reply = app_of(site)(ask(plan=PLAN))
    sent = reply.content[ARRAYS][SUM].numpy()
    assert (sent.dtype, sent.shape) == (np.uint32, (8,))


def test_a_stage_that_is_none_or_for_a_site_in_no_sum_is_refused(ledger):
    site = make_site(ledger)
    message = query("secure")
    assert app_of(site)(message).error.reason == Reason.PLAN_DIFFERS
    message.content[SECURE] = ConfigRecord({"run": RUN})
    assert app_of(site)(message).error.reason == Reason.PLAN_DIFFERS
    message.content[SECURE] = ConfigRecord(advertise(joint_of()).to_config())
    assert app_of(site)(message).error.reason == Reason.SECURE_SUM
    nobody_pinned = SecureSums("north", identity("north"), {})
    assert app_of(replace(site, sums=nobody_pinned))(message).error.reason == Reason.SECURE_SUM
    assert app_of(replace(site, sums=sums_of("north")))(message).has_content()

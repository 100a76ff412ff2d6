"""What a run may be about, and how it is ended."""

from dataclasses import replace

import pytest
from site_example import MODEL, RUN, TERMS, app_of, ask, kinds, make_site, open_ledger, query

from client.allowed import Allowed
from tacit.errors import RefusedError
from tacit.learning.plan import Part, RoundPlan, Share
from tacit.messages import SITE, RunRequest
from tacit.privacy.policy import Reason

STRICT = Allowed(
    "wards", MODEL, models=frozenset({MODEL}), strategies=frozenset({"fedavg"}), others=3
)
GOOD = replace(TERMS, others=3)


@pytest.fixture
def site(tmp_path):
    with open_ledger(tmp_path) as ledger:
        yield make_site(ledger)


def test_what_is_listed_is_allowed():
    STRICT.check(GOOD)
    Allowed("wards", MODEL).check(replace(TERMS, strategy="anything"))


@pytest.mark.parametrize(
    ("allowed", "terms", "reason"),
    [
        (STRICT, replace(GOOD, domain="homes"), Reason.DOMAIN_DIFFERS),
        (STRICT, replace(GOOD, model="0" * 64), Reason.MODEL_DIFFERS),
        (replace(STRICT, models=frozenset()), GOOD, Reason.MODEL_DIFFERS),
        (STRICT, replace(GOOD, strategy="fedprox"), Reason.STRATEGY_NOT_ALLOWED),
        (STRICT, replace(GOOD, others=2), Reason.SECURE_AGGREGATION_REQUIRED),
    ],
)
def test_what_is_not_is_refused(allowed, terms, reason, site):
    with pytest.raises(RefusedError) as refused:
        allowed.check(terms)
    assert refused.value.reason == reason
    asked = query("enrol", terms.to_config())
    assert app_of(replace(site, allowed=allowed))(asked).error.reason == reason


PLAIN = RoundPlan(1, 0.5, 8.0, 0.1, 1.0, 20.0, part=Part(32, 2.0**-20, 8, 4, 1000, 1.0))


def sharing(honest):
    return replace(PLAIN, noise_multiplier=None, share=Share(2.0**30, honest))


@pytest.mark.parametrize(
    ("honest", "others", "colluders", "counts"),
    [
        (3, 3, 1, True),
        (4, 3, 1, False),
        (4, 3, 0, True),
        (2, 3, 2, True),
        (3, 3, 2, False),
        (1, 0, 1, False),
        (1, 3, 9, False),
    ],
)
def test_no_more_shares_of_noise_are_counted_on_than_others_and_colluders_leave(
    honest, others, colluders, counts
):
    allowed, terms = Allowed("wards", MODEL, colluders=colluders), replace(TERMS, others=others)
    if counts:
        allowed.check_plan(terms, sharing(honest))
        return
    with pytest.raises(RefusedError, match=f"counts on {honest} sites") as refused:
        allowed.check_plan(terms, sharing(honest))
    assert refused.value.reason == Reason.SECURE_AGGREGATION_REQUIRED
    replace(allowed, in_the_open=True).check_plan(terms, sharing(honest))


def test_a_plan_with_its_own_noise_counts_on_nobody():
    Allowed("wards", MODEL, colluders=9).check_plan(TERMS, PLAIN)
    Allowed("wards", MODEL, colluders=9).check_plan(TERMS, replace(PLAIN, part=None))


def test_a_run_that_counts_on_too_many_shares_is_not_reserved(site):
    asked = RunRequest("run-2", 1, replace(TERMS, others=3), sharing(4), 1.0, 1e-5)
    before = kinds(site.ledger)
    reply = app_of(site)(query("reserve", asked.to_config()))
    assert reply.error.reason == Reason.SECURE_AGGREGATION_REQUIRED
    assert kinds(site.ledger) == before


@pytest.mark.parametrize(
    ("allowed", "plan", "shown"),
    [
        (Allowed("wards", MODEL), PLAIN, True),
        (Allowed("wards", MODEL), sharing(1), False),
        (Allowed("wards", MODEL, others=1), PLAIN, False),
        (Allowed("wards", MODEL, in_the_open=True), sharing(1), True),
        (Allowed("wards", MODEL, others=1, in_the_open=True), PLAIN, False),
    ],
)
def test_a_part_by_itself_is_shown_only_where_it_is_private_and_no_sum_is_wanted(
    allowed, plan, shown
):
    if shown:
        allowed.check_seen(plan)
        return
    with pytest.raises(RefusedError, match="only a sum may be seen here") as refused:
        allowed.check_seen(plan)
    assert refused.value.reason == Reason.SECURE_AGGREGATION_REQUIRED


def test_an_invitation_is_answered_like_a_plain_question(site):
    invited, asked = app_of(site)(query("enrol", TERMS.to_config())), app_of(site)(query("enrol"))
    assert invited.content == asked.content
    assert dict(invited.content[SITE])["name"] == "north"


def test_an_invitation_that_says_more_is_refused(site):
    reply = app_of(site)(query("enrol", TERMS.to_config() | {"code": "print(1)"}))
    assert reply.error.reason == Reason.PLAN_DIFFERS


def test_an_ended_run_gives_back_what_never_began_and_trains_no_more(site):
    app = app_of(site)
    assert not app(ask()).has_error()
    spent = site.ledger.spent_events()
    assert not app(query("end", {"run": RUN})).has_error()
    assert kinds(site.ledger)[-1] == "closed"
    assert site.ledger.spent_events() == spent
    assert app(ask(round=2)).error.reason == Reason.NOT_RESERVED
    # Twice is once.
    before = kinds(site.ledger)
    assert not app(query("end", {"run": RUN})).has_error()
    assert kinds(site.ledger) == before


@pytest.mark.parametrize("config", [None, {}, {"run": 3}])
def test_a_request_to_end_names_a_run(site, config):
    assert app_of(site)(query("end", config)).error.reason == Reason.PLAN_DIFFERS


def test_a_run_that_is_not_here_cannot_be_ended(site):
    assert app_of(site)(query("end", {"run": "other"})).error.reason == Reason.NOT_RESERVED

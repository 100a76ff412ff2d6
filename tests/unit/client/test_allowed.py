"""What a run may be about, and how it is ended."""

from dataclasses import replace

import pytest
from site_example import MODEL, RUN, TERMS, app_of, ask, kinds, make_site, open_ledger, query

from client.allowed import Allowed
from tacit.errors import RefusedError
from tacit.messages import SITE
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

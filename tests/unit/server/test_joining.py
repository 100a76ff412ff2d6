"""Sites join when they are there and fit; what they say of themselves is checked."""

from dataclasses import replace

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from server import joining as module
from server.joining import Joining
from server.planning import plan_run
from simulations.grid import LocalGrid, loop_engine
from tacit.errors import TooFewSitesError
from tacit.messages import CONFIG, LEDGER, SITE, Limits, RunRequest, Terms
from tacit.privacy.policy import Reason
from tacit.privacy_settings import RecordPrivacy
from tacit.settings import Component, Training

SIZES = {"east": 200, "north": 100, "west": 100}
TERMS = Terms("wards", "f" * 64, "fedavg")
TRAINING = Training(rounds=3, local_steps=1, batch_size="full", learning_rate=0.5)
PRIVACY = RecordPrivacy("record", epsilon=2.0, delta=1e-5, clipping_norm=1.0)
FEDAVG = Component("fedavg", "flwr.serverapp.strategy.FedAvg")
WIDE = Limits(8.0, 1e-4, 0.0, 0, False)


class Sites:
    """Sites that answer as a test wants; every question is kept."""

    def __init__(self, **say):
        self.asked = []
        self.say = say

    def __call__(self, message, context):
        site = context.node_config["site"]
        action = message.metadata.message_type.removeprefix("query.")
        self.asked.append((action, site, dict(message.content[CONFIG])))
        answer = self.say.get(f"{site}_{action}")
        if isinstance(answer, Reason | str):
            return Message(Error(1001, str(answer)), reply_to=message)
        if action == "enrol":
            stated = answer or {"name": site, **WIDE.to_config()}
            return Message(RecordDict({SITE: ConfigRecord(stated)}), reply_to=message)
        record = ConfigRecord({"count": 2, "head": "a" * 64})
        return Message(RecordDict({LEDGER: record} if answer is None else {}), reply_to=message)

    def questions(self, action):
        return {site: config for asked, site, config in self.asked if asked == action}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def of(cache):
    """A run among sites of which some are there."""

    def make(sites, least=3, there=None, kept=None, plan=None):
        kept = [] if kept is None else kept
        grid = LocalGrid(SIZES, loop_engine(sites))
        heard = []
        present = set(SIZES) if there is None else there

        def planner(limits):
            sizes = {site: SIZES[site] for site in limits}
            return plan_run(
                "run-1", "wards", "f" * 64, sizes, TRAINING, PRIVACY, FEDAVG, cache, 10, limits
            )

        made = Joining(
            grid=grid,
            names=grid.names,
            terms=TERMS,
            training=TRAINING,
            privacy=PRIVACY,
            planner=planner,
            least=least,
            present=lambda: frozenset(present),
            heard=lambda joined, refused: heard.append((sorted(joined), dict(refused))),
            keep=kept.append,
            plan=plan,
        )
        return made, heard

    return make


def test_every_site_that_is_there_is_invited_and_reserves_its_plan(of):
    sites = Sites()
    run, heard = of(sites)
    run.gather(0.0)
    assert sites.questions("enrol") == dict.fromkeys(SIZES, TERMS.to_config())
    plan = run.planned()
    for site, config in sites.questions("reserve").items():
        asked = RunRequest.from_config(config)
        assert (asked.terms, asked.plan, asked.epsilon) == (TERMS, plan.sites[site], 2.0)
    assert heard == [(sorted(SIZES), {})]
    assert set(run.names_there().values()) == set(SIZES)


def test_nobody_is_asked_twice(of):
    sites = Sites()
    run, _ = of(sites)
    run.gather(0.0)
    before = list(sites.asked)
    run.welcome()
    run.gather(0.0)
    assert sites.asked == before


def test_who_comes_late_gets_a_plan_and_the_others_keep_theirs(of):
    sites, there = Sites(), {"east"}
    run, heard = of(sites, least=1, there=there)
    run.gather(0.0)
    first = run.planned()
    assert set(first.sites) == {"east"}
    there.add("west")
    run.welcome()
    assert set(run.planned().sites) == {"east", "west"}
    assert run.planned().sites["east"] == first.sites["east"]
    assert heard[-1] == (["west"], {})


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        ({"west_enrol": Reason.STRATEGY_NOT_ALLOWED}, "strategy_not_allowed"),
        ({"west_enrol": "rows 7 and 9 are odd"}, "malformed"),
        ({"west_enrol": {"name": "west"}}, "malformed"),
        ({"west_enrol": {"name": "east", **WIDE.to_config()}}, "malformed"),
        ({"west_enrol": {"name": "west", **WIDE.to_config(), "mean": 0.7}}, "malformed"),
        (
            {"west_enrol": {"name": "west", **replace(WIDE, most_rounds=2).to_config()}},
            "too_many_rounds",
        ),
        ({"west_enrol": {"name": "west", **replace(WIDE, delta=1e-6).to_config()}}, "budget"),
        ({"west_reserve": Reason.BUDGET}, "budget"),
        ({"west_reserve": {"no": "receipt"}}, "malformed"),
    ],
)
def test_who_does_not_fit_is_left_out_with_a_known_reason(of, say, reason):
    run, heard = of(Sites(**say), least=2)
    run.gather(0.0)
    assert set(run.planned().sites) == {"east", "north"}
    assert heard == [(["east", "north"], {"west": reason})]
    strict, _ = of(Sites(**say), least=3)
    with pytest.raises(TooFewSitesError, match=rf"1 of 3 sites .*west \({reason}\)"):
        strict.gather(0.0)


def test_a_site_that_cannot_answer_now_is_asked_again(of, monkeypatch):
    sites = Sites(west_reserve=Reason.NOT_AVAILABLE)
    run, _ = of(sites, least=3)
    with pytest.raises(TooFewSitesError, match=r"missing: west \(not_available\)"):
        run.gather(0.0)
    assert run.refused == {}
    sites.say.clear()
    run.welcome()
    assert "west" not in run.limits, "it was left in peace for a while"
    monkeypatch.setattr(run, "resting", dict.fromkeys(run.resting, 0.0))
    run.gather(0.0)
    assert set(run.names_there().values()) == set(SIZES)
    assert run.resting == {}


def test_who_is_waited_for_is_said_once(of, caplog):
    run, _ = of(Sites(), least=3, there={"east", "west"})
    with caplog.at_level("INFO"), pytest.raises(TooFewSitesError):
        run.gather(0.05)
    assert [line for line in caplog.messages if "waiting" in line] == ["waiting for north"]


def test_who_is_away_is_waited_for_and_named(of):
    run, _ = of(Sites(), least=3, there={"east", "west"})
    with pytest.raises(TooFewSitesError, match=r"2 sites are there.*north \(no_reply\)") as error:
        run.gather(0.0)
    assert error.value.reasons == {"north": "no_reply"}


def test_a_site_that_left_after_joining_is_waited_for(of):
    there = set(SIZES)
    run, _ = of(Sites(), there=there)
    run.gather(0.0)
    there.discard("north")
    with pytest.raises(TooFewSitesError, match=r"north \(no_reply\)"):
        run.gather(0.0)


def test_a_smaller_budget_of_a_site_is_planned_for(of):
    stated = {"name": "west", **replace(WIDE, epsilon=0.5).to_config()}
    sites = Sites(west_enrol=stated)
    run, _ = of(sites)
    run.gather(0.0)
    assert dict(run.planned().epsilons) == {"east": 2.0, "north": 2.0, "west": 0.5}
    assert sites.questions("reserve")["west"]["epsilon"] == 0.5


def test_the_end_is_told_to_those_who_joined_and_are_there(of):
    sites, there = Sites(west_enrol=Reason.DOMAIN_DIFFERS), set(SIZES)
    run, _ = of(sites, least=2, there=there)
    run.gather(0.0)
    there.discard("north")
    run.end("run-1")
    assert sites.questions("end") == {"east": {"run": "run-1"}}


def test_without_a_site_there_is_no_plan(of):
    run, _ = of(Sites(), there=set())
    with pytest.raises(TooFewSitesError, match="no site takes part"):
        run.planned()


def test_what_was_planned_before_a_restart_stands_also_for_those_who_do_not_come_back(of):
    stated = {"name": "west", **replace(WIDE, epsilon=0.5).to_config()}
    kept = []
    before, _ = of(Sites(west_enrol=stated), kept=kept)
    before.gather(0.0)
    assert kept == [before.planned()]
    # East is away now, and west would allow more.
    sites = Sites()
    after, _ = of(sites, least=2, there={"north", "west"}, plan=kept[-1])
    after.gather(0.0)
    assert after.planned() == replace(before.planned(), min_replies=2)
    assert sites.questions("reserve")["west"]["epsilon"] == 0.5
    assert set(after.names_there().values()) == {"north", "west"}

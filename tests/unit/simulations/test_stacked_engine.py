"""The stacked engine answers a cohort as its sites would one after the other."""

import json
import logging
import sqlite3
from contextlib import closing, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message, RecordDict
from site_example import (
    ROUND,
    RUN,
    WatchedRows,
    ask,
    kinds,
    make_site,
    open_ledger,
    query,
    steps_spent,
)
from torch import nn

from client.app import build_client_app
from client.site import seeded_streams
from simulations import engine, stacked
from simulations.engine import CohortEngine
from simulations.grid import loop_engine
from simulations.learners import OneByOne
from simulations.stacked import AllAtOnce, stacked_learner
from strategies.records import from_record
from tacit.domains.domain import Examples
from tacit.learning.local import Compute
from tacit.messages import ARRAYS, ENROL, SITE
from tacit.privacy.book import Fixed
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger_page import Page
from tacit.privacy.policy import Reason, steps_of

NAMES = ("east", "north", "west")


class Three:
    """Three sites with rows and ledgers of their own, and a model that they share."""

    together = staticmethod(nullcontext)

    def __init__(self, folder, model=None):
        self.sites = {}
        for number, name in enumerate(NAMES):
            (folder / name).mkdir(parents=True)
            generator = torch.Generator().manual_seed(number)
            rows = Examples(
                torch.rand(9 + number, 3, generator=generator),
                torch.randint(2, (9 + number,), generator=generator),
            )
            site = make_site(self.ledger(folder, name), seed=4, data=rows)
            model = model or site.model
            self.sites[name] = replace(
                site, name=name, model=model, streams=seeded_streams(4, name)
            )
        self.loop = loop_engine(
            build_client_app(lambda context: self.sites[context.node_config["site"]])
        )
        learner = stacked_learner(model, (3,), Compute(torch.device("cpu")), {}, private=True)
        self.learner = learner
        self.stacked = CohortEngine(self.loop, self.sites, self.together, learner)

    def ledger(self, folder, name):
        return open_ledger(folder / name)

    def cohort(self, *messages):
        messages = messages or [ask() for _ in NAMES]
        return list(zip(messages, NAMES, strict=False))

    def close(self):
        for site in self.sites.values():
            site.ledger.close()


class Shared(Three):
    """The same with one ledger for all."""

    def ledger(self, folder, name):
        if name == NAMES[0]:
            always = Fixed("wards", Unit.RECORD, Relation.ADD_OR_REMOVE_ONE, 1e-5)
            self.shared = CohortLedger.open(folder / "sites.sqlite", always)
            self.together = self.shared.together
        return Page(self.shared, name)

    def rows(self):
        """What is on disk: each row's kind, and how many sites it names."""
        with closing(sqlite3.connect(self.shared.path)) as database:
            rows = [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]
        return [(row["kind"].split("-")[0], len(row.get("sites", ()))) for row in rows]

    def close(self):
        self.shared.close()


@pytest.fixture
def shared(tmp_path):
    made = Shared(tmp_path)
    yield made
    made.close()


@pytest.fixture
def three(tmp_path):
    made = []

    def make():
        made.append(Three(tmp_path / f"sites{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def stop_in_step_two(monkeypatch, stop):
    """Stop a cohort's training from outside when its second step begins."""
    honest = stacked.train_cohort

    def stopped(sums_of, rows, members, starts, microbatch, on_step):
        def begin(step):
            on_step(step)
            if step == 2:
                raise stop

        return honest(sums_of, rows, members, starts, microbatch, begin)

    monkeypatch.setattr(stacked, "train_cohort", stopped)


def weights(reply):
    assert not reply.has_error(), reply.error
    return from_record(reply.content.array_records[ARRAYS])


def test_replies_are_those_of_the_loop(three):
    one, other = three(), three()
    assert isinstance(one.learner, AllAtOnce)
    together, alone = one.stacked(one.cohort()), other.loop(other.cohort())
    for found, expected in zip(together, alone, strict=True):
        for name, array in weights(expected).items():
            np.testing.assert_allclose(weights(found)[name], array, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(*(weights(reply)["head.weight"] for reply in together[:2]))
    for name in NAMES:
        assert kinds(one.sites[name].ledger) == kinds(other.sites[name].ledger)
        assert steps_spent(one.sites[name].ledger) == ROUND.steps


def test_a_repeated_request_gets_the_stored_reply_and_trains_nothing(three, monkeypatch):
    sites = three()
    before = sites.stacked(sites.cohort())
    monkeypatch.setattr(stacked, "train_cohort", None)
    again = sites.stacked(sites.cohort())
    for one, other in zip(before, again, strict=True):
        assert weights(one).keys() == weights(other).keys()
        assert all(np.array_equal(weights(one)[k], weights(other)[k]) for k in weights(one))


def test_a_refusal_is_one_sites_and_the_others_train(three):
    sites = three()
    wrong = ask(model="e" * 64)
    replies = sites.stacked(sites.cohort(ask(), wrong, ask()))
    assert replies[1].error.reason == Reason.MODEL_DIFFERS
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert kinds(sites.sites["north"].ledger) == ["opened", "reserved"]


def test_other_questions_are_answered_by_the_app(three):
    sites = three()
    replies = sites.stacked(sites.cohort(query(ENROL), ask(), query(ENROL)))
    assert replies[0].content.config_records[SITE]["name"] == "east"
    assert weights(replies[1])
    assert replies[2].content.config_records[SITE]["name"] == "west"


def test_what_breaks_in_one_sites_training_harms_that_site_alone(three, monkeypatch, caplog):
    sites = three()
    honest = sites.sites["north"].streams
    broken = {"on": True}

    def streams(number, purpose):
        if purpose == "coins" and broken["on"]:
            raise RuntimeError("no coins here")
        return honest(number, purpose)

    sites.sites["north"] = replace(sites.sites["north"], streams=streams)
    with caplog.at_level(logging.WARNING):
        replies = sites.stacked(sites.cohort())
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.reason == Reason.NOT_AVAILABLE
    assert "one site after another: no coins here" in caplog.text
    other = three()
    alone = other.loop(other.cohort())
    assert np.array_equal(weights(replies[0])["head.weight"], weights(alone[0])["head.weight"])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_gives_every_site_the_steps_back_that_never_began(three, monkeypatch, stop):
    sites = three()
    stop_in_step_two(monkeypatch, stop)
    with pytest.raises(stop):
        sites.stacked(sites.cohort())
    for name in NAMES:
        assert kinds(sites.sites[name].ledger)[-1] == "settled"
        assert steps_spent(sites.sites[name].ledger) == 2


def test_rows_are_touched_only_after_their_sites_charge(three):
    sites = three()
    watched = {}
    for name in NAMES:
        watched[name] = WatchedRows(sites.sites[name].ledger.path)
        sites.sites[name] = replace(sites.sites[name], data=watched[name])
    sites.stacked(sites.cohort(ask(), ask(model="e" * 64), ask()))
    assert watched["north"].seen == []
    for name in ("east", "west"):
        assert watched[name].seen
        assert all("charged" in seen for seen in watched[name].seen)


def test_a_model_that_cannot_be_stacked_goes_by_the_loop_and_the_log_says_why(tmp_path, caplog):
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.head = nn.Dropout(0.2), nn.Linear(3, 2)

        def forward(self, features):
            return self.head(self.drop(features))

    with caplog.at_level(logging.INFO):
        sites = Three(tmp_path, model=Dropped())
    assert isinstance(sites.learner, OneByOne)
    assert "engine: drop (Dropout) draws for each site by itself" in caplog.text
    assert all(isinstance(reply, Message) for reply in sites.stacked(sites.cohort()))
    sites.close()


def test_a_cohort_that_shares_a_ledger_is_charged_in_one_row_before_it_trains(shared, monkeypatch):
    before = shared.rows()
    honest, seen = stacked.train_cohort, []

    def watched(*arguments):
        seen.append(shared.rows())
        return honest(*arguments)

    monkeypatch.setattr(stacked, "train_cohort", watched)
    replies = shared.stacked(shared.cohort())
    assert seen == [[*before, ("charged", 3)]]
    assert shared.rows() == seen[0]
    assert all(weights(reply) for reply in replies)
    for name in NAMES:
        assert shared.shared.spent(RUN, name) == [ROUND.event()]


def test_one_refused_site_is_not_charged_with_the_others(shared):
    replies = shared.stacked(shared.cohort(ask(), ask(model="e" * 64), ask()))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert shared.rows()[-1] == ("charged", 2)
    assert shared.shared.spent(RUN, "north") == []


def test_replies_are_the_same_whoever_keeps_the_ledger(shared, three):
    own = three()
    for one, other in zip(shared.stacked(shared.cohort()), own.stacked(own.cohort()), strict=True):
        assert all(np.array_equal(weights(one)[k], weights(other)[k]) for k in weights(one))


def test_what_leaves_is_not_what_is_held(shared):
    """Nothing that later changes stands in a reply: arrays are not encoded in one process."""
    replies = shared.stacked(shared.cohort())
    before = [{k: v.copy() for k, v in weights(reply).items()} for reply in replies]
    shared.stacked(shared.cohort(*(ask(round=2) for _ in NAMES)))
    for reply, kept in zip(replies, before, strict=True):
        assert all(np.array_equal(weights(reply)[k], kept[k]) for k in kept)


def test_a_request_that_comes_again_trains_again_and_costs_no_more(shared):
    """Its noise is seeded: the same bits come of it, and no new ε."""
    before = shared.stacked(shared.cohort())
    again = shared.stacked(shared.cohort())
    for one, other in zip(before, again, strict=True):
        assert all(np.array_equal(weights(one)[k], weights(other)[k]) for k in weights(one))
    assert shared.shared.spent(RUN, "north") == [ROUND.event()]


def test_a_stop_is_one_row_too(shared, monkeypatch):
    stop_in_step_two(monkeypatch, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        shared.stacked(shared.cohort())
    assert shared.rows()[-2:] == [("charged", 3), ("settled", 3)]
    assert steps_of(shared.shared.spent(RUN, "north")[0]) == 2


def test_sites_that_were_sent_the_same_have_it_read_once(shared, monkeypatch):
    read = []
    honest = engine.Arrays
    monkeypatch.setattr(engine, "Arrays", lambda record: read.append(1) or honest(record))
    one = ask()
    for message in (others := [ask(), ask()]):
        message.content = RecordDict(dict(one.content))
    shared.stacked(shared.cohort(one, *others))
    assert len(read) == 1
    shared.stacked(shared.cohort(*(ask(round=2) for _ in NAMES)))
    assert len(read) == 4

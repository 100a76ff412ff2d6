"""The stacked engine answers a cohort as its sites would one after the other."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message
from site_example import (
    ROUND,
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
from simulations import stacked
from simulations.flower import site_context
from simulations.grid import loop_engine
from simulations.stacked import StackedEngine, stacked_engine
from strategies.records import from_record
from tacit.domains.domain import Examples
from tacit.messages import ARRAYS, ENROL, SITE
from tacit.privacy.policy import Reason

NAMES = ("east", "north", "west")


class Three:
    """Three sites with rows and ledgers of their own, and a model that they share."""

    def __init__(self, folder, model=None):
        self.sites = {}
        for number, name in enumerate(NAMES):
            (folder / name).mkdir(parents=True)
            generator = torch.Generator().manual_seed(number)
            rows = Examples(
                torch.rand(9 + number, 3, generator=generator),
                torch.randint(2, (9 + number,), generator=generator),
            )
            site = make_site(open_ledger(folder / name), seed=4, data=rows)
            model = model or site.model
            self.sites[name] = replace(
                site, name=name, model=model, streams=seeded_streams(4, name)
            )
        self.app = build_client_app(lambda context: self.sites[context.node_config["site"]])
        self.stacked = stacked_engine(self.app, self.sites, private=True)
        self.loop = loop_engine(self.app)

    def cohort(self, *messages):
        messages = messages or [ask() for _ in NAMES]
        return [
            (message, site_context(2, name)) for message, name in zip(messages, NAMES, strict=False)
        ]

    def close(self):
        for site in self.sites.values():
            site.ledger.close()


@pytest.fixture
def three(tmp_path):
    made = []

    def make():
        made.append(Three(tmp_path / f"sites{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def weights(reply):
    assert not reply.has_error(), reply.error
    return from_record(reply.content.array_records[ARRAYS])


def test_replies_are_those_of_the_loop(three):
    one, other = three(), three()
    assert isinstance(one.stacked, StackedEngine)
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
    honest = stacked.train_cohort

    def stopped(sums_of, rows, members, starts, microbatch, on_step):
        def begin(step):
            on_step(step)
            if step == 2:
                raise stop

        return honest(sums_of, rows, members, starts, microbatch, begin)

    monkeypatch.setattr(stacked, "train_cohort", stopped)
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
    assert not isinstance(sites.stacked, StackedEngine)
    assert "engine: drop (Dropout) draws for each site by itself" in caplog.text
    assert all(isinstance(reply, Message) for reply in sites.stacked(sites.cohort()))
    sites.close()

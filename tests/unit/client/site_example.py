"""One small site with a ledger on disk, and the messages that it is asked with."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from client.allowed import Allowed
from client.app import build_client_app
from client.site import Site, seeded_streams, system_streams
from simulations.flower import become_server, name_message, site_context
from strategies.records import to_record
from tacit.domains.domain import Examples
from tacit.learning.local import Compute
from tacit.learning.plan import RoundPlan
from tacit.messages import ARRAYS, CONFIG, Terms, TrainRequest
from tacit.models.linear import LinearModel
from tacit.privacy.chain import NO_ROWS, Receipt
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Plan, Policy, steps_of

RUN = "run-1"
ROUNDS = 3
MODEL = "f" * 64
ROUND = RoundPlan(
    steps=3,
    sampling_rate=0.5,
    divisor=8.0,
    learning_rate=0.1,
    clipping_norm=1.0,
    noise_multiplier=20.0,
)
POLICY = Policy(epsilon_per_run=1.0, lifetime_epsilon=1.0, delta_per_run=1e-5)
ROWS = Examples(
    torch.linspace(-1, 1, 48).reshape(16, 3), torch.tensor([0, 1] * 8, dtype=torch.int64)
)


def open_ledger(folder):
    return Ledger.open(
        folder / "north.sqlite",
        data_set="wards/north",
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=1e-5,
    )


def make_site(ledger, *, seed=None, data=ROWS):
    """A site that has reserved ROUNDS rounds of ROUND; with a seed its noise is predictable."""
    policy = replace(POLICY, test_data=seed is not None)
    plan = Plan(RUN, ROUND.event(), ROUNDS, 1.0, 1e-5, predictable=seed is not None)
    ledger.reserve(plan, policy)
    return Site(
        name="north",
        data=data,
        model=LinearModel(3, 2),
        allowed=Allowed("wards", MODEL),
        ledger=ledger,
        policy=policy,
        streams=system_streams() if seed is None else seeded_streams(seed, "north"),
        predictable=seed is not None,
        compute=Compute(torch.device("cpu")),
    )


TERMS = Terms("wards", MODEL, "fedavg")


def zero_weights():
    return {"head.weight": np.zeros((2, 3), np.float32), "head.bias": np.zeros(2, np.float32)}


def ask(
    *, plan=ROUND, round=1, run=RUN, model=MODEL, receipt=None, weights=None, arrays=None, **more
):
    """A training request as the coordinator makes it; `more` changes or adds raw keys."""
    become_server()
    receipt = receipt or Receipt(0, NO_ROWS)
    config = TrainRequest(run, round, ROUNDS, model, plan, receipt).to_config() | more
    content = RecordDict(
        {
            ARRAYS: arrays or to_record(weights or zero_weights()),
            CONFIG: ConfigRecord({k: v for k, v in config.items() if v is not None}),
        }
    )
    message = Message(content, 2, "train")
    name_message(message, "message-1")
    return message


def query(action, config=None):
    """A question of the coordinator before the first round."""
    become_server()
    content = RecordDict({} if config is None else {CONFIG: ConfigRecord(config)})
    message = Message(content, 2, f"query.{action}")
    name_message(message, "message-1")
    return message


def app_of(site):
    """The site's ClientApp as a function from message to reply."""
    app = build_client_app(lambda context: site)
    return lambda message: app(message, site_context(2, site.name))


def bodies(ledger):
    return [json.loads(row.body) for row in ledger.rows()]


def kinds(ledger):
    return [body["kind"].split("/")[0] for body in bodies(ledger)]


def payload(reply):
    """The bytes of every array of a reply, by name."""
    return {name: array.data for name, array in reply.content.array_records[ARRAYS].items()}


def steps_spent(ledger):
    return sum(steps_of(event) for event in ledger.spent_events(RUN))


class WatchedRows:
    """The rows of ROWS; every touch notes what a connection of its own sees in the ledger."""

    def __init__(self, path):
        self._path = path
        self.seen = []

    def _look(self):
        with closing(sqlite3.connect(self._path)) as database:
            rows = database.execute("SELECT body FROM rows ORDER BY number").fetchall()
        self.seen.append([json.loads(body)["kind"].split("/")[0] for (body,) in rows])

    def __len__(self):
        self._look()
        return len(ROWS)

    @property
    def features(self):
        self._look()
        return ROWS.features

    @property
    def targets(self):
        self._look()
        return ROWS.targets

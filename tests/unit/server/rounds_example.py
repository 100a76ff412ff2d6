"""A coordinator with three sites that answer what the test wants."""

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

from server.rounds import run_rounds
from server.run_plan import RunPlan, State
from simulations.grid import LocalGrid, loop_engine
from strategies.build import build_strategy
from strategies.records import from_record, to_record
from tacit.learning.plan import RoundPlan
from tacit.messages import ARRAYS, CONFIG, LEDGER, Terms
from tacit.settings import Component

SIZES = {"east": 30, "north": 10, "west": 60}
ROUND = RoundPlan(2, 1.0, 10.0, 0.5, clipping_norm=1.0, noise_multiplier=3.0)
FEDAVG = Component("fedavg", "flwr.serverapp.strategy.FedAvg")
FEDADAM = Component(
    "fedadam",
    "flwr.serverapp.strategy.FedAdam",
    {"eta": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001},
)


def run_plan(rounds=3, min_replies=3):
    return RunPlan(
        run="run-1",
        rounds=rounds,
        terms=Terms("wards", "f" * 64, "fedavg"),
        sites=dict.fromkeys(SIZES, ROUND),
        declared_sizes=SIZES,
        epsilons=dict.fromkeys(SIZES, 1.0),
        delta=1e-5,
        min_replies=min_replies,
    )


def start_weights():
    return {"w": np.array([[0.5, -1.0]], np.float32), "b": np.array([2.0], np.float32)}


def update_of(site, number, weights):
    """What a site makes of weights: a pull to a place of its own, in fp32."""
    place = np.float32(sum(site.encode()) % 7 + number)
    return {name: np.float32(0.75) * array + place for name, array in weights.items()}


class Sites:
    """Sites that keep every request; `say` may change a reply, or be None for silence."""

    def __init__(self, say=None):
        self.requests = []
        self._say = say or (lambda site, number, reply: reply)

    def __call__(self, message, context):
        site = context.node_config["site"]
        config = dict(message.content[CONFIG])
        weights = from_record(message.content[ARRAYS])
        self.requests.append((site, config, weights))
        number = config["server-round"]
        content = RecordDict(
            {
                ARRAYS: to_record(update_of(site, number, weights)),
                LEDGER: ConfigRecord({"count": 2 * number, "head": f"{number:064x}"}),
            }
        )
        return self._say(site, number, Message(content, reply_to=message))


class LossyGrid(LocalGrid):
    """A grid that loses replies."""

    def __init__(self, app, lost):
        super().__init__(SIZES, loop_engine(app))
        self._lost = lost

    def pull_messages(self, message_ids):
        found = super().pull_messages(message_ids)
        return [m for m in found if not self._lost(self.names[m.metadata.src_node_id])]


def refusing(site_refusing, reason="budget", from_round=1):
    def say(site, number, reply):
        if site == site_refusing and number >= from_round:
            return refused(reply, reason)
        return reply

    return say


def refused(reply, reason):
    """The reply that a site's door builds for a refusal."""
    vars(reply)["_content"] = None
    reply.error = Error(1001, reason)
    return reply


def boasting(site, number, reply):
    """A reply that claims a size of its own and more metrics."""
    claimed = 10**6 if site == "north" else 1
    content = dict(reply.content) | {
        "metrics": MetricRecord({"num-examples": claimed, "loss": 0.5})
    }
    reply.content = RecordDict(content)
    return reply


def run(app, component=FEDAVG, plan=None, state=None, grid=None):
    """Run the rounds that are left; gives the last state, and every state and outcome."""
    grid = grid or LocalGrid(SIZES, loop_engine(app))
    seen = []
    last = run_rounds(
        grid,
        build_strategy(component),
        plan or run_plan(),
        grid.names,
        state or State(0, start_weights()),
        lambda state, outcome: seen.append((state, outcome)),
    )
    return last, seen

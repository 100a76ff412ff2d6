"""A coordinator with seven sites that answer what the test wants, and every offered strategy."""

import numpy as np
import yaml
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from commands.options import options
from server.rounds import run_rounds
from server.run_plan import RunPlan, State
from simulations.grid import LocalGrid, loop_engine
from strategies.build import build_strategy
from strategies.records import from_record, to_record
from tacit.learning.plan import RoundPlan
from tacit.messages import ARRAYS, CONFIG, LEDGER, METRICS, WEIGHT, Terms
from tacit.settings import Component

OPTIONS = sorted(options()["strategy"])
SIZES = {f"site-{i}": 10 * (i + 1) for i in range(7)}
ROUND = RoundPlan(2, 1.0, 10.0, 0.5, clipping_norm=1.0, noise_multiplier=3.0)


def offered(name, **changed):
    """The strategy that ``strategy=NAME`` gives, some options changed."""
    found = yaml.safe_load(options()["strategy"][name].read_text(encoding="utf-8"))
    target = found.pop("_target_")
    return Component(found.pop("name"), target, found | changed)


def flower(name, **given):
    return Component(name.lower(), f"flwr.serverapp.strategy.{name}", given)


def start_weights():
    """Three arrays, not in the order of their names, one without dimensions."""
    return {
        "w": np.array([[0.5, -1.0], [2.0, 0.25]], np.float32),
        "scale": np.array(1.5, np.float32),
        "b": np.array([2.0, -0.5, 0.0, 1.0], np.float32),
    }


def update_of(site, number, weights):
    """What a site makes of weights in a round: a shrunk copy and a step of its own."""
    random = np.random.default_rng([int(site.removeprefix("site-")), number])
    return {
        name: np.asarray(0.9 * array + 0.3 * random.standard_normal(array.shape), np.float32)
        for name, array in weights.items()
    }


def run(component, rounds, state=None, update=update_of):
    """Run the rounds that are left; gives the state after each."""

    def app(message, context):
        weights = from_record(message.content[ARRAYS])
        number = message.content[CONFIG]["server-round"]
        update_ = update(context.node_config["site"], number, weights)
        ledger = ConfigRecord({"count": 2 * number, "head": f"{number:064x}"})
        return Message(RecordDict({ARRAYS: to_record(update_), LEDGER: ledger}), reply_to=message)

    grid = LocalGrid(SIZES, loop_engine(app))
    plan = RunPlan(
        run="run-1",
        rounds=rounds,
        terms=Terms("wards", "f" * 64, "fedavg"),
        sites=dict.fromkeys(SIZES, ROUND),
        declared_sizes=SIZES,
        epsilons=dict.fromkeys(SIZES, 1.0),
        delta=1e-5,
        min_replies=len(SIZES),
    )
    states = []
    run_rounds(
        grid,
        build_strategy(component),
        plan,
        grid.names,
        state or State(0, start_weights()),
        lambda state, outcome: states.append(state),
    )
    return states


def combined(component, models, sizes=None):
    """What a new strategy makes of one round of replies, as arrays by name."""
    strategy = build_strategy(component)
    sizes = sizes or [1] * len(models)
    nobody = LocalGrid(["site"], loop_engine(lambda message, context: message))
    asked = strategy.configure_train(1, to_record(models[0]), ConfigRecord(), nobody)
    replies = []
    for model, size in zip(models, sizes, strict=True):
        content = RecordDict({ARRAYS: to_record(model), METRICS: MetricRecord({WEIGHT: size})})
        replies.append(Message(content, reply_to=next(iter(asked))))
    record, _ = strategy.aggregate_train(1, replies)
    return from_record(record)


def flat(model):
    return np.concatenate([np.float64(array).ravel() for array in model.values()])


def same_bits(one, two):
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and one[name].tobytes() == two[name].tobytes()
        for name in one
    )

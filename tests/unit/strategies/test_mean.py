"""The mean with less memory: Flower's to the bit, and it lets go of what it has combined."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.grid import LocalGrid, loop_engine
from strategies.mean import FedAvg
from strategies.records import from_record, to_record
from tacit.errors import TacitError
from tacit.messages import ARRAYS, METRICS, WEIGHT


def replies_of(models, sizes):
    nobody = LocalGrid(["site"], loop_engine(lambda message, context: message))
    start = flower.FedAvg(min_available_nodes=1, min_train_nodes=1)
    (asked,) = start.configure_train(1, to_record(models[0]), ConfigRecord(), nobody)
    return [
        Message(
            RecordDict({ARRAYS: to_record(model), METRICS: MetricRecord({WEIGHT: size})}),
            reply_to=asked,
        )
        for model, size in zip(models, sizes, strict=True)
    ]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_the_mean_is_flowers_to_the_bit(seed, sizes):
    random = np.random.default_rng(seed)
    models = [
        {
            "w": random.standard_normal((3, 5)).astype(np.float32),
            "scalar": np.array(random.standard_normal(), np.float32),
        }
        for _ in sizes
    ]
    theirs, _ = flower.FedAvg().aggregate_train(1, replies_of(models, sizes))
    ours, _ = FedAvg().aggregate_train(1, replies_of(models, sizes))
    assert list(ours) == list(theirs)
    for name, array in from_record(theirs).items():
        assert from_record(ours)[name].tobytes() == array.tobytes()


def test_what_was_combined_is_let_go():
    replies = replies_of([{"w": np.ones(3, np.float32)}] * 2, [1, 2])
    FedAvg().aggregate_train(1, replies)
    assert [message.content[ARRAYS] for message in replies] == [ArrayRecord()] * 2


def test_nobody_replied():
    assert FedAvg().aggregate_train(1, []) == (None, None)


def test_other_weights_than_the_first_sites_are_found():
    with pytest.raises(TacitError, match="same weights"):
        FedAvg().aggregate_train(
            1, replies_of([{"w": np.ones(1, np.float32)}, {"v": np.ones(1, np.float32)}], [1, 1])
        )

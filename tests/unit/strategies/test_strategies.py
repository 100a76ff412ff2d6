"""Flower's strategies by name, what they remember, and weights as records."""

import importlib
import logging
import os

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAdam, FedAvg

import strategies
from simulations.grid import LocalGrid, loop_engine
from strategies.build import build_strategy
from strategies.memory import recall, remembered
from strategies.records import from_record, to_record
from tacit.errors import ConfigurationError, RunDirectoryError
from tacit.settings import Component


def component(name, **options):
    return Component(name.lower(), f"flwr.serverapp.strategy.{name}", options)


@pytest.mark.parametrize("sites", [1, 4])
@pytest.mark.parametrize("name", ["FedAvg", "FedAdam"])
def test_a_strategy_asks_the_whole_cohort(name, sites):
    strategy = build_strategy(component(name))
    grid = LocalGrid([f"site-{i}" for i in range(sites)], loop_engine(lambda m, c: m))
    record = to_record({"w": np.zeros(2, np.float32)})
    messages = strategy.configure_train(1, record, ConfigRecord(), grid)
    asked = [message.metadata.dst_node_id for message in messages]
    assert sorted(asked) == sorted(grid.names)


def test_options_reach_the_strategy():
    strategy = build_strategy(component("FedAdam", eta=0.25, tau=0.5))
    assert isinstance(strategy, FedAdam)
    assert (strategy.eta, strategy.tau) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (component("FedNone"), "strategy._target_=flwr.serverapp.strategy.FedNone"),
        (component("FedAvg", etta=1), "etta"),
        (Component("dict", "builtins.dict"), "is no Flower strategy"),
    ],
)
def test_what_is_no_strategy_is_refused(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        build_strategy(wrong)


WEIGHTS = {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}


def moments(value):
    return {name: np.full_like(array, value) for name, array in WEIGHTS.items()}


def test_only_moments_are_remembered():
    strategy = FedAdam()
    strategy.current_arrays = moments(1)
    strategy.m_t, strategy.v_t = moments(2), moments(3)
    strategy.notes = {"w": 1}
    memory = remembered(strategy, WEIGHTS)
    assert sorted(memory) == ["m_t/b", "m_t/w", "v_t/b", "v_t/w"]
    strategy.m_t["w"][:] = 9
    assert (memory["m_t/w"] == 2).all()


def test_what_is_remembered_is_recalled():
    strategy = FedAdam()
    strategy.m_t, strategy.v_t = moments(2), moments(3)
    fresh = FedAdam()
    recall(fresh, remembered(strategy, WEIGHTS))
    for attribute in ("m_t", "v_t"):
        for name in WEIGHTS:
            np.testing.assert_array_equal(
                getattr(fresh, attribute)[name], getattr(strategy, attribute)[name]
            )


def test_fedavg_has_nothing_to_remember():
    assert remembered(FedAvg(), WEIGHTS) == {}


def test_a_memory_that_a_strategy_has_not_is_refused():
    with pytest.raises(RunDirectoryError, match="'m_t', which FedAvg has not"):
        recall(FedAvg(), {"m_t/w": np.zeros(1)})


def test_weights_travel_bit_for_bit_and_in_order():
    odd = {"w": np.array([[np.float32(2**-149), -0.0]], np.float32), "a": np.zeros((), np.float32)}
    back = from_record(to_record(odd))
    assert list(back) == ["w", "a"]
    for name, array in odd.items():
        assert (back[name].shape, back[name].tobytes()) == (array.shape, array.tobytes())


def test_a_strategys_float64_is_rounded_once():
    record = ArrayRecord({"w": Array(np.array([1 / 3, 1 + 2**-25]))})
    found = from_record(record)["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([1 / 3, 1], np.float32))


@pytest.mark.parametrize(
    "variable", ["FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK", "RAY_USAGE_STATS_ENABLED"]
)
def test_flower_is_told_not_to_phone_home(monkeypatch, variable):
    silent = "1" if "DISABLE" in variable else "0"
    monkeypatch.delenv(variable, raising=False)
    importlib.reload(strategies)
    assert os.environ[variable] == silent
    # An explicit choice is left as it is.
    monkeypatch.setenv(variable, "chosen")
    importlib.reload(strategies)
    assert os.environ[variable] == "chosen"


def test_flower_does_not_tear_the_progress_display():
    assert not logging.getLogger("flwr").isEnabledFor(logging.INFO)

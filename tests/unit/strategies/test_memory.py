"""What strategies remember: every offered one goes on after a checkpoint as if never stopped."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM
from seven_sites import OPTIONS, offered, run, same_bits

import strategies.memory
from server.checkpoint import load_checkpoint, save_checkpoint
from strategies.memory import recall, remembered
from tacit.errors import RunDirectoryError

ROUNDS = 6
FORGETFUL = {"fedadagrad", "fedadam", "fedavgm", "fedyogi"}
"""What goes wrong without its memory."""


def resumed(component, states, stop, folder):
    """Go on after round `stop` with a new strategy and what the disk holds."""
    save_checkpoint(folder, "run-1", states[stop - 1])
    _, state = load_checkpoint(folder)
    return run(component, ROUNDS, state)[-1]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_that_was_stopped_ends_with_the_same_bits(name, tmp_path):
    component = offered(name)
    whole = run(component, ROUNDS)
    for stop in (1, ROUNDS // 2, ROUNDS - 1):
        again = resumed(component, whole, stop, tmp_path)
        assert same_bits(again.weights, whole[-1].weights)
        assert same_bits(again.memory, whole[-1].memory)


@pytest.mark.parametrize("name", OPTIONS)
def test_without_its_memory_it_would_not(name):
    component = offered(name)
    whole = run(component, ROUNDS)
    assert bool(whole[2].memory) == (name in FORGETFUL)
    again = run(component, ROUNDS, replace(whole[2], memory={}))[-1]
    assert same_bits(again.weights, whole[-1].weights) == (name not in FORGETFUL)


def test_a_list_that_is_forgotten_is_found(monkeypatch, tmp_path):
    """Planted: only dictionaries are looked for, and FedAvgM keeps a list."""
    honest = strategies.memory._arrays

    def dictionaries(attribute, value, weights):
        return honest(attribute, value if isinstance(value, dict) else None, weights)

    monkeypatch.setattr(strategies.memory, "_arrays", dictionaries)
    with pytest.raises(AssertionError):
        test_a_run_that_was_stopped_ends_with_the_same_bits("fedavgm", tmp_path)


WEIGHTS = {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}


def moments(value):
    return {name: np.full_like(array, value) for name, array in WEIGHTS.items()}


def test_only_moments_are_remembered():
    strategy = FedAdam()
    strategy.current_arrays = moments(1)
    strategy.m_t, strategy.v_t = moments(2), moments(3)
    strategy.notes = {"w": 1}
    strategy.names = ["w", "b"]
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
        assert same_bits(getattr(fresh, attribute), getattr(strategy, attribute))


def test_a_list_comes_back_in_its_order():
    """More than ten, so that the order of numbers is not that of text."""
    weights = {f"w{i}": np.zeros((), np.float32) for i in range(12)}
    strategy, fresh = FedAvgM(), FedAvgM()
    strategy.momentum_vector = [np.float32(i) for i in range(12)]
    recall(fresh, dict(sorted(remembered(strategy, weights).items())))
    assert [float(array) for array in fresh.momentum_vector] == list(range(12))


def test_a_parameter_with_brackets_is_no_list():
    weights = {"a[0]": np.ones(1, np.float32), "m[1]/x": np.ones(1, np.float32)}
    strategy, fresh = FedAdam(), FedAdam()
    strategy.m_t = {name: array * 2 for name, array in weights.items()}
    recall(fresh, remembered(strategy, weights))
    assert same_bits(fresh.m_t, strategy.m_t)


def test_fedavg_has_nothing_to_remember():
    assert remembered(FedAvg(), WEIGHTS) == {}


@pytest.mark.parametrize("key", ["m_t/w", "momentum_vector[0]"])
def test_a_memory_that_a_strategy_has_not_is_refused(key):
    attribute = key.partition("/")[0].partition("[")[0]
    with pytest.raises(RunDirectoryError, match=f"'{attribute}', which FedAvg has not"):
        recall(FedAvg(), {key: np.zeros(1)})

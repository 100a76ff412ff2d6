"""A round that fails is tried again, ever later, for as long as the coordinator waits."""

from types import SimpleNamespace

import pytest

from server import deployed_rounds as module
from server.deployed_rounds import FIRST_PAUSE, LONGEST_PAUSE, Tries


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_each_try_comes_later_up_to_a_longest_pause(clock):
    tries = Tries(3600.0)
    pauses = [tries.failed(4) for _ in range(9)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE == max(pauses)


def test_another_round_begins_anew(clock):
    tries = Tries(10.0)
    tries.failed(4)
    clock.now += 60
    assert tries.failed(5) == FIRST_PAUSE


def test_there_is_an_end_to_it(clock):
    tries = Tries(10.0)
    tries.failed(4)
    clock.now += 10
    assert tries.failed(4) is not None
    clock.now += 0.1
    assert tries.failed(4) is None

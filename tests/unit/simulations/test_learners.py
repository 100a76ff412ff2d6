"""Which learner is faster is found once, on real work, and whose results leave is the one kept."""

import logging
from dataclasses import dataclass

import pytest

from simulations import learners
from simulations.learners import Faster
from tacit.settings import EngineKind


@dataclass(frozen=True)
class Asked:
    canaries: str | None


TASK = Asked("canaries")


class Timed:
    """A learner that takes so many seconds by a clock of its own."""

    def __init__(self, clock, seconds, says):
        self.clock, self.seconds, self.says, self.calls = clock, list(seconds), says, 0
        self.carried = []

    def learn(self, tasks, begun):
        self.clock.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        self.carried += [task.canaries for task in tasks]
        begun[:] = [1] * len(tasks)
        return [self.says] * len(tasks)


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(learners, "time", made)
    return made


def faster(clock, stacked, loop):
    chosen = []
    ways = {
        EngineKind.STACKED: Timed(clock, stacked, "stacked"),
        EngineKind.LOOP: Timed(clock, loop, "loop"),
    }
    return Faster(ways, chosen.append), ways, chosen


def test_the_faster_is_kept_and_the_other_is_asked_no_more(clock, caplog):
    with caplog.at_level(logging.INFO):
        way, ways, chosen = faster(clock, [2.0], [3.0])
        assert way.learn([TASK, TASK], [0, 0]) == ["stacked"] * 2
    assert chosen == [EngineKind.STACKED]
    assert "stacked is the fastest: stacked 2.000 s, loop 3.000 s" in caplog.text
    assert way.learn([TASK], [0]) == ["stacked"]
    assert [each.calls for each in ways.values()] == [2, 1]
    assert chosen == [EngineKind.STACKED]


def test_the_loop_may_win(clock):
    way, _, chosen = faster(clock, [3.0], [2.0])
    assert way.learn([TASK], [0]) == ["loop"]
    assert chosen == [EngineKind.LOOP]


def test_what_a_first_call_pays_once_does_not_decide(clock):
    way, ways, chosen = faster(clock, [0.9, 0.1], [0.3, 0.3])
    assert way.learn([TASK], [0]) == ["stacked"]
    assert chosen == [EngineKind.STACKED]
    assert [each.calls for each in ways.values()] == [2, 2]


def test_canaries_hear_no_round_that_is_trained_several_times(clock):
    way, ways, _ = faster(clock, [2.0], [3.0])
    way.learn([TASK], [0])
    assert {each for timed in ways.values() for each in timed.carried} == {None}
    way.learn([TASK], [0])
    assert ways[EngineKind.STACKED].carried[-1] == "canaries"

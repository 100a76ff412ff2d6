"""The in-process grid is Flower's Grid: the same ids, the same order, one answer for a message."""

import random

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from simulations.grid import LocalGrid, loop_engine

SITES = ["west", "east", "north"]


def echo(message, context):
    """Say which site was asked what."""
    asked = message.content["config"]["question"]
    said = ConfigRecord({"said": f"{context.node_config['site']}:{asked}"})
    return Message(RecordDict({"config": said}), reply_to=message)


@pytest.fixture
def grid():
    return LocalGrid(SITES, loop_engine(echo))


def questions(grid, nodes):
    return [
        grid.create_message(
            RecordDict({"config": ConfigRecord({"question": f"q{n}"})}), "train", n, "1"
        )
        for n in nodes
    ]


def said(replies):
    return [reply.content["config"]["said"] for reply in replies]


def test_it_is_flowers_grid(grid):
    assert isinstance(grid, Grid)
    assert not LocalGrid.__abstractmethods__


@pytest.mark.parametrize("order", [SITES, SITES[::-1], sorted(SITES)])
def test_node_ids_follow_the_names(order):
    grid = LocalGrid(order, loop_engine(echo))
    assert dict(grid.names) == {2: "east", 3: "north", 4: "west"}
    assert list(grid.get_node_ids()) == [2, 3, 4]


def test_replies_keep_the_order_of_the_questions(grid):
    asked = [4, 2, 3]
    replies = grid.send_and_receive(questions(grid, asked))
    assert said(replies) == ["west:q4", "east:q2", "north:q3"]
    assert [reply.metadata.src_node_id for reply in replies] == asked


def test_a_reply_belongs_to_its_message(grid):
    messages = questions(grid, [2, 3])
    ids = list(grid.push_messages(messages))
    assert len(set(ids)) == 2
    (third,) = grid.push_messages(questions(grid, [4]))
    assert third not in ids
    # In whatever order they are asked for; each once.
    assert said(grid.pull_messages([third, ids[1]])) == ["west:q4", "north:q3"]
    assert said(grid.pull_messages(ids)) == ["east:q2"]
    assert list(grid.pull_messages([*ids, third])) == []
    for message, name in zip(messages, ids, strict=True):
        assert message.metadata.message_id == name


def test_the_engine_gets_a_cohort_whole():
    cohorts = []

    def engine(cohort):
        cohorts.append([site for _, site in cohort])
        return loop_engine(echo)(cohort)

    grid = LocalGrid(SITES, engine)
    grid.send_and_receive(questions(grid, [2, 3, 4]))
    assert cohorts == [["east", "north", "west"]]


def test_an_engine_that_drops_an_answer_is_a_fault():
    grid = LocalGrid(SITES, lambda cohort: loop_engine(echo)(cohort[:1]))
    with pytest.raises(ValueError, match="shorter"):
        grid.push_messages(questions(grid, [2, 3]))


def test_no_global_random_state_is_used(grid):
    random.seed(7)
    before = random.getstate()
    grid.send_and_receive(questions(grid, [2, 3, 4]))
    assert random.getstate() == before


def test_the_run_can_be_described_anew(grid):
    other = type(grid.run).create_empty(77)
    grid.set_run(other)
    assert grid.run.run_id == 77

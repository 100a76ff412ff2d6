"""``engine=ray``: Flower's own simulation gives the weights of ``engine=loop`` to the bit."""

import importlib.util
import json
import logging
import queue
import socket

import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, RecordDict
from whole_run import (
    SITES,
    call,
    charges,
    end,
    epsilons,
    results,
    rounds_of,
    start,
    uninterrupted,
    wait_for_round,
    words,
)

from commands.compose import composed
from server.checkpoint import load_checkpoint
from simulations import flower, ray
from simulations.cohort import open_ledger
from simulations.experiment import main_arm, plan_of, prepare
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, ExitCode, TacitError

RAY = "engine=ray"
ROUNDS = 12
DRAWN = (
    "domain=digits",
    "domain.partition.sites=12",
    "training.cohort=5",
    "training.rounds=4",
    "training.min_replies=2",
    "availability.dropout=0.2",
    "availability.delay=exponential",
    "availability.deadline=2",
)


@pytest.fixture
def needs_ray():
    pytest.importorskip("ray", reason="engine=ray needs Ray: make test EXTRAS=ray")


def history(path):
    found = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in found]


@pytest.mark.slow
def test_stopped_gone_on_with_and_still_the_loop_to_the_bit(needs_ray, tmp_path):
    """Two actors; Ctrl-C lets what is under way come to its end, and nothing is left running."""
    path = tmp_path / "run"
    process = start([*words(path, ROUNDS), RAY, "engine.workers=2"], tmp_path)
    wait_for_round(process, path, 2)
    process.send_signal(2)
    assert end(process) == (ExitCode.INTERRUPTED, "interrupted\n")
    _, state = load_checkpoint(path / "checkpoint")
    assert 1 <= state.round < ROUNDS
    for site in SITES:
        assert state.round <= len(charges(path, site)) <= state.round + 1
    assert end(start([f"run.resume={path}"], tmp_path)) == (ExitCode.DONE, "")

    loop = uninterrupted(tmp_path / "loop", ROUNDS, "engine=loop")
    assert rounds_of(path) == list(range(ROUNDS + 1))
    found, expected = results(path), results(loop)
    for key in ("weights_sha256", "evaluation", "privacy", "rounds", "notes"):
        assert found[key] == expected[key], key
    assert epsilons(path) == epsilons(loop)
    assert history(path) == history(loop)
    assert sorted(p.name for p in (path / "ledger").glob("*.sqlite")) == [
        f"{site}.sqlite" for site in SITES
    ]


@pytest.mark.slow
def test_sites_that_are_drawn_away_and_late_are_those_of_the_loop(needs_ray, tmp_path):
    path, loop = tmp_path / "ray", tmp_path / "loop"
    assert end(start([*words(path), *DRAWN, RAY], tmp_path)) == (ExitCode.DONE, "")
    uninterrupted(loop, 4, *DRAWN, "engine=loop")
    assert history(path) == history(loop)
    assert any(line["failed"] for line in history(path))
    for key in ("weights_sha256", "privacy", "notes"):
        assert results(path)[key] == results(loop)[key], key


@pytest.mark.slow
def test_too_few_sites_end_the_run_with_one_line(needs_ray, tmp_path):
    away = ("availability.dropout=0.99", "training.min_replies=1")
    code, said = end(start([*words(tmp_path / "run"), RAY, *away], tmp_path))
    assert code == ExitCode.TOO_FEW_SITES
    assert said.startswith("error: round 1: 0 of 4 sites replied")
    assert len(said.splitlines()) == 1


def test_without_ray_nothing_begins_and_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, said = call([*words(tmp_path / "run"), RAY], capsys)
    assert code == ExitCode.BAD_INPUT
    assert "pip install 'tacit[ray]'" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def engine(*more):
    return read_settings(composed([RAY, *more])).engine


def test_what_ray_is_started_with(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = ray._options(engine("engine.workers=3", "engine.threads=2"), "cpu")
    assert (found["num_cpus"], found["address"]) == (6, "local")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert ray._options(engine(), "cuda")["num_cpus"] == 1
    with pytest.raises(ConfigurationError, match=r"^engine\.workers=2: .* set engine\.workers=1"):
        ray._options(engine("engine.workers=2"), "cuda")


def test_a_cluster_says_itself_what_it_has(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{cluster.getsockname()[1]}")
        found = ray._options(engine("engine.workers=2"), "cuda")
    assert not {"num_cpus", "address"} & found.keys()


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigurationError, match=f"RAY_ADDRESS={address} does not answer"):
        ray._options(engine(), "cpu")


class Grid:
    """Flower's grid: it has the replies that it was given, by node."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.asked = {}

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        for message in messages:
            name = f"message-{len(self.asked)}"
            flower.name_message(message, name)
            self.asked[name] = message
        return list(self.asked)

    def pull_messages(self, names):
        return [Message(Error(7, "told"), reply_to=self.asked.pop(name)) for name in list(names)]


class Silent(Grid):
    def pull_messages(self, names):
        return []


class Runtime:
    """Flower's simulation, which ends after some looks at it."""

    error = ValueError("the pool is empty")
    stopped = False

    def __init__(self, grid, looks=100):
        self.grid, self.looks = grid, looks

    def stop(self):
        self.stopped = True

    def start(self):
        return self.grid

    def ended(self, within):
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def query():
    with flower.identity_kept():
        flower.become_server()
        yield lambda node: Message(RecordDict({"config": ConfigRecord()}), node, "query.enrol")


def grid_of(runtime):
    return ray.RayGrid(runtime, lambda engine: engine)


def test_nodes_have_numbers_that_are_the_same_in_every_run(query):
    # As Flower draws them: more than 63 bits.
    theirs = Grid(2**63 + 5, 77)
    grid = grid_of(Runtime(theirs))
    assert grid.numbered({77: "east", 2**63 + 5: "west"}) == {2: "east", 3: "west"}
    assert sorted(grid.get_node_ids()) == [2, 3]
    grid.push_messages([query(3)])
    assert [m.metadata.dst_node_id for m in theirs.asked.values()] == [2**63 + 5]
    replies = grid.send_and_receive([query(2), query(3)])
    assert [reply.metadata.src_node_id for reply in replies] == [2, 3]


def test_a_simulation_that_does_not_start_says_why_in_one_line():
    with pytest.raises(ConfigurationError, match=r"^engine=ray: .* has ended: the pool is empty$"):
        grid_of(Runtime(None))


def test_a_simulation_that_ends_does_not_let_the_coordinator_wait(query):
    with pytest.raises(ConfigurationError, match="the pool is empty"):
        grid_of(Runtime(Silent(5), looks=3)).send_and_receive([query(5)])
    grid = grid_of(Runtime(Grid(5), looks=3))
    grid.send_and_receive([query(5)])
    grid._grid = Silent(5)
    with pytest.raises(TacitError, match="the pool is empty") as caught:
        grid.send_and_receive([query(5)])
    assert caught.value.exit_code == ExitCode.FAULT


def test_a_reply_that_does_not_come_in_time_is_missing(query):
    assert grid_of(Runtime(Silent(5))).send_and_receive([query(5)], timeout=0.0) == []


@pytest.mark.parametrize("shared", [True, False])
def test_ledgers_that_are_elsewhere_are_not_read_and_the_results_say_so(
    tmp_path, cache, monkeypatch, shared
):
    runtime = Runtime(Grid(*range(40, 44)))

    def enrolled(grid, least, timeout):
        arm = main_arm(experiment)
        for site in SITES if shared else ():
            open_ledger(arm, experiment, site, tmp_path).close()
        return dict(enumerate(SITES, start=40))

    monkeypatch.setattr(ray, "Runtime", lambda *given: runtime)
    monkeypatch.setattr(ray, "enrol", enrolled)
    config = composed([RAY, "model=linear", f"cache={cache}"])
    experiment = prepare(read_settings(config))
    plan = plan_of(main_arm(experiment), experiment, "a run")
    with ray.on_ray(config)(main_arm(experiment), experiment, tmp_path) as cohort:
        assert dict(cohort.names) == dict(enumerate(SITES, start=2))
        spent = cohort.spent(plan, 3)
        assert not runtime.stopped
    assert runtime.stopped
    if shared:
        assert cohort.note is None
        assert spent == {site: [] for site in SITES}
    else:
        assert "with the site" in cohort.note
        assert [event.steps for event in spent["county"]] == [3]
        assert not list(tmp_path.glob("*.sqlite"))


def test_what_ends_flowers_simulation_is_its_first_cause(monkeypatch):
    def fails(**given):
        try:
            raise ValueError("no room")
        except ValueError as error:
            raise RuntimeError("An error was encountered.") from error

    module = importlib.import_module("flwr.simulation.run_simulation")
    monkeypatch.setattr(module, "_run_simulation", fails)
    runtime = flower.Runtime(None, 1, {"num_cpus": 1}, {})
    assert runtime.start() is None
    assert runtime.ended(5)
    assert repr(runtime.error) == "ValueError('no room')"
    runtime.stop()


def test_flowers_log_keeps_the_line_and_leaves_the_traceback_out():
    said = queue.SimpleQueue()
    handler = logging.Handler()
    handler.emit = lambda record: said.put(record.getMessage())
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        with flower.plain_errors():
            logger.error("an actor died")
            logger.error("Traceback (most recent call last):\n  ...")
    finally:
        logger.removeHandler(handler)
    assert said.get_nowait() == "an actor died"
    assert said.empty()

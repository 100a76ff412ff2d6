"""``engine=ray``: Flower's own simulation, each site's part of a round in one of Ray's actors.

The coordinator stays in this process, as with every engine. An actor makes the experiment once,
from the run's configuration, and answers for whichever site a message is for; what a site has
charged lies in a ledger of its own, in RUN/ledger. `engine.workers` is the number of actors, each
with `engine.threads` CPUs and, where the device is a GPU, one of its own.

On a cluster (the environment variable RAY_ADDRESS names it) there are as many actors as fit, and
every machine needs Tacit, the domain's data and RUN under the same paths. Where RUN/ledger is not
shared the ledgers stay where the sites are, and the results say so.
"""

import importlib.util
import json
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import torch
from flwr.app import Context, Message
from flwr.serverapp import Grid

from client.app import build_client_app
from client.site import Site
from server.around import GridAround
from server.enrolment import enrol
from server.run_plan import RunPlan
from simulations.availability import lossy
from simulations.cohort import Cohort, Reach, open_ledger
from simulations.experiment import Arm, Experiment, prepare
from simulations.flower import SERVER_NODE, Runtime, end_quietly, identity_kept, plain_errors, sign
from simulations.grid import Engine
from simulations.stock import DistantCohort, site_of_node
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, InputError, RefusedError, TacitError
from tacit.privacy.events import Event
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Reason
from tacit.settings import EngineSettings

PATIENCE: Final = 900.0
"""Seconds in which every site must have answered once: actors start, and read the data."""
PAUSE: Final = 0.02
"""Seconds between two looks for replies."""
CLUSTER: Final = "RAY_ADDRESS"
"""Environment variable with which Ray finds a cluster."""


def on_ray(config: Mapping[str, Any]) -> Reach:
    """Return what reaches the sites of a run in Flower's own simulation.

    Parameters
    ----------
    config
        The run's, as plain values.

    Raises
    ------
    ConfigurationError
        Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigurationError(
            "engine=ray needs Ray, which is not installed: pip install 'tacit[ray]', or take "
            "engine=stacked or engine=loop"
        )
    return partial(_reach, config)


@contextmanager
def _reach(
    config: Mapping[str, Any], arm: Arm, experiment: Experiment, folder: Path
) -> Iterator[Cohort]:
    """Start Ray, an actor or more and the sites; end them all afterwards."""
    # Otherwise Ray warns of what it will do some day about GPUs that nobody asked for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    folder.mkdir(parents=True, exist_ok=True)
    engine = experiment.settings.engine
    device = experiment.compute.device.type
    made_from = json.dumps(
        {
            **config,
            "cache": str(experiment.cache.resolve()),
            # An actor sees one GPU, whatever its number was.
            "engine": {**config["engine"], "device": device},
        }
    )
    runtime = Runtime(
        build_client_app(partial(_site_of, made_from, str(folder.resolve()))),
        len(arm.rows),
        {"num_cpus": engine.threads, "num_gpus": int(device == "cuda")},
        _options(engine, device),
    )
    availability = experiment.settings.availability
    with ExitStack() as stack:
        stack.enter_context(identity_kept())
        stack.enter_context(plain_errors())
        stack.callback(runtime.stop)
        grid = RayGrid(
            runtime,
            partial(lossy, chosen=availability, seed=experiment.settings.seed)
            if not availability.perfect
            else lambda engine: engine,
        )
        names = grid.numbered(enrol(grid, len(arm.rows), timeout=PATIENCE))
        # Every site has opened its ledger by now.
        if not all((folder / f"{site}.sqlite").exists() for site in names.values()):
            yield DistantCohort(grid, names)
            return
        ledgers = {
            site: stack.enter_context(open_ledger(arm, experiment, site, folder))
            for site in names.values()
        }
        yield RayCohort(grid, names, ledgers)


def _options(engine: EngineSettings, device: str) -> dict[str, int | bool | str]:
    """Return what Ray is started with.

    Raises
    ------
    ConfigurationError
        There are fewer GPUs than actors, or no cluster where there should be one.
    """
    found: dict[str, int | bool | str] = {"logging_level": "ERROR"}
    if address := os.environ.get(CLUSTER):
        _check_reachable(address)
        return found  # its machines say what they have
    if device == "cuda" and engine.workers > (gpus := torch.cuda.device_count()):
        raise ConfigurationError(
            f"engine.workers={engine.workers}: each takes a GPU of its own and there are {gpus}: "
            f"set engine.workers={gpus}, or engine.device=cpu"
        )
    return {**found, "address": "local", "num_cpus": engine.workers * engine.threads}


def _check_reachable(address: str) -> None:
    """Refuse a cluster that does not answer: Ray would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigurationError(
            f"engine=ray: {CLUSTER}={address} does not answer ({error}): start the cluster, or "
            "leave the variable out to run on this machine"
        ) from error


@dataclass(frozen=True, slots=True)
class RayCohort:
    """Sites in actors, whose ledgers can be read here."""

    grid: Grid
    names: Mapping[int, str]
    ledgers: Mapping[str, Ledger]
    note: None = None
    faster: None = None
    identities: Mapping[str, bytes] = field(default_factory=dict)

    def spent(
        self, plan: RunPlan, rounds: int, sites: Collection[str] | None = None
    ) -> Mapping[str, Sequence[Event]]:
        """Give what each ledger says was charged."""
        chosen = self.ledgers if sites is None else sites
        return {site: self.ledgers[site].spent_events(plan.run) for site in chosen}


class RayGrid(GridAround):
    """Flower's grid of its own simulation, which says so when that has ended.

    Parameters
    ----------
    runtime
        The simulation; it is started.
    losing
        Makes of what answers messages what loses some of them.
    """

    def __init__(self, runtime: Runtime, losing: Callable[[Engine], Engine]) -> None:
        self._runtime = runtime
        self._losing = losing
        self._answered = False
        self._theirs: dict[int, int] = {}
        self._ours: dict[int, int] = {}
        grid = runtime.start()
        if grid is None:
            raise self._ended()
        super().__init__(grid)

    def numbered(self, names: Mapping[int, str]) -> Mapping[int, str]:
        """Give nodes numbers that are the same in every run; return the name behind each.

        Flower's own are drawn at random, and what is made of them (a cohort, an order) would be
        another one in every run. They are those of `simulations.grid.LocalGrid`.
        """
        ours = dict(enumerate(names, start=SERVER_NODE + 1))
        self._theirs = ours
        self._ours = {theirs: own for own, theirs in ours.items()}
        return {own: names[theirs] for own, theirs in ours.items()}

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are there."""
        self._wait(0)
        return [self._ours.get(node, node) for node in self._grid.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their ids."""
        sent = list(messages)
        for message in sent:
            node = message.metadata.dst_node_id
            message.metadata.dst_node_id = self._theirs.get(node, node)
        return self._grid.push_messages(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there, each once."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            node = reply.metadata.src_node_id
            sign(reply, self._ours.get(node, node))
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies that come within `timeout` seconds.

        Raises
        ------
        TacitError
            The simulation has ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        answers = self._losing(partial(self._answers, until))
        cohort = [(message, str(message.metadata.dst_node_id)) for message in messages]
        return [reply for reply in answers(cohort) if reply is not None]

    def _answers(
        self, until: float | None, cohort: Sequence[tuple[Message, str]]
    ) -> list[Message | None]:
        pending = set(self.push_messages(message for message, _ in cohort))
        found: dict[str, Message] = {}
        while pending:
            for reply in self.pull_messages(pending):
                found[reply.metadata.reply_to_message_id] = reply
            pending -= found.keys()
            if pending:
                self._wait(PAUSE)
                if until is not None and time.monotonic() > until:
                    break
        self._answered = True
        return [found.get(message.metadata.message_id) for message, _ in cohort]

    def _wait(self, seconds: float) -> None:
        if self._runtime.ended(seconds):
            raise self._ended()

    def _ended(self) -> TacitError:
        kind = TacitError if self._answered else ConfigurationError
        return kind(f"engine=ray: Flower's simulation has ended: {self._runtime.error}")


def _site_of(config: str, folder: str, context: Context) -> Site:
    """Return the site of a context, in an actor."""
    try:
        return _site(config, folder, context.node_config["partition-id"])
    except InputError as error:
        # Say, this machine has no such data.
        raise RefusedError(Reason.NOT_AVAILABLE, str(error)) from error


@cache
def _site(config: str, folder: str, place: object) -> Site:
    return site_of_node(_experiment(config), Path(folder), "", place)


@cache
def _experiment(config: str) -> Experiment:
    end_quietly()
    return prepare(read_settings(json.loads(config)))

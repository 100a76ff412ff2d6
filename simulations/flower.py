"""All of the simulation's contact with Flower's non-public modules.

Written for Flower 1.41 and 1.42; `tests/unit/simulations/test_flower.py` fails when a newer one
moves them.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "RUN_NUMBER",
    "SERVER_NODE",
    "Run",
    "Runtime",
    "become_server",
    "end_quietly",
    "identity_kept",
    "name_message",
    "plain_errors",
    "server_context",
    "sign",
    "site_context",
]

SERVER_NODE = 1
RUN_NUMBER = 1


def become_server() -> Run:
    """Give this process the identity without which Flower makes no message."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_NUMBER
    TaskIdentity.node_id = SERVER_NODE
    return Run.create_empty(RUN_NUMBER)


@contextmanager
def identity_kept() -> Iterator[None]:
    """Give this process its identity of before back at the end: Flower may have given it one."""
    before = vars(TaskIdentity).copy()
    try:
        yield
    finally:
        TaskIdentity._task_id = before["_task_id"]
        TaskIdentity._run_id = before["_run_id"]
        TaskIdentity._node_id = before["_node_id"]


def name_message(message: Message, name: str) -> None:
    """Give a message its id: Flower does so on the way, and here there is no way."""
    message.metadata.__dict__["_message_id"] = name


def sign(reply: Message, node: int) -> None:
    """Let a reply come from a node, whoever sent it."""
    reply.metadata.__dict__["_src_node_id"] = node


def site_context(node_id: int, site: str) -> Context:
    """Return the context in which a site's app is called."""
    return Context(
        run_id=RUN_NUMBER,
        node_id=node_id,
        node_config={"site": site},
        state=RecordDict(),
        run_config={},
    )


def server_context() -> Context:
    """Return the context in which the coordinator's app is called."""
    return Context(
        run_id=RUN_NUMBER, node_id=SERVER_NODE, node_config={}, state=RecordDict(), run_config={}
    )


class Runtime:
    """Flower's own simulation at work: a thread beside this one, and actors of Ray's.

    Flower would call a ServerApp in a thread and keep the main thread to itself. What coordinates
    is to stay in the main thread, where signals arrive and errors leave: so the ServerApp hands its
    grid over and waits for `stop`.

    Parameters
    ----------
    app
        Answers for the site of a context, in an actor; it travels there with every message.
    sites
        How many there are.
    resources
        What Ray sets aside for an actor; there are as many actors as fit.
    options
        For ``ray.init``.
    """

    def __init__(
        self,
        app: ClientApp,
        sites: int,
        resources: Mapping[str, float],
        options: Mapping[str, int | bool | str],
    ) -> None:
        self._app = app
        self._sites = sites
        self._config: dict[str, dict[str, Any]] = {
            "client_resources": dict(resources),
            "init_args": dict(options),
        }
        self._handed: queue.SimpleQueue[Grid | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="flower", daemon=True)

    def start(self) -> Grid | None:
        """Start it; return the grid that reaches its nodes, None where it ended before."""
        self._thread.start()
        return self._handed.get()

    def stop(self) -> None:
        """Let what is under way come to its end, and end all processes."""
        self._stopping.set()
        self._thread.join()

    def ended(self, within: float) -> bool:
        """Wait some seconds; tell whether it has ended, which by itself it does at a fault only."""
        return self._ended.wait(within)

    @property
    def error(self) -> BaseException | None:
        """Why it ended: the first cause."""
        cause = self._error
        while cause is not None and (deeper := cause.__cause__ or cause.__context__) is not None:
            cause = deeper
        return cause

    def _run(self) -> None:
        # Flower's process for `flwr run` calls just this; what is public is called deprecated.
        from flwr.simulation.run_simulation import _run_simulation
        from flwr.supercore.telemetry import EventType

        server = ServerApp()

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            self._handed.put(grid)
            self._stopping.wait()

        try:
            _run_simulation(
                num_supernodes=self._sites,
                exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
                client_app=self._app,
                server_app=server,
                backend_config=self._config,
            )
        except (Exception, SystemExit) as error:  # noqa: BLE001 (another thread raises it)
            self._error = error
        finally:
            self._ended.set()
            self._stopping.set()
            self._handed.put(None)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Leave Flower's tracebacks out of its log; the line that says what went wrong stays."""
    logger = logging.getLogger("flwr")
    logger.addFilter(_no_traceback)
    try:
        yield
    finally:
        logger.removeFilter(_no_traceback)


def end_quietly() -> None:
    """In an actor: leave out of Flower's log that it is ended, as every actor is in the end.

    Whether such a line still reaches the terminal is a matter of milliseconds.
    """
    logging.getLogger("flwr").addFilter(_no_farewell)


def _no_farewell(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Manually terminating")


def _no_traceback(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Traceback")

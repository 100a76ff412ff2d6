"""All of the simulation's contact with Flower's non-public modules.

Written for Flower 1.41 and 1.42; `tests/unit/simulations/test_flower.py` fails when a newer one
moves them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Context, Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "RUN_NUMBER",
    "SERVER_NODE",
    "Run",
    "become_server",
    "identity_kept",
    "name_message",
    "server_context",
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

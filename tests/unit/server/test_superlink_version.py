"""The server's adapter: fails clearly when a newer Flower moves what it leans on."""

import ast
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.superlink.servicer.fleet import fleet_handlers
from superlink_example import mailbox

import server.superlink
import strategies.objects

TRIED = ("1.41", "1.42")
"""Versions that the adapter was tried with."""
ADAPTERS = [Path(server.superlink.__file__), Path(strategies.objects.__file__)]
MOVED = (
    "Flower {found} moved {what}, on which {where} leans: look where it went, mend the adapter, "
    "then widen TRIED and the range in pyproject.toml"
)


def imported(source):
    """What a source imports of Flower: pairs of module and name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
            yield from ((node.module, alias.name) for alias in node.names)


def check(source, where):
    """Find what a source imports of Flower, or fail with what to do."""
    for module, name in imported(source):
        moved = MOVED.format(found=version("flwr"), what=f"{module}.{name}", where=where)
        try:
            held = importlib.import_module(module)
        except ImportError:
            pytest.fail(moved)
        if not hasattr(held, name):
            pytest.fail(moved)


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.name)
def test_what_is_imported_is_where_it_was(path):
    assert list(imported(path.read_text()))
    check(path.read_text(), path.name)


def test_what_has_moved_is_named():
    with pytest.raises(pytest.fail.Exception, match=r"Flower .* moved flwr\.superlink\.moon\.x"):
        check("from flwr.superlink.moon import x", "here.py")
    with pytest.raises(pytest.fail.Exception, match=r"moved flwr\.app\.Telegram, on which here"):
        check("from flwr.app import Telegram", "here.py")


def test_this_version_was_tried():
    found = version("flwr")
    assert found.startswith(TRIED), (
        f"Flower {found} was never tried with server/superlink.py (tried: {', '.join(TRIED)}): "
        "run tests/integration/test_transport.py and the tests beside this one, then add it"
    )


def test_what_the_mailbox_overrides_is_called_as_it_was():
    ours = server.superlink.Mailbox
    for name in (
        "activate_node",
        "deactivate_node",
        "acknowledge_node_heartbeat",
        "get_message_ins",
        "store_message_and_object_tree",
        "store_object",
        "get_object",
        "_cleanup_expired_task_tokens_locked",
    ):
        theirs = inspect.signature(getattr(InMemoryLinkState, name))
        assert inspect.signature(getattr(ours, name)).parameters.keys() == theirs.parameters.keys()


def test_what_the_mailbox_uses_of_the_state_is_there():
    box = mailbox()
    for name in (
        "lock",
        "nodes",
        "node_public_key_to_node_id",
        "owner_to_node_ids",
        "message_ins_store",
        "run_ids",
        "num_message_res",
        "delete_messages",
        "delete_sessions_in_run",
        "preregister_object_tree",
    ):
        assert hasattr(box, name), MOVED.format(
            found=version("flwr"), what=f"InMemoryLinkState.{name}", where="server/superlink.py"
        )
    assert {"clear", "delete", "get", "__contains__"} <= set(dir(InMemoryObjectStore))


@pytest.mark.parametrize(
    ("handler", "parameters"),
    [
        ("activate_node", ["request", "state"]),
        ("deactivate_node", ["request", "state"]),
        ("send_node_heartbeat", ["request", "state"]),
        ("pull_messages", ["request", "state", "store"]),
        ("pull_object", ["request", "state"]),
        ("push_messages", ["request", "state"]),
        ("push_object", ["request", "state"]),
    ],
)
def test_the_handlers_take_what_they_took(handler, parameters):
    assert list(inspect.signature(getattr(fleet_handlers, handler)).parameters) == parameters

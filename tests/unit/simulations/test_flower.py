"""The adapter: fails clearly when a newer Flower moves what the simulation leans on."""

import ast
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import flwr.app
import pytest
from flwr.app import Context, Message, RecordDict

import simulations
from simulations import flower

TRIED = ("1.41", "1.42")
"""Versions that the adapter was tried with; pyproject allows no other."""

MOVED = (
    "Flower {found} moved {what}, on which simulations/flower.py leans: look where it went, mend "
    "the adapter, then widen TRIED and the range in pyproject.toml"
)
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy"}


def needed(module, *names):
    """Find what the adapter imports, or fail with what to do."""
    found = version("flwr")
    try:
        held = importlib.import_module(module)
    except ImportError:
        pytest.fail(MOVED.format(found=found, what=module))
    for name in names:
        if not hasattr(held, name):
            pytest.fail(MOVED.format(found=found, what=f"{module}.{name}"))
    return held


def test_this_version_was_tried():
    found = version("flwr")
    assert found.startswith(TRIED), (
        f"Flower {found} was never tried with simulations/flower.py (tried: {', '.join(TRIED)}): "
        "run the tests beside this one, then add it"
    )


def test_what_the_adapter_leans_on_is_where_it_was():
    identity = needed("flwr.supercore.task_identity", "TaskIdentity").TaskIdentity
    for attribute in ("task_id", "run_id", "node_id"):
        if not isinstance(getattr(type(identity), attribute, None), property):
            pytest.fail(MOVED.format(found=version("flwr"), what=f"TaskIdentity.{attribute}"))
    run = needed("flwr.supercore.run", "Run").Run
    assert run.create_empty(3).run_id == 3
    for name in ("run_id", "node_id", "node_config", "state", "run_config"):
        assert name in inspect.signature(Context).parameters


def test_what_starts_flowers_own_simulation_is_where_it_was():
    module = needed("flwr.simulation.run_simulation", "_run_simulation")
    needed("flwr.supercore.telemetry", "EventType")
    asked = inspect.signature(module._run_simulation).parameters
    for name in ("num_supernodes", "exit_event", "client_app", "server_app", "backend_config"):
        if name not in asked:
            pytest.fail(MOVED.format(found=version("flwr"), what=f"_run_simulation's {name}"))


def test_a_moved_module_is_named():
    with pytest.raises(pytest.fail.Exception, match=r"Flower .* moved flwr\.super_core\.run"):
        needed("flwr.super_core.run")
    with pytest.raises(pytest.fail.Exception, match=r"moved flwr\.app\.Telegram"):
        needed("flwr.app", "Telegram")


def non_public(source):
    """Modules of Flower that a source imports and that are not its public ones."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "flwr"} - PUBLIC


ADAPTERS = {
    "simulations/flower.py",
    "client/connection.py",
    "server/superlink.py",
    "strategies/objects.py",
}
"""One a side; the last is the form in which both sides send a message."""


def test_the_adapters_alone_touch_what_is_not_public():
    root = Path(simulations.__file__).parents[1]
    touching = {
        str(path.relative_to(root)): found
        for folder in ("tacit", "strategies", "client", "server", "simulations", "commands")
        for path in (root / folder).rglob("*.py")
        if (found := non_public(path.read_text()))
    }
    assert set(touching) == ADAPTERS
    assert touching["simulations/flower.py"] == {
        "flwr.simulation.run_simulation",
        "flwr.supercore.run",
        "flwr.supercore.task_identity",
        "flwr.supercore.telemetry",
    }
    assert non_public("from flwr.server.superlink import state") == {"flwr.server.superlink"}


def test_messages_can_be_made_once_this_process_is_the_server():
    flower.become_server()
    message = Message(RecordDict(), 5, "train")
    assert message.metadata.run_id == flower.RUN_NUMBER
    assert message.metadata.src_node_id == flower.SERVER_NODE
    assert Message(RecordDict(), reply_to=message).metadata.src_node_id == 5


def test_a_sites_context_names_the_site():
    context = flower.site_context(4, "north")
    assert isinstance(context, flwr.app.Context)
    assert (context.node_id, dict(context.node_config)) == (4, {"site": "north"})

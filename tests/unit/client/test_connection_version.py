"""The client's adapter: fails clearly when a newer Flower moves what it leans on."""

import ast
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from flwr.supercore.protobuf.client import ProtobufClient, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client import connection

TRIED = ("1.41", "1.42")
"""Versions that the adapter was tried with."""
MOVED = (
    "Flower {found} moved {what}, on which client/connection.py leans: look where it went, mend "
    "the adapter, then widen TRIED and the range in pyproject.toml"
)


def check(source):
    """Find what a source imports of Flower, or fail with what to do; return how much it is."""
    count = 0
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "flwr":
            continue
        for alias in node.names:
            count += 1
            moved = MOVED.format(found=version("flwr"), what=f"{node.module}.{alias.name}")
            try:
                held = importlib.import_module(node.module)
            except ImportError:
                pytest.fail(moved)
            if not hasattr(held, alias.name):
                pytest.fail(moved)
    return count


def test_what_is_imported_is_where_it_was():
    assert check(Path(connection.__file__).read_text()) > 10


def test_what_has_moved_is_named():
    with pytest.raises(pytest.fail.Exception, match=r"Flower .* moved flwr\.supernode\.moon\.x"):
        check("from flwr.supernode.moon import x")
    with pytest.raises(pytest.fail.Exception, match=r"moved flwr\.app\.Telegram"):
        check("from flwr.app import Telegram")


def test_this_version_was_tried():
    found = version("flwr")
    assert found.startswith(TRIED), (
        f"Flower {found} was never tried with client/connection.py (tried: {', '.join(TRIED)}): "
        "run tests/integration/test_transport.py and the tests beside this one, then add it"
    )


def test_what_is_called_takes_what_it_took():
    assert {"interceptors", "verify"} <= inspect.signature(ProtobufClient).parameters.keys()
    assert list(inspect.signature(NodeAuthHttpInterceptor).parameters) == [
        "private_key",
        "public_key",
    ]
    assert ProtobufRequestContext.__dataclass_fields__.keys() >= {"request"}
    for name in (
        "ActivateNode",
        "DeactivateNode",
        "SendNodeHeartbeat",
        "PullMessages",
        "PullObject",
        "ConfirmMessageReceived",
        "PushMessages",
        "PushObject",
    ):
        assert list(inspect.signature(getattr(FleetHttpClient, name)).parameters) == [
            "self",
            "request",
        ]

"""The port of the server, over TLS: what is not there, comes twice or altered, or has no end."""

import importlib
import pkgutil
import ssl
from base64 import b64encode

import httpx
import pytest
from fastapi import APIRouter
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.superlink import routers
from transport_processes import SITES, read_key

from server.superlink import _HANDLERS
from tacit.signed_request import sign, signed_text

PULL = "/v1/fleet/pull-messages"
ACTIVATE = "/v1/fleet/activate-node"


@pytest.fixture
def served(start, tmp_path):
    """A server and a client that trusts it; gives the client and what the server told."""
    server = start("server", sites=SITES, rounds=0, stay=True)
    told = server.fact("port")
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with httpx.Client(base_url=f"https://127.0.0.1:{told['port']}", verify=trust) as client:
        yield client, told, server


def signed(key, path, body, instance="one"):
    timestamp = now().isoformat()
    return {
        "flwr-public-key": b64encode(public_key_to_bytes(key.public_key())).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": b64encode(sign_message(key, timestamp.encode())).decode(),
        "tacit-instance": instance,
        "tacit-signature": sign(key, signed_text(instance, path, timestamp, body)),
    }


def flowers_routes():
    """Every route of every API that Flower's SuperLink has."""
    found = set()
    for module in pkgutil.walk_packages(routers.__path__, f"{routers.__name__}."):
        loaded = importlib.import_module(module.name)
        for value in vars(loaded).values():
            if isinstance(value, APIRouter):
                found |= {route.path for route in value.routes}
    return sorted(found)


def test_of_all_that_flower_serves_only_what_sites_need_is_there(served, tmp_path):
    client, _, _ = served
    key = read_key(tmp_path / "north.key")
    routes = [path if path.startswith("/v1") else f"/v1/fleet{path}" for path in flowers_routes()]
    assert len(routes) > 20
    assert set(_HANDLERS) <= set(routes)
    for path in routes:
        answer = client.post(path, content=b"", headers=signed(key, path, b""))
        assert (answer.status_code == 404) == (path not in _HANDLERS), path
        assert client.get(path).status_code == 404, path


def test_a_request_counts_once_and_as_it_was_signed(served, tmp_path):
    client, told, server = served
    key = read_key(tmp_path / "north.key")
    (node,) = [int(node) for node, site in told["names"].items() if site == "north"]
    body = ActivateNodeRequest(
        public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=30
    ).SerializeToString()
    headers = signed(key, ACTIVATE, body)
    assert client.post(ACTIVATE, content=body, headers=headers).status_code == 200
    assert client.post(ACTIVATE, content=body, headers=headers).status_code == 401
    server.line("site north: /v1/fleet/activate-node: refused (401): the same request came twice")
    asked = PullMessagesRequest(node=Node(node_id=node)).SerializeToString()
    headers = signed(key, PULL, asked)
    assert client.post(PULL, content=asked + b"\x00", headers=headers).status_code == 401
    server.line("site north: /v1/fleet/pull-messages: refused (401): the signature does not fit")
    assert client.post("/v1/fleet/deactivate-node", content=asked, headers=headers).is_error
    assert client.post(PULL, content=asked, headers=headers).status_code == 200


@pytest.mark.slow
def test_a_reply_without_end_is_cut_and_the_round_goes_on(start):
    most = 8 << 20
    server = start("server", sites=SITES, rounds=2, most=most, timeout=60)
    port = server.fact("port")["port"]
    start("site", port, name="south")
    start("site", port, name="north", sizes=[1000, 100_000_000])
    first = server.fact("round")
    assert first["replied"] == SITES
    server.line(f"site north: its reply is over {most} bytes")
    done = server.fact("round")
    assert (done["replied"], done["errors"]) == (["south"], ["too_large"])
    assert done["peak"] - first["peak"] < 120  # of 400 MB

"""Only whole requests of enrolled keys come through, once, and none that is too large."""

import asyncio
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from superlink_example import KEYS, NODES, mailbox

from server import guard as guard_module
from server.superlink import guarded
from tacit.signed_request import sign, signed_text

LARGEST = 1 << 16
ORDER = 2**384 - int("389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D", 16)
"""Order of the curve P-384 (SEC 2, 2.5.1)."""
ACTIVATE, PULL = "/v1/fleet/activate-node", "/v1/fleet/pull-messages"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("server.superlink.HOLD", 0.0)


@pytest.fixture
def guard():
    return guarded(mailbox(), largest=LARGEST)


def headers_of(key, path, body, *, instance="one", timestamp=None, claimed=None):
    timestamp = timestamp or now().isoformat()
    claimed = claimed or key.public_key()
    return {
        "flwr-public-key": b64encode(public_key_to_bytes(claimed)).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": b64encode(sign_message(key, timestamp.encode())).decode(),
        "tacit-instance": instance,
        "tacit-signature": sign(key, signed_text(instance, path, timestamp, body)),
    }


def send(guard, path, body, headers, *, method="POST", parts=None):
    """Send a request to the guard; return the status, and how much it read."""
    incoming = list(parts or [body])
    answers, read = [], []

    async def receive():
        read.append(incoming.pop(0))
        return {"type": "http.request", "body": read[-1], "more_body": bool(incoming)}

    async def note(message):
        answers.append(message)

    if parts is None:
        headers = {"content-length": str(len(body))} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("10.0.0.1", 1),
    }
    asyncio.run(guard(scope, receive, note))
    return answers[0]["status"], sum(map(len, read))


def activation(site="north"):
    key = public_key_to_bytes(KEYS[site].public_key())
    return ActivateNodeRequest(public_key=key, heartbeat_interval=30).SerializeToString()


def pull(site="north"):
    return PullMessagesRequest(node=Node(node_id=NODES[site])).SerializeToString()


def activate(guard, site="north", instance="one"):
    body = activation(site)
    headers = headers_of(KEYS[site], ACTIVATE, body, instance=instance)
    return send(guard, ACTIVATE, body, headers)[0]


def asked(guard, path, body, site="north", **changes):
    return send(guard, path, body, headers_of(KEYS[site], path, body, **changes))[0]


def test_an_enrolled_site_is_let_in(guard):
    assert activate(guard) == 200
    assert asked(guard, PULL, pull()) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_says_that_the_server_is_there_and_no_more(guard, method):
    assert send(guard, "/health", b"", {}, method=method) == (200, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/health"),
        ("GET", PULL),
        ("POST", "/"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/push-messages"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/get-fab"),
        ("POST", PULL + "/"),
    ],
)
def test_every_other_route_is_absent(guard, method, path):
    body = pull()
    headers = headers_of(KEYS["north"], path, body)
    assert send(guard, path, body, headers, method=method) == (404, 0)


def test_a_key_that_is_not_enrolled(guard, caplog):
    body = activation()
    headers = headers_of(ec.generate_private_key(ec.SECP384R1()), ACTIVATE, body)
    assert send(guard, ACTIVATE, body, headers) == (403, 0)
    assert send(guard, ACTIVATE, body, {}) == (403, 0)
    assert send(guard, ACTIVATE, body, {"flwr-public-key": "!"}) == (403, 0)
    assert caplog.text.count("10.0.0.1 has a key that is not enrolled") == 1


def test_a_key_that_is_only_claimed(guard):
    body = activation()
    stranger = ec.generate_private_key(ec.SECP384R1())
    headers = headers_of(stranger, ACTIVATE, body, claimed=KEYS["north"].public_key())
    assert send(guard, ACTIVATE, body, headers)[0] == 401


def altered(guard):
    """Statuses of a request that was altered on its way: the node, the path, time and process."""
    activate(guard)
    activate(guard, "south")
    honest = pull()
    headers = headers_of(KEYS["north"], PULL, honest)
    later = now().isoformat()
    return [
        send(guard, PULL, honest + b"\x00", headers)[0],
        send(guard, "/v1/fleet/deactivate-node", honest, headers)[0],
        send(guard, PULL, honest, headers | {"flwr-timestamp": later})[0],
        send(guard, PULL, honest, headers | {"tacit-instance": "two"})[0],
    ]


def test_an_altered_request(guard):
    assert altered(guard) == [401] * 4


def test_without_the_signature_an_altered_request_would_come_through(guard, monkeypatch):
    monkeypatch.setattr(guard_module, "verified", lambda *_: True)
    assert altered(guard) != [401] * 4


def test_the_same_request_comes_through_once(guard):
    activate(guard)
    headers = headers_of(KEYS["north"], PULL, pull())
    assert send(guard, PULL, pull(), headers)[0] == 200
    assert send(guard, PULL, pull(), headers)[0] == 401


def test_the_twin_of_a_signature_does_not_help(guard):
    activate(guard)
    headers = headers_of(KEYS["north"], PULL, pull())
    assert send(guard, PULL, pull(), headers)[0] == 200
    r, s = decode_dss_signature(b64decode(headers["tacit-signature"]))
    twin = b64encode(encode_dss_signature(r, ORDER - s)).decode()
    assert send(guard, PULL, pull(), headers | {"tacit-signature": twin})[0] == 401


def test_a_request_is_forgotten_when_its_time_is_over_for_flower_too(guard, monkeypatch):
    from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

    assert guard_module.WINDOW >= TIMESTAMP_TOLERANCE + 2 * SYSTEM_TIME_TOLERANCE
    activate(guard)
    assert len(guard._seen) == 1
    honest = guard_module.time.monotonic
    monkeypatch.setattr(guard_module.time, "monotonic", lambda: honest() + guard_module.WINDOW)
    asked(guard, PULL, pull())
    assert len(guard._seen) == 1


def test_the_clock_an_hour_off(guard):
    from datetime import timedelta

    for hours in (-1, 1):
        timestamp = (now() + timedelta(hours=hours)).isoformat()
        assert asked(guard, ACTIVATE, activation(), timestamp=timestamp) == 401


def test_a_site_cannot_be_another(guard):
    activate(guard)
    activate(guard, "south")
    assert asked(guard, PULL, pull("south"), "north") == 401
    assert asked(guard, ACTIVATE, activation("south"), "north") == 401


def test_a_copied_key(guard):
    assert activate(guard) == 200
    assert activate(guard, instance="two") == 412
    assert asked(guard, PULL, pull(), instance="two") == 409
    assert asked(guard, PULL, pull()) == 200


def test_a_process_must_say_that_it_is_there(guard):
    assert asked(guard, PULL, pull()) == 409


def test_too_large_is_refused_unread(guard):
    headers = headers_of(KEYS["north"], PULL, b"") | {"content-length": str(10 << 30)}
    assert send(guard, PULL, b"x", headers) == (413, 0)
    for length in ("x", "-1", "1" * 5000):
        assert send(guard, PULL, b"x", headers | {"content-length": length}) == (413, 0)


def test_too_large_without_a_length_is_not_read_to_its_end(guard):
    headers = headers_of(KEYS["north"], PULL, b"")
    status, read = send(guard, PULL, b"", headers, parts=[b"x" * 4096] * 1000)
    assert status == 413
    assert read <= LARGEST + 4096


def test_a_body_that_does_not_come(guard, monkeypatch):
    monkeypatch.setattr(guard_module, "PATIENCE", 0.05)
    headers = headers_of(KEYS["north"], PULL, b"")
    answers = []

    async def receive():
        await asyncio.sleep(60)

    async def note(message):
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PULL,
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }
    asyncio.run(guard(scope, receive, note))
    assert answers[0]["status"] == 408


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xff",
        b"",
        PushMessagesRequest(node=Node(node_id=NODES["north"])).SerializeToString(),
        PushMessagesRequest(
            node=Node(node_id=NODES["north"]), messages_list=[ProtoMessage()]
        ).SerializeToString(),
    ],
    ids=["no protobuf", "nothing", "no message", "an empty message"],
)
def test_what_is_no_flower_message(guard, body):
    activate(guard)
    assert asked(guard, "/v1/fleet/push-messages", body) in (400, 401)
    assert asked(guard, PULL, pull()) == 200


def test_the_log_is_not_filled_by_repeating(guard, caplog):
    for _ in range(5):
        assert asked(guard, PULL, pull()) == 409
    assert caplog.text.count("site north: /v1/fleet/pull-messages: refused (409)") == 1

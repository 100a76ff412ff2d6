"""Every decoder of what comes from outside, with inputs that nobody honest would send.

An input is made of a valid one that is changed in a few places, or of nothing. A decoder may refuse
it with the errors that it declares and with no other.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from client.connection import Connection, Unreachable
from server.checkpoint import load_checkpoint, save_checkpoint
from server.guard import Caller, caller
from server.provision_folder import make_folder
from server.run_plan import State
from server.status import SiteStatus, Status
from server.superlink import Api, Mailbox, guarded, node_of
from strategies.objects import ids, pack, unpack
from strategies.records import numbers_of
from tacit.errors import ConfigurationError, InputError, ModelError, RunDirectoryError, TrustError
from tacit.learning.plan import RoundPlan
from tacit.messages import Limits, RunRequest, Terms, TrainRequest
from tacit.models.weights import load_weights, save_weights
from tacit.privacy.chain import Receipt
from tacit.signed_request import INSTANCE_HEADER, SIGNATURE_HEADER, sign, signed_text, verified
from tacit.trust.certificates import load_authority, parse_certificate
from tacit.trust.documents import decode, encode, from_text, to_sign, to_text
from tacit.trust.hosts import Hosts
from tacit.trust.keys import make_ec_key, make_identity
from tacit.trust.request import KIND as REQUEST
from tacit.trust.request import make_request, read_request
from tacit.trust.roster import Roster
from tacit.trust.validity import utc_now

MOST: Final = 1 << 20
FLEET: Final = "/v1/fleet/"


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder and its inputs.

    Parameters
    ----------
    name
        What it decodes.
    feed
        Makes an input of a generator's choices, and decodes it.
    declared
        The errors with which it may refuse.
    """

    name: str
    feed: Callable[[Random], object]
    declared: tuple[type[Exception], ...] = ()


_WORDS: Final = (b"-1", b"1e999", b"9" * 30, b"null", b"NaN", b"[[[", b"\xff")


def changed(random: Random, valid: bytes) -> bytes:
    """Change bytes in a few places; now and then leave nothing of them."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(200))
    content = bytearray(valid)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(content))
        match random.randrange(4):
            case 0:
                content[at : at + random.randint(0, 3)] = random.randbytes(random.randint(0, 4))
            case 1 if at < len(content):
                content[at] ^= 1 << random.randrange(8)
            case 2:
                start = random.randint(0, len(content))
                content[at:at] = content[start : start + random.randint(1, 40)]
            case _:
                number = random.choice(
                    (b"-1", b"1e999", b"9" * 30, b"null", b"NaN", b"[[[", b"\xff")
                )
                content[at : at + random.randint(0, 4)] = number
    return bytes(content)


_ODD: Final[tuple[object, ...]] = (
    None, True, -1, 0, 2**63, -(2**70), 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e-320,
    "", "\x00", "ε" * 50, "record", b"", b"\xff", [], [1, 2], [0.5], {}, ("a",),
)  # fmt: skip


def changed_config(random: Random, valid: Mapping[str, object]) -> dict[str, object]:
    """Change, drop or add keys of a config record."""
    config = dict(valid)
    for _ in range(random.randint(1, 3)):
        key = random.choice([*valid, "odd"])
        if random.random() < 0.3:
            config.pop(key, None)
        else:
            config[key] = random.choice((*_ODD, *valid.values()))
    return config


def decoders(folder: Path) -> list[Decoder]:
    """Return all decoders; files of theirs go to a folder, which is empty."""
    make_folder(folder / "trial", ("county",), Hosts.parse(["localhost"], []), utc_now())
    return [
        _objects(),
        *_configs(),
        _fleet(),
        _guard(),
        _answers(folder / "trial/server/ca.pem"),
        _signature(),
        _status(),
        *_trust(folder),
        *_files(folder),
    ]


def _contents() -> list[tuple[str, dict[str, bytes]]]:
    arrays = {"w": Array(np.arange(6, dtype=np.float32).reshape(2, 3)), "b": Array(np.ones(1))}
    whole = RecordDict(
        {
            "arrays": ArrayRecord(arrays),
            "config": ConfigRecord({"text": "ε", "raw": b"\x00", "list": [1, 2], "flag": True}),
            "metrics": MetricRecord({"x": [1.0, 2.0], "n": 3}),
        }
    )
    found = []
    for content in (whole, RecordDict({"config": ConfigRecord({"run": "1"})})):
        parcel = pack(_message(content))
        found.append((parcel.id, {n: make() for n, make in parcel.contents(ids(parcel.tree))}))
    return found


def _message(content: RecordDict) -> Message:
    return make_message(Metadata(7, "", 1, 5, "", "", time.time(), 60.0, "train"), content)


def _objects() -> Decoder:
    valid = _contents()

    def feed(random: Random) -> None:
        root, contents = random.choice(valid)
        contents = dict(contents)
        for _ in range(random.randint(1, 2)):
            name = random.choice(sorted(contents))
            if random.random() < 0.1:
                # Another object under this name, or none.
                contents[name] = random.choice(sorted(contents.values()))
            else:
                contents[name] = changed(random, contents[name])
        for record in unpack(root, contents, MOST).values():
            if isinstance(record, ArrayRecord):
                for array in record.values():
                    numbers_of(array)

    return Decoder("objects of a message", feed, (ValueError,))


def _configs() -> list[Decoder]:
    plan = RoundPlan(3, 0.5, 8.0, 0.1, 1.5, 20.0, proximal_mu=0.5)
    terms = Terms("wards", "f" * 64, "fedavg")
    kinds: list[tuple[Any, Mapping[str, object]]] = [
        (Terms, terms.to_config()),
        (Limits, Limits(1.0, 1e-5, 1.0, 5, False).to_config()),
        (RunRequest, RunRequest("run-1", 5, terms, plan, 1.0, 1e-5).to_config()),
        (
            TrainRequest,
            TrainRequest("run-1", 2, 5, "f" * 64, plan, Receipt(4, "a" * 64)).to_config(),
        ),
    ]

    def fed(kind: Any, valid: Mapping[str, object]) -> Callable[[Random], object]:
        return lambda random: kind.from_config(changed_config(random, valid))

    return [
        Decoder(f"{kind.__name__} of a record", fed(kind, valid), (ConfigurationError,))
        for kind, valid in kinds
    ]


class _Sites:
    """A mailbox with two sites that are there, and requests of the first."""

    def __init__(self) -> None:
        self.keys = {name: make_ec_key() for name in ("north", "south")}
        self.public = {name: key.public_key() for name, key in self.keys.items()}
        self.node = node_of(self.public["north"])
        self.begin()

    def begin(self) -> None:
        """Forget everything that was asked."""
        self.mailbox = Mailbox(self.public, heartbeat=60.0, most=MOST)
        self.api = Api(self.mailbox)
        self.guard = guarded(self.mailbox, largest=1 << 16)
        self.fed = 0
        caller.set(Caller(self.node, "north", "one"))
        self.mailbox.activate_node(self.node, 60.0)
        content = RecordDict({"arrays": ArrayRecord([np.ones(3, np.float32)])})
        self.mailbox.post(Message(content, self.node, "train"))
        (asked,) = self.mailbox.get_message_ins(self.node, 1)
        reply = Message(content, reply_to=asked)
        parcel = pack(reply)
        announced = message_to_proto(reply)
        announced.ClearField("content")
        announced.content.SetInParent()
        me = Node(node_id=self.node)
        run = asked.metadata.run_id
        self.valid: list[tuple[str, bytes]] = [
            (FLEET + path, request.SerializeToString())
            for path, request in (
                ("activate-node", ActivateNodeRequest(public_key=self.key, heartbeat_interval=30)),
                ("send-node-heartbeat", SendNodeHeartbeatRequest(node=me, heartbeat_interval=30)),
                ("pull-messages", PullMessagesRequest(node=me)),
                ("pull-object", PullObjectRequest(node=me, run_id=run, object_id=parcel.id)),
                (
                    "push-messages",
                    PushMessagesRequest(
                        node=me, messages_list=[announced], message_object_trees=[parcel.tree]
                    ),
                ),
                *(
                    (
                        "push-object",
                        PushObjectRequest(
                            node=me, run_id=run, object_id=name, object_content=make()
                        ),
                    )
                    for name, make in parcel.contents(ids(parcel.tree))
                ),
            )
        ]

    @property
    def key(self) -> bytes:
        """The first site's public key."""
        return public_key_to_bytes(self.public["north"])

    def headers(self) -> dict[str, str]:
        """Headers with which Flower takes a request."""
        timestamp = now().isoformat()
        signed = sign_message(self.keys["north"], timestamp.encode())
        return {
            "flwr-public-key": b64encode(self.key).decode(),
            "flwr-timestamp": timestamp,
            "flwr-signature": b64encode(signed).decode(),
        }

    def next(self) -> None:
        """Begin anew from time to time: what was taken fills the mailbox."""
        self.fed += 1
        if self.fed % 500 == 0:
            self.begin()


def _fleet() -> Decoder:
    sites = _Sites()

    def feed(random: Random) -> None:
        sites.next()
        path, body = random.choice(sites.valid)
        status, _ = sites.api.answer(path, sites.headers(), changed(random, body))
        if not 200 <= status < 500:
            raise AssertionError(f"{path} was answered with status {status}")

    return Decoder("bodies of the Fleet API", feed)


def _guard() -> Decoder:
    sites = _Sites()

    def feed(random: Random) -> None:
        sites.next()
        path, body = random.choice(sites.valid)
        headers = sites.headers() | {INSTANCE_HEADER: "one"}
        text = signed_text("one", path, headers["flwr-timestamp"], body)
        headers[SIGNATURE_HEADER] = sign(sites.keys["north"], text)
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        raw[b"content-length"] = str(len(body)).encode()
        name = random.choice(sorted(raw))
        raw[name] = changed(random, raw[name])
        status = asyncio.run(_asked(sites, path, list(raw.items()), body))
        if not 200 <= status < 500:
            raise AssertionError(f"{path} was answered with status {status}")

    return Decoder("heads of requests", feed)


async def _asked(sites: _Sites, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def note(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await sites.guard(scope, receive, note)
    return int(answers[0]["status"])


def _answers(ca: Path) -> Decoder:
    """What a site makes of a server's answers."""
    message = _message(RecordDict({"arrays": ArrayRecord([np.ones(3, np.float32)])}))
    parcel = pack(message)
    objects = {name: make() for name, make in parcel.contents(ids(parcel.tree))}
    announced = message_to_proto(message)
    announced.ClearField("content")
    announced.content.SetInParent()
    choices = Random(0)
    spoiled = ""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.rsplit("/", 1)[1]
        reply: Any = PullMessagesResponse()
        match path:
            case "activate-node":
                reply = ActivateNodeResponse(node_id=5)
            case "pull-messages":
                reply = PullMessagesResponse(
                    messages_list=[announced], message_object_trees=[parcel.tree]
                )
            case "pull-object":
                name = PullObjectRequest.FromString(request.content).object_id
                reply = PullObjectResponse(
                    object_found=True,
                    object_available=True,
                    object_content=objects.get(name, b""),
                )
        content = reply.SerializeToString()
        if path == spoiled:
            content = changed(choices, content)
        status = choices.choice((200, 401, 409, 500)) if path == spoiled == "activate-node" else 200
        return httpx.Response(status, stream=httpx.ByteStream(content))

    connection = Connection("server:1", ca, make_ec_key(), "north", lambda _: None, 1 << 16, MOST)
    connection._http.close()
    connection._http = httpx.Client(transport=httpx.MockTransport(answer))
    sealed: Any = connection._fleet._interceptors[1]
    sealed._http = connection._http

    def feed(random: Random) -> None:
        nonlocal spoiled
        choices.seed(random.random())
        spoiled = random.choice(("pull-messages", "pull-object", "activate-node"))
        if spoiled == "activate-node":
            connection._node = None
        connection.receive()

    return Decoder("answers of the server", feed, (Unreachable,))


def _signature() -> Decoder:
    key = make_ec_key()
    text = signed_text("one", "/v1", "2026", b"body")
    signature = sign(key, text).encode()

    def feed(random: Random) -> None:
        sent = changed(random, signature)
        if verified(key.public_key(), text + b"+", sent.decode("latin-1")):
            raise AssertionError("a signature of another text counts")

    return Decoder("signatures of requests", feed)


def _status() -> Decoder:
    valid = Status(
        "hospitals", "run", 40, (SiteStatus("county", epsilon=float("inf")),), time.time()
    ).to_json()
    return Decoder(
        "status for watchers",
        lambda random: Status.from_json(changed(random, valid)),
        (InputError,),
    )


def _trust(folder: Path) -> list[Decoder]:
    ca = load_authority(folder / "trial/server/ca.pem")
    certificate = (folder / "trial/server/watch.pem").read_bytes()
    roster = (folder / "trial/server/roster.json").read_bytes()
    node, identity = make_ec_key(), make_identity()
    request = make_request("county", node, identity, make_ec_key())
    fields, _ = decode(REQUEST, request, "it")
    signing = from_text(fields["watch"])
    path = folder / "request.json"

    def requested(random: Random) -> None:
        path.write_bytes(changed(random, request))
        read_request(path)

    def signed(random: Random) -> None:
        """Whoever makes a request can sign whatever is in it."""
        odd = fields | {"watch": to_text(changed(random, signing))}
        text = to_sign(REQUEST, odd)
        signatures = {"node": node.sign(text, ECDSA(SHA384())), "identity": identity.sign(text)}
        path.write_bytes(encode(REQUEST, odd, signatures))
        read_request(path)

    def authority(random: Random) -> None:
        der = changed(random, ca.public_bytes(Encoding.DER))
        body = b64encode(der)
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        head, foot = (b"-----%s CERTIFICATE-----" % word for word in (b"BEGIN", b"END"))
        path.write_bytes(b"\n".join((head, *lines, foot)))
        load_authority(path)

    return [
        Decoder("rosters", lambda random: Roster.parse(changed(random, roster), ca), (TrustError,)),
        Decoder(
            "certificates",
            lambda random: parse_certificate(changed(random, certificate), "it"),
            (TrustError,),
        ),
        Decoder("authorities", authority, (TrustError,)),
        Decoder("requests of sites", requested, (TrustError,)),
        Decoder("signed requests of sites", signed, (TrustError, ConfigurationError)),
    ]


def _files(folder: Path) -> list[Decoder]:
    weights = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    model, checkpoint = folder / "model.safetensors", folder / "checkpoint"
    save_weights(model, weights, {"architecture": "linear"})
    save_checkpoint(
        checkpoint, "run", State(2, weights, {"m/head.weight": weights["head.weight"]}, {}, "f")
    )
    state = next(checkpoint.iterdir())
    files = {each: each.read_bytes() for each in (model, model.with_suffix(".json"), state)}

    def feed_model(random: Random) -> None:
        for path in (model, model.with_suffix(".json")):
            path.write_bytes(files[path])
        spoiled = random.choice((model, model.with_suffix(".json")))
        spoiled.write_bytes(changed(random, files[spoiled]))
        load_weights(model)

    def feed_checkpoint(random: Random) -> None:
        state.write_bytes(changed(random, files[state]))
        load_checkpoint(checkpoint)

    return [
        Decoder("weights in a file", feed_model, (ModelError,)),
        Decoder("checkpoints", feed_checkpoint, (RunDirectoryError,)),
    ]

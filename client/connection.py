"""All of the client's contact with Flower's non-public modules: the connection to the server.

Written for Flower 1.41 and 1.42; `tests/unit/client/test_connection_version.py` fails when a newer
one moves what is used here. Only messages come through it: no code is asked for, and none is taken.
"""

import logging
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from strategies.objects import FAULTS, ids, pack, unpack
from tacit.errors import ConfigurationError
from tacit.signed_request import INSTANCE_HEADER, SIGNATURE_HEADER, sign, signed_text

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

LARGEST: Final = 8 << 20
"""Most bytes in one request or answer: a chunk of an array has 5 MiB."""
MOST: Final = 2 << 30
"""Most bytes in one message of the server."""
TRANSFERS: Final = 4
"""How many objects are on their way at once."""
_CLOCK_TOLERANCE: Final = 60.0
_QUICK: Final = httpx.Timeout(8.0, connect=5.0)
_BULKY: Final = httpx.Timeout(60.0, connect=5.0)
_BULKY_PATHS: Final = frozenset(
    f"/v1/fleet/{name}" for name in ("push-messages", "push-object", "pull-object")
)


class ConnectionState(StrEnum):
    """Whether the server answers this site."""

    CONNECTED = "connected"
    LOST = "lost"


class Unreachable(Exception):  # noqa: N818 (a state of the world, and tried again)
    """The server does not answer, or not this site, for now; it has been said in the log."""


class Unwanted(Exception):  # noqa: N818 (an answer)
    """The server will never take this."""


class Connection:
    """Flower's Fleet API of one server, as one process of one site.

    Parameters
    ----------
    address
        HOST:PORT of the server.
    ca
        Certificate of the only authority whose servers are trusted, PEM.
    key
        The site's key, which the server has enrolled.
    name
        The site's name, for the log.
    on_state
        Told when the server begins to answer, and when it does not any more.
    largest
        Most bytes in one request or answer.
    most
        Most bytes in one message of the server.
    """

    def __init__(
        self,
        address: str,
        ca: Path,
        key: EllipticCurvePrivateKey,
        name: str,
        on_state: Callable[[ConnectionState], None],
        largest: int,
        most: int,
    ) -> None:
        context = _trusting(ca)
        self._http = httpx.Client(verify=context, follow_redirects=False)
        sealed = _Sealed(self._http, key, largest)
        self._fleet = FleetHttpClient(
            f"https://{address}",
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key()), sealed],
            verify=context,
        )
        self._address = address
        self._key = public_key_to_bytes(key.public_key())
        self._name = name
        self._on_state = on_state
        self._largest = largest
        self._most = most
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._state: ConnectionState | None = None
        self._said = ""
        self._unreadable = ""
        self._heard = 0.0
        self._pool = ThreadPoolExecutor(TRANSFERS, "transfer")
        self.epoch = 0
        """Changes when the server has forgotten this process, and what it sent to it."""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def receive(self) -> Message | None:
        """Return the next message with all of its content, or None if there is none now.

        Raises
        ------
        Unreachable
            The server does not answer this site.
        """
        try:
            node = self._active()
            answer = self._call(self._fleet.PullMessages, PullMessagesRequest(node=node))
            return self._content(node, answer) if answer.messages_list else None
        except Unwanted as error:
            raise self._lost(f"it does not speak with this site ({error})") from error

    def _content(self, node: Node, answer: PullMessagesResponse) -> Message | None:
        """Pull what belongs to a message; None if it cannot be read."""
        tree = answer.message_object_trees[0] if answer.message_object_trees else ObjectTree()
        run = answer.messages_list[0].metadata.run_id
        try:
            message = message_from_proto(answer.messages_list[0])
            contents = self._pull(node, run, ids(tree))
        except FAULTS as error:
            self._cannot_read(error)
            message = None
        # Also of what cannot be read: it would come again and again.
        confirmed = ConfirmMessageReceivedRequest(
            node=node, run_id=run, message_object_id=tree.object_id
        )
        self._call(self._fleet.ConfirmMessageReceived, confirmed)
        if message is None:
            return None
        try:
            message.content = unpack(tree.object_id, contents, self._most)
        except FAULTS as error:
            self._cannot_read(error)
            return None
        return message

    def _cannot_read(self, error: Exception) -> None:
        """Log what is wrong with a message, once while it stays the same."""
        line = f"a message of the server cannot be read and is left out: {error}"
        if line != self._unreadable:
            self._unreadable = line
            log.error("%s", line)

    def send(self, reply: Message) -> None:
        """Send a reply, or what the server has not of it.

        Raises
        ------
        Unreachable
            The server does not answer this site: send it again.
        Unwanted
            The server will not take it.
        """
        node = self._active()
        parcel = pack(reply)
        announced = PushMessagesRequest(
            node=node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[parcel.tree],
        )
        answer = self._call(self._fleet.PushMessages, announced)

        def push(item: tuple[str, Callable[[], bytes]]) -> bool:
            name, content = item
            request = PushObjectRequest(
                node=node,
                run_id=reply.metadata.run_id,
                object_id=name,
                object_content=content(),
                session_id=answer.session_id,
            )
            return self._call(self._fleet.PushObject, request).stored

        wanted = list(parcel.contents(answer.objects_to_push))
        if not all(self._pool.map(push, wanted)):
            raise Unwanted("it is too large, or too late")

    def beat(self, heartbeat: float) -> None:
        """Show that this site is there."""
        node = self._active()
        # Flower takes intervals of ten seconds and more; the server goes by its own.
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
        quiet = time.monotonic() - self._heard < heartbeat
        self._call(self._fleet.SendNodeHeartbeat, request, quiet=quiet)

    def leave(self) -> None:
        """Say that this site goes, if the server still listens."""
        if self._node is not None:
            with suppress(httpx.HTTPError, ValueError):
                self._fleet.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))

    def _active(self) -> Node:
        """Return this site's node; make the server take this process as it first if need be."""
        with self._lock:
            if self._node is None:
                request = ActivateNodeRequest(
                    public_key=self._key, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
                )
                answer = self._call(self._fleet.ActivateNode, request)
                self._node = Node(node_id=answer.node_id)
            return self._node

    def _pull(self, node: Node, run: int, names: list[str]) -> dict[str, bytes]:
        room = self._most + self._largest
        counted = threading.Lock()

        def pull(name: str) -> bytes:
            nonlocal room
            request = PullObjectRequest(node=node, run_id=run, object_id=name)
            answer = self._call(self._fleet.PullObject, request)
            with counted:
                room -= len(answer.object_content)
                if not answer.object_available or room < 0:
                    raise ValueError("an object is missing, or there are too many")
            return answer.object_content

        return dict(zip(names, self._pool.map(pull, names), strict=True))

    def _call(
        self, method: Callable[[Request], Answer], request: Request, *, quiet: bool = False
    ) -> Answer:
        """Ask the server, and say when it stops or begins to answer."""
        try:
            answer = method(request)
        except httpx.TransportError as error:
            raise self._lost(str(error) or type(error).__name__, quiet) from error
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except ValueError as error:
            raise self._lost(f"it answers what cannot be read: {error}", quiet) from error
        self._heard = time.monotonic()
        if self._state is not ConnectionState.CONNECTED:
            self._tell(ConnectionState.CONNECTED, f"connected to {self._address} as {self._name}")
        return answer

    def _refused(self, response: httpx.Response) -> Exception:
        match response.status_code:
            case 401:
                return self._lost(_clock(response) or "it does not accept this site's signature")
            case 403:
                self._node = None
                return self._lost("this site's key is not enrolled there, or was revoked")
            case 409:
                # Said only if it lasts: the next call makes this process known.
                self._node = None
                self.epoch += 1
                return Unreachable("the server was started again")
            case 412:
                return self._lost("another process of this site is still connected there")
            case 408 | 429 | 502 | 503 | 504:
                return self._lost(f"it is busy (status {response.status_code})")
            case status:
                return Unwanted(f"status {status}")

    def _lost(self, reason: str, quiet: bool = False) -> Unreachable:
        if not quiet:
            self._tell(
                ConnectionState.LOST, f"no connection to {self._address}: {reason}; trying again"
            )
        return Unreachable(reason)

    def _tell(self, state: ConnectionState, line: str) -> None:
        """Log what is new, once."""
        if line != self._said:
            self._said = line
            log.log(logging.INFO if state is ConnectionState.CONNECTED else logging.WARNING, line)
        if state is not self._state:
            self._state = state
            self._on_state(state)


class _Sealed:
    """Signs a whole request, and reads no more of the answer than it may have."""

    def __init__(self, http: httpx.Client, key: EllipticCurvePrivateKey, largest: int) -> None:
        self._http = http
        self._key = key
        self._largest = largest
        self._instance = secrets.token_hex(16)

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send a request in place of Flower's client, which would read whatever comes."""
        request = context.request
        if len(request.content) > self._largest:
            raise Unwanted(f"it has an object of more than {self._largest} bytes")
        path, timestamp = request.url.path, request.headers[TIMESTAMP_HEADER]
        text = signed_text(self._instance, path, timestamp, request.content)
        request.headers[INSTANCE_HEADER] = self._instance
        request.headers[SIGNATURE_HEADER] = sign(self._key, text)
        request.headers["accept-encoding"] = "identity"
        limits = _BULKY if path in _BULKY_PATHS else _QUICK
        request.extensions["timeout"] = limits.as_dict()
        response = self._http.send(request, stream=True)
        try:
            content = bytearray()
            for part in response.iter_raw():
                content += part
                if len(content) > self._largest:
                    raise ValueError(f"more than {self._largest} bytes in one answer")
        finally:
            response.close()
        date = {"date": response.headers["date"]} if "date" in response.headers else {}
        return httpx.Response(
            response.status_code, headers=date, content=bytes(content), request=request
        )


def _trusting(ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"{ca} is no certificate of an authority: {error}") from error
    return context


def _clock(response: httpx.Response) -> str | None:
    """Say how far this machine's clock is from the server's, if it is far."""
    try:
        there = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None
    off = time.time() - there
    if abs(off) < _CLOCK_TOLERANCE:
        return None
    side = "ahead of" if off > 0 else "behind"
    return (
        f"this machine's clock is {abs(off) / 60:.0f} minutes {side} the server's, and requests "
        "are good for five: set one of the clocks (NTP keeps them)"
    )

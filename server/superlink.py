"""All of the server's contact with Flower's non-public modules: its mail and its Fleet API.

Written for Flower 1.41 and 1.42; `tests/unit/server/test_superlink_version.py` fails when a newer
one moves what is used here (and in `strategies/objects.py`, which the sites share).

All state is in memory. A node's id follows from its key, and who is enrolled is said at every
start: nothing has to outlive the process, and no update can be left on a disk.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from fastapi import HTTPException
from fastapi import Request as HttpRequest
from flwr.app import Error, Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import (
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
    TIMESTAMP_HEADER,
    ErrorCode,
)
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, NOOP_FEDERATION_ID, TaskType
from flwr.supercore.error import FlowerError
from flwr.supercore.error.catalog import API_ERROR_MAP
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers as handlers
from google.protobuf.message import DecodeError

from server.guard import Guard, Member, caller
from strategies.objects import ids, pack, return_memory, unpack
from tacit.errors import ConfigurationError

__all__ = ["Mailbox", "Run", "guarded", "node_of"]

log = logging.getLogger(__name__)


def _confirm(
    request: ConfirmMessageReceivedRequest, mailbox: "Mailbox"
) -> ConfirmMessageReceivedResponse:
    """Take a site's word that it has a message, where the message is its own.

    Flower's own handler lets a site delete whatever it can name.
    """
    mailbox.delivered(request.message_object_id)
    return ConfirmMessageReceivedResponse()


_HANDLERS: Final[Mapping[str, tuple[type[Any], Callable[[Any, Any], Any]]]] = {
    "/v1/fleet/activate-node": (ActivateNodeRequest, handlers.activate_node),
    "/v1/fleet/deactivate-node": (DeactivateNodeRequest, handlers.deactivate_node),
    "/v1/fleet/send-node-heartbeat": (SendNodeHeartbeatRequest, handlers.send_node_heartbeat),
    "/v1/fleet/pull-messages": (
        PullMessagesRequest,
        lambda request, state: handlers.pull_messages(request, state, state.object_store),
    ),
    "/v1/fleet/pull-object": (PullObjectRequest, handlers.pull_object),
    "/v1/fleet/confirm-message-received": (ConfirmMessageReceivedRequest, _confirm),
    "/v1/fleet/push-messages": (PushMessagesRequest, handlers.push_messages),
    "/v1/fleet/push-object": (PushObjectRequest, handlers.push_object),
}
"""What sites need of the Fleet API; no other route exists."""

HOLD: Final = 2.0
"""Seconds for which a site's question for messages is held open when there is none."""
_LOOK: Final = 0.5
"""Seconds between two looks at heartbeats that may have ended: they end without a signal."""

UNREADABLE: Final = "unreadable"
TOO_LARGE: Final = "too_large"
"""Reasons in error replies that the server makes in place of a reply it cannot take."""


def node_of(key: EllipticCurvePublicKey) -> int:
    """Return the node id of a key: the same at every start, never one that Flower reserves."""
    number = int.from_bytes(sha256(public_key_to_bytes(key)).digest()[:8], "big") >> 1
    return number | 1 << 32


@dataclass(slots=True)
class _Incoming:
    """A reply on its way in: which of its objects are missing, and what room is left."""

    request: str
    node: int
    reply: Message
    objects: list[str]
    missing: set[str]
    room: int


class Mailbox(InMemoryLinkState):
    """Flower's link state with a signal for what changes, and limits for what comes in.

    Parameters
    ----------
    sites
        Public key of every site that may connect, by name.
    heartbeat
        Seconds between two signs of life of a site; it is present for two of them.
    most
        Most bytes that one reply may hold.
    """

    def __init__(
        self, sites: Mapping[str, EllipticCurvePublicKey], *, heartbeat: float, most: int
    ) -> None:
        super().__init__(NoOpFederationManager(), InMemoryObjectStore())
        self._changed = threading.Condition(self.lock)
        self._heartbeat = heartbeat
        self._most = most
        self._closing = False
        self._instances: dict[int, str] = {}
        self._asking: set[int] = set()
        self._incoming: dict[str, _Incoming] = {}
        self._sessions: dict[str, _Incoming] = {}
        self._over: dict[str, str | None] = {}
        self._outgoing: dict[str, dict[str, Callable[[], bytes]]] = {}
        self.members = {public_key_to_bytes(key): self._enrol(s, key) for s, key in sites.items()}
        self.names = {member.node: member.site for member in self.members.values()}
        if len(self.names) < len(sites):
            raise ConfigurationError(f"two of the sites {', '.join(sites)} have the same key")
        self.run = self._begin_run()

    def _enrol(self, site: str, key: EllipticCurvePublicKey) -> Member:
        name = public_key_to_bytes(key)
        member = Member(node_of(key), site, key)
        if name not in self.node_public_key_to_node_id:
            chosen = self.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, name, 0, name=site)
            node = self.nodes.pop(chosen)
            node.node_id = member.node
            self.nodes[member.node] = node
            self.node_public_key_to_node_id[name] = member.node
            self.owner_to_node_ids[NOOP_FLWR_AID] ^= {chosen, member.node}
        return member

    def _begin_run(self) -> Run:
        """Begin the one run of this process, and make its process the run's task."""
        number = self.create_run(
            None, None, None, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        task = self.run_ids[number].run.primary_task_id
        if task is None or self.claim_task(task) is None or not self.activate_task(task):
            raise RuntimeError("Flower did not begin a run")
        TaskIdentity.task_id = task
        TaskIdentity.run_id = number
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        return self.get_run_info(run_ids=[number])[0]

    def _cleanup_expired_task_tokens_locked(self) -> None:
        """Keep the run: its task is this process, which needs no sign of life of itself."""

    def close(self) -> None:
        """Let everybody who waits go."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def instance_of(self, node: int) -> str | None:
        """Return the process that may speak for a node."""
        return self._instances.get(node)

    def present_nodes(self) -> set[int]:
        """Return the nodes whose heartbeat is alive."""
        return self.get_nodes(self.run.run_id)

    # What the server does

    def post(self, message: Message) -> str | None:
        """Store a message for its site; return its id, or None if the site is not there."""
        node = message.metadata.dst_node_id
        if node not in self.present_nodes():
            log.warning("site %s: not there: no message sent", self.names.get(node, node))
            return None
        parcel = pack(message)
        session = self.start_session(message.metadata.run_id)
        self.preregister_object_tree(parcel.tree, session)
        with self._changed:
            # Made when the site asks for them: all of them at once would be the weights once more.
            self._outgoing[parcel.id] = dict(parcel.contents(ids(parcel.tree)))
            if self.store_message_ins(remove_content_from_message(message)) is None:
                raise ValueError(f"Flower does not take the message {message.metadata}")
            self._changed.notify_all()
        return parcel.id

    def collect(self, wanted: Collection[str], until: float | None) -> Mapping[str, Message | None]:
        """Wait for the first of these messages to be settled, and return all that are, each once.

        A message that gets no reply, or is not known any more, is settled with None. `until` is a
        time of `time.monotonic`, None to wait as long as it takes.
        """
        with self._changed:
            pending = {name for name in wanted if name in self.message_ins_store}
            if unknown := dict.fromkeys(set(wanted) - pending):
                return unknown
            while not (settled := self._settled(pending)) and not self._closing:
                left = _LOOK if until is None else min(_LOOK, until - time.monotonic())
                if left <= 0:
                    break
                self._changed.wait(left)
            came = {name: self._take(name) for name in settled}
            if self._closing:
                came |= dict.fromkeys(pending - settled)
        return {name: self._read(*taken) if taken else None for name, taken in came.items()}

    def forget(self, messages: Iterable[str]) -> None:
        """Delete messages and what came in reply."""
        with self._changed:
            for name in self.message_ins_store.keys() & set(messages):
                log.warning("site %s: no reply in time", self._site(name))
                self._delete(name)

    def _settled(self, pending: set[str]) -> set[str]:
        present = self.present_nodes()
        for name in pending:
            incoming = self._incoming.get(name)
            gone = self.message_ins_store[name].metadata.dst_node_id not in present
            if name not in self._over and gone and (incoming is None or incoming.missing):
                log.warning("site %s: went away before it replied", self._site(name))
                self._over[name] = None
        return {
            name
            for name in pending
            if name in self._over
            or ((incoming := self._incoming.get(name)) is not None and not incoming.missing)
        }

    def _take(self, name: str) -> tuple[Message, _Incoming | str, dict[str, bytes]] | None:
        """Take a settled message out, with its reply and the reply's objects."""
        request, incoming = self.message_ins_store[name], self._incoming.get(name)
        contents = {}
        reason = self._over.get(name)
        if name not in self._over and incoming is not None:
            contents = {i: c for i in incoming.objects if (c := self.object_store.get(i))}
        self._delete(name)
        if contents and incoming is not None:
            return request, incoming, contents
        return (request, reason, {}) if reason is not None else None

    def _read(
        self, request: Message, incoming: _Incoming | str, contents: dict[str, bytes]
    ) -> Message:
        if isinstance(incoming, str):
            return _error(request, incoming)
        reply = incoming.reply
        if reply.has_error():
            return reply
        try:
            reply.content = unpack(reply.metadata.message_id, contents, self._most)
        except ValueError as error:
            log.warning("site %s: %s", self.names[incoming.node], error)
            return _error(request, UNREADABLE)
        return reply

    def _delete(self, name: str) -> None:
        incoming = self._incoming.pop(name, None)
        self._outgoing.pop(name, None)
        self._over.pop(name, None)
        self.delete_messages({name})
        self.object_store.delete(name)
        if incoming is not None:
            self._sessions = {s: i for s, i in self._sessions.items() if i is not incoming}
            self.object_store.delete(incoming.reply.metadata.message_id)
        if not self.message_ins_store:
            # A tree that a site made up can hold objects that Flower's counts would keep.
            self.delete_sessions_in_run(self.run.run_id)
            self.object_store.clear()

    def _site(self, name: str) -> str:
        return self.names[self.message_ins_store[name].metadata.dst_node_id]

    # What sites ask for: called by Flower's handlers, in a thread of a request

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Take a process as the one of its site, unless another one is alive."""
        who = caller.get()
        with self._changed:
            if not super().activate_node(node_id, self._heartbeat):
                if self._instances.get(node_id, who.instance) != who.instance:
                    log.warning("site %s: another process of it is still connected", who.site)
                    return False
                self.acknowledge_node_heartbeat(node_id, self._heartbeat)
            self._instances[node_id] = who.instance
            log.info("site %s: connected", who.site)
            self._changed.notify_all()
        return True

    def deactivate_node(self, node_id: int) -> bool:
        """Let a site go that says so."""
        with self._changed:
            log.info("site %s: left", self.names[node_id])
            self._changed.notify_all()
            return super().deactivate_node(node_id)

    def acknowledge_node_heartbeat(self, node_id: int, heartbeat_interval: float) -> bool:
        """Note a sign of life; how long it lasts is the server's word and not the site's."""
        return super().acknowledge_node_heartbeat(node_id, self._heartbeat)

    def get_message_ins(
        self, node_id: int, limit: int | None, *, run_id: int | None = None
    ) -> list[Message]:
        """Return the next message for a site; wait a little for one."""
        with self._changed:
            self._look_again(node_id)
            if node_id not in self._asking:
                self._asking.add(node_id)
                self._changed.wait_for(lambda: self._closing or self._waits(node_id), HOLD)
                self._asking.discard(node_id)
            return super().get_message_ins(node_id, limit, run_id=run_id)

    def _waits(self, node: int) -> bool:
        return any(
            m.metadata.dst_node_id == node and not m.metadata.delivered_at
            for m in self.message_ins_store.values()
        )

    def _look_again(self, node: int) -> None:
        """Settle what a site was given and has not answered, now that it asks for more.

        What it never confirmed did not reach it: it gets it again. What it did confirm it will not
        answer any more: it was started again, or gave up.
        """
        for name, message in self.message_ins_store.items():
            if message.metadata.dst_node_id != node or not message.metadata.delivered_at:
                continue
            incoming = self._incoming.get(name)
            if name in self._over or (incoming is not None and not incoming.missing):
                continue
            if incoming is None and name in self.object_store:
                message.metadata.delivered_at = ""
            else:
                log.warning("site %s: asks for more before it replied", self.names[node])
                self._over[name] = None
                self._changed.notify_all()

    def store_message_and_object_tree(
        self, message: Message, object_tree: ObjectTree, session_id: str
    ) -> tuple[bool, list[str]]:
        """Take the announcement of a reply: of the site that sends it, to a message it was sent."""
        who = caller.get()
        meta = message.metadata
        if meta.src_node_id != who.node or meta.message_id != object_tree.object_id:
            log.warning("site %s: a reply that is not its own: not taken", who.site)
            return False, []
        with self._changed:
            request = meta.reply_to_message_id
            stored, missing = super().store_message_and_object_tree(
                message, object_tree, session_id
            )
            if not stored:
                log.warning("site %s: a reply that nobody waits for: not taken", who.site)
                return False, []
            self.object_store.delete(request)
            self._outgoing.pop(request, None)
            return_memory()
            before = self._incoming.get(request)
            room = self._most if before is None else before.room
            incoming = _Incoming(request, who.node, message, ids(object_tree), set(missing), room)
            self._incoming[request] = self._sessions[session_id] = incoming
            self._changed.notify_all()
        return True, missing

    def store_object(
        self, run_id: int, session_id: str, object_id: str, object_content: bytes
    ) -> bool:
        """Take an object of a reply that was announced, while there is room."""
        who = caller.get()
        with self._changed:
            incoming = self._sessions.get(session_id)
            if incoming is None or incoming.node != who.node or incoming.request in self._over:
                return False
            if not super().store_object(run_id, session_id, object_id, object_content):
                return False
            incoming.missing.discard(object_id)
            incoming.room -= len(object_content)
            if incoming.room < 0:
                log.warning("site %s: its reply is over %d bytes", who.site, self._most)
                self._over[incoming.request] = TOO_LARGE
            self._changed.notify_all()
        return True

    def get_object(self, run_id: int, object_id: str) -> bytes | None:
        """Return an object; under the one lock, so that locks are taken in one order."""
        with self._changed:
            for objects in self._outgoing.values():
                if object_id in objects:
                    return objects[object_id]()
            return super().get_object(run_id, object_id)

    def delivered(self, request: str) -> None:
        """Let what belongs to a message go when its site has all of it."""
        with self._changed:
            message = self.message_ins_store.get(request)
            if message is not None and message.metadata.dst_node_id == caller.get().node:
                self.object_store.delete(request)
                self._outgoing.pop(request, None)
                return_memory()


def _error(request: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, reason), reply_to=request)


class Api:
    """Flower's Fleet API without its web framework, which takes 8 ms for each of many requests.

    Parameters
    ----------
    mailbox
        Where messages are.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.instance_of = mailbox.instance_of
        self._app = SimpleNamespace(state=SimpleNamespace(linkstate_factory=self))

    def state(self) -> Mailbox:
        """Return the link state, for Flower's node authentication."""
        return self.mailbox

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Have Flower authenticate and answer a request; return status and body."""
        kind, handle = _HANDLERS[path]
        try:
            request = kind.FromString(body)
            asked = SimpleNamespace(protobuf_request=request)
            seen = SimpleNamespace(headers=headers, state=asked, app=self._app)
            authenticate_node(cast(HttpRequest, seen))
            return 200, handle(request, self.mailbox).SerializeToString()
        except FlowerError as error:
            return API_ERROR_MAP[error.code].http_status_code, b""
        except HTTPException as error:
            return error.status_code, b""
        except (DecodeError, LookupError, ValueError) as error:
            log.warning("site %s: %s: no valid request: %s", caller.get().site, path, error)
            return 400, b""


def guarded(mailbox: Mailbox, *, largest: int) -> Guard:
    """Return the ASGI application that sites speak to.

    Parameters
    ----------
    mailbox
        Where messages are.
    largest
        Most bytes in the body of one request.
    """
    # Flower speaks of every request; of what goes wrong we speak, with the site's name.
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    return Guard(
        Api(mailbox),
        members=mailbox.members,
        routes=frozenset(_HANDLERS),
        newcomers="/v1/fleet/activate-node",
        key_header=FLEET_HTTP_PUBLIC_KEY_HEADER,
        time_header=TIMESTAMP_HEADER,
        largest=largest,
    )

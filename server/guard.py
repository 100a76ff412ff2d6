"""What stands before Flower's Fleet API: it lets in whole requests of enrolled keys.

Flower's node authentication comes after it and stays on, but its signature covers only the time of
a request, and its server reads a body whole before it asks who sent it. Here a request is measured
before it is read, its signature covers all of it, and it is taken once.
"""

import asyncio
import logging
import threading
import time
from base64 import b64decode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tacit.signed_request import INSTANCE_HEADER, SIGNATURE_HEADER, signed_text, verified

log = logging.getLogger(__name__)

HEALTH: Final = "/health"
PATIENCE: Final = 120.0
"""Seconds in which the body of a request must have come."""
THREADS: Final = 8
"""Threads that answer requests, beside those that sites may hold open."""
WINDOW: Final = 320.0
"""Seconds for which a request is remembered: a little more than Flower takes its time for new."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the node of a site, and which process of that site."""

    node: int
    site: str
    instance: str


caller: ContextVar[Caller] = ContextVar("caller")
"""Who sent the request that is being answered; not set in the server's own threads."""


@dataclass(frozen=True, slots=True)
class Member:
    """An enrolled site."""

    node: int
    site: str
    key: EllipticCurvePublicKey


class FleetApi(Protocol):
    """Answers requests that were let in."""

    def instance_of(self, node: int) -> str | None:
        """Return the process that may speak for a site, or None if there is none yet."""

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer; called in a thread, with `caller` set."""


class _Refusal(Exception):  # noqa: N818 (it is an answer, not a fault)
    def __init__(self, status: int, site: str, said: str) -> None:
        super().__init__(said)
        self.status = status
        self.site = site


class Guard:
    """Let requests through that an enrolled key signed whole and that are small enough.

    Parameters
    ----------
    api
        What answers them.
    members
        The enrolled sites, by their public key in PEM.
    routes
        The paths that exist, beside `HEALTH`.
    newcomers
        The one among them that a new process of a site may ask for.
    key_header, time_header
        Flower's names for the headers with the sender's key and the time.
    largest
        Most bytes in the body of a request.
    """

    def __init__(
        self,
        api: FleetApi,
        *,
        members: Mapping[bytes, Member],
        routes: frozenset[str],
        newcomers: str,
        key_header: str,
        time_header: str,
        largest: int,
    ) -> None:
        self._api = api
        self._members = members
        self._routes = routes
        self._newcomers = newcomers
        self._key_header = key_header
        self._time_header = time_header
        self._largest = largest
        # Each site may have one request held open, and a few more on their way.
        self._threads = ThreadPoolExecutor(THREADS + 2 * len(members), "fleet-api")
        self._lock = threading.Lock()
        self._seen: dict[bytes, float] = {}
        self._said: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with a status and one line in the log."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path == HEALTH and scope["method"] in ("GET", "HEAD"):
            await Response()(scope, receive, send)
            return
        try:
            if scope["type"] != "http" or scope["method"] != "POST" or path not in self._routes:
                raise _Refusal(404, "", "there is nothing here")
            headers = Headers(scope=scope)
            member = self._member(headers, scope)
            body = await self._body(member.site, headers, receive)
            work = partial(self._answer, member, path, headers, body)
            del body
            loop = asyncio.get_running_loop()
            status, content = await loop.run_in_executor(self._threads, copy_context().run, work)
        except _Refusal as refusal:
            self._say(refusal.site, f"{path}: refused ({refusal.status}): {refusal}")
            status, content = refusal.status, str(refusal).encode()
        await Response(content, status)(scope, receive, send)

    def _member(self, headers: Headers, scope: Scope) -> Member:
        try:
            sent = b64decode(headers.get(self._key_header, ""), validate=True)
        except ValueError:
            sent = b""
        if (member := self._members.get(sent)) is None:
            host = (scope.get("client") or ("somebody",))[0]
            raise _Refusal(403, "", f"{host} has a key that is not enrolled")
        return member

    async def _body(self, site: str, headers: Headers, receive: Receive) -> bytes:
        """Read the body, never more of it than is allowed."""
        too_large = _Refusal(413, site, f"more than {self._largest} bytes in one request")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._largest:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE):
                more = True
                while more:
                    part = await receive()
                    if part["type"] == "http.disconnect":
                        raise _Refusal(400, site, "the connection ended within a request")
                    body += part.get("body", b"")
                    more = part.get("more_body", False)
                    if len(body) > self._largest:
                        raise too_large
        except TimeoutError:
            raise _Refusal(408, site, f"no whole request in {PATIENCE:g} s") from None
        return bytes(body)

    def _answer(
        self, member: Member, path: str, headers: Headers, body: bytes
    ) -> tuple[int, bytes]:
        instance = headers.get(INSTANCE_HEADER, "")
        text = signed_text(instance, path, headers.get(self._time_header, ""), body)
        if not verified(member.key, text, headers.get(SIGNATURE_HEADER, "")):
            raise _Refusal(401, member.site, "the signature does not fit the request")
        self._once(member.site, text)
        if path != self._newcomers and self._api.instance_of(member.node) != instance:
            raise _Refusal(409, member.site, "this process has not said that it is there")
        caller.set(Caller(member.node, member.site, instance))
        status, content = self._api.answer(path, headers, body)
        if status >= 400:
            self._say(member.site, f"{path}: answered with status {status}")
        return status, content

    def _once(self, site: str, text: bytes) -> None:
        """Take a request once; the text is kept and not the signature, which has a twin."""
        now = time.monotonic()
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now:
                del self._seen[next(iter(self._seen))]
            if text in self._seen:
                raise _Refusal(401, site, "the same request came twice")
            self._seen[text] = now + WINDOW

    def _say(self, site: str, line: str) -> None:
        """Log a line, once while it stays the same: nobody fills the log by repeating."""
        if self._said.get(site) != line:
            self._said[site] = line
            log.warning("%s%s", f"site {site}: " if site else "", line)

"""Reads a coordinator's status over gRPC, waits where it may come back, and says what is wrong."""

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Final, NoReturn
from urllib.parse import urlsplit

import grpc

from server.status import Status, printable
from server.watch_bundle import Bundle
from tacit.errors import ConfigurationError, InputError

METHODS: Final = "/tacit.Status/"
PATIENCE: Final = 20.0
"""Seconds in which a single status must come."""
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between two attempts; the last one from then on."""

OPTIONS: Final = (
    # A coordinator whose machine went away is noticed within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)

# gRPC says UNAVAILABLE to all that follows: only its details tell one from another. The tests see
# each of them happen, so that a gRPC with other words is noticed.
_OTHER_CA: Final = (
    "its certificate is not of this bundle's CA: is the bundle from this coordinator?"
)
_OTHER_PORT: Final = "no coordinator is watched at this port: is it another of its ports?"
HOPELESS: Final = {
    r"Hostname Verification Check failed": "its certificate is not for this name: write a name or "
    "address that the certificate was made for",
    r"certificate has expired": "its certificate has expired: the coordinator must renew it, or "
    "this machine's clock is wrong",
    r"certificate is not yet valid": "its certificate is not in force yet: are the clocks right?",
    r"CERTIFICATE_VERIFY_FAILED|certificate signature failure": _OTHER_CA,
    r"WRONG_VERSION_NUMBER|missing selected ALPN|Trying to connect an http1": _OTHER_PORT,
}
"""Nothing that waiting could help."""
HOPELESS_AT_FIRST: Final = {
    # The handshake went well at this end, and then the other end hung up.
    r"last error: \S+ \S+ (Socket closed|\w+:Connection reset|\w+:Broken pipe)": "it hung up on "
    "this bundle's certificate: has it another CA, or a clock that is wrong?",
    r"hostname lookup error": "there is no such host",
}
"""Only a slip before the first connection; later a matter of the network."""
PASSING: Final = {
    r"Connection refused": "nothing listens there",
    r"ping.timeout|keepalive|Endpoint closing|[Tt]imed? ?out|SETTINGS": "it does not answer",
    r"Socket closed|reset by peer|Broken pipe|GOAWAY|Stream removed": "the connection was lost",
}


class NoAnswerError(Exception):
    """Nothing came, for a cause that may pass; the message says which."""


def fetch(address: str, bundle: Bundle) -> Status:
    """Read the status once.

    Raises
    ------
    InputError
        Nothing answers, the other end is no coordinator, or this end may not read.
    """
    with _channel(address, bundle) as channel:
        try:
            get: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHODS + "Get")
            found = get(b"", timeout=PATIENCE)
        except grpc.RpcError as error:
            try:
                _explain(error, address, before=False)
            except NoAnswerError as cause:
                raise InputError(f"{address}: {cause}: is the coordinator running?") from error
    return Status.from_json(found)


def follow(
    address: str,
    bundle: Bundle,
    say: Callable[[str], None],
    pauses: Sequence[float] = PAUSES,
) -> Iterator[Status]:
    """Yield every status until the run is over; start again whenever the connection is lost.

    Parameters
    ----------
    address
        HOST:PORT.
    bundle
        Who this end is.
    say
        Told why there is no connection at each attempt, and "" when there is one again.
    pauses
        Seconds between two attempts; the last one from then on.

    Raises
    ------
    InputError
        The other end is no coordinator, or this end may not read: waiting would not help.
    """
    before, failures = False, 0
    while True:
        try:
            with closing(_stream(address, bundle, before=before)) as stream:
                for status in stream:
                    if failures:
                        say("")
                    before, failures = True, 0
                    yield status
                    if status.phase.over:
                        return
        except NoAnswerError as cause:
            say(f"{address}: {cause}; trying again until it answers")
        time.sleep(pauses[min(failures, len(pauses) - 1)])
        failures += 1


def _stream(address: str, bundle: Bundle, *, before: bool) -> Generator[Status]:
    with _channel(address, bundle) as channel:
        try:
            watch: grpc.UnaryStreamMultiCallable[bytes, bytes]
            watch = channel.unary_stream(METHODS + "Watch")
            for message in watch(b""):
                yield Status.from_json(message)
        except grpc.RpcError as error:
            _explain(error, address, before=before)
    raise NoAnswerError("the connection was lost")


def _channel(address: str, bundle: Bundle) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(bundle.ca, bundle.key, bundle.certificate)
    # Without the scheme a host named unix would be a socket on this machine.
    return grpc.secure_channel(f"dns:///{_checked(address)}", credentials, options=OPTIONS)


def _checked(address: str) -> str:
    parts = urlsplit(f"//{address}")
    try:
        whole = bool(parts.hostname and parts.port) and parts.netloc == address
    except ValueError:
        whole = False
    if not whole or "@" in address:
        raise ConfigurationError(
            f"address {address!r} must be HOST:PORT, such as coordinator.example.org:9093"
        )
    return address


def _explain(error: grpc.RpcError, address: str, *, before: bool) -> NoReturn:
    """Say in a person's words what is wrong, and whether it may pass."""
    code, details = error.code(), printable(error.details() or "")
    if code is grpc.StatusCode.PERMISSION_DENIED:
        raise InputError(f"{address}: {details}: ask the coordinator to add it") from error
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise InputError(f"{address}: {_OTHER_PORT}") from error
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise NoAnswerError("it does not answer") from error
    hopeless = HOPELESS if before else HOPELESS | HOPELESS_AT_FIRST
    if code is grpc.StatusCode.UNAVAILABLE:
        for pattern, words in hopeless.items():
            if re.search(pattern, details):
                raise InputError(f"{address}: {words}") from error
        for pattern, words in PASSING.items():
            if re.search(pattern, details):
                raise NoAnswerError(words) from error
    raise NoAnswerError(details[-160:] or code.name) from error

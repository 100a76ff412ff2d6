"""The server's end of the network: sites connect to it over TLS, and the round loop through it."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from flwr.serverapp import Grid

from server.grid import MailGrid
from server.superlink import Mailbox, guarded
from tacit.errors import ConfigurationError, TacitError

log = logging.getLogger(__name__)

LARGEST: Final = 8 << 20
"""Most bytes in one request: a chunk of an array has 5 MiB."""
MOST: Final = 2 << 30
"""Most bytes in one reply."""
_STARTING: Final = 30.0
_STOPPING: Final = 5


@dataclass(frozen=True, slots=True)
class Link:
    """What the round loop has of the network.

    Parameters
    ----------
    grid
        Sends messages to sites and returns their replies.
    names
        Site of every enrolled node: node ids follow from keys and stay the same.
    port
        The port on which the server listens.
    """

    grid: Grid
    names: Mapping[int, str]
    port: int
    _mailbox: Mailbox

    def present(self) -> frozenset[str]:
        """Return the sites whose heartbeat is alive."""
        return frozenset(self.names[node] for node in self._mailbox.present_nodes())


@contextmanager
def superlink(
    *,
    host: str,
    port: int,
    certificate: Path,
    key: Path,
    nodes: Mapping[str, EllipticCurvePublicKey],
    heartbeat: float = 30.0,
    largest: int = LARGEST,
    most: int = MOST,
) -> Iterator[Link]:
    """Serve the enrolled sites for as long as the block runs.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes one that is free.
    certificate, key
        The server's certificate (with whatever is between it and the CA) and private key, PEM.
    nodes
        Public key of every site that may connect, by name; no other can.
    heartbeat
        Seconds between two signs of life of a site; a site is present for two of them.
    largest
        Most bytes in the body of one request.
    most
        Most bytes in one reply, whatever it is made of.

    Raises
    ------
    ConfigurationError
        Certificate and key cannot be used, the address is taken or not ours, or two sites have
        the same key.
    """
    mailbox = Mailbox(nodes, heartbeat=heartbeat, most=most)
    config = uvicorn.Config(
        guarded(mailbox, largest=largest),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOPPING,
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f"the server cannot use certificate {certificate} with key {key}: {error}"
        ) from error
    if config.ssl is None:
        raise ConfigurationError(f"no certificate and key in {certificate} and {key}")
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    with _listening(host, port) as listener:
        server = _Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="fleet-api", daemon=True
        )
        thread.start()
        try:
            server.wait(thread)
            yield Link(MailGrid(mailbox), mailbox.names, listener.getsockname()[1], mailbox)
        finally:
            server.should_exit = True
            mailbox.close()
            thread.join(2 * _STOPPING)


class _Server(uvicorn.Server):
    """A uvicorn server that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self._ready.set()

    def wait(self, thread: threading.Thread) -> None:
        if not self._ready.wait(_STARTING) or not self.started or not thread.is_alive():
            raise TacitError("the server's network did not start: the log says why")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"the server cannot listen on {host} port {port}: {error.strerror}; "
            "choose an address of this machine and a port that is free"
        ) from error
    with listener:
        yield listener

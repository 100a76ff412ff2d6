"""A resident site: answer the server's messages one after the other, whatever the network does."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import Context, Message, RecordDict

from client.connection import LARGEST, MOST, Connection, ConnectionState, Unreachable, Unwanted
from strategies.objects import return_memory

__all__ = ["HEARTBEAT", "ConnectionState", "serve"]

log = logging.getLogger(__name__)

HEARTBEAT: Final = 30.0
"""Seconds between two signs of life; the server must go by the same."""
PAUSE: Final = 0.05
"""Seconds between two questions for messages; the server holds each until there is one."""
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 5.0


def serve(
    *,
    address: str,
    ca: Path,
    node_key: EllipticCurvePrivateKey,
    app: Callable[[Message, Context], Message],
    name: str,
    stop: threading.Event,
    on_state: Callable[[ConnectionState], None],
    heartbeat: float = HEARTBEAT,
    largest: int = LARGEST,
    most: int = MOST,
) -> None:
    """Answer the server's messages, one after the other, until `stop` is set.

    The connection is made again for ever. What the app raises ends it.

    Parameters
    ----------
    address
        HOST:PORT of the server.
    ca
        Certificate of the only authority whose servers are trusted, PEM.
    node_key
        The site's key, which the server has enrolled.
    app
        Answers a message; the context's `node_config["site"]` is the site's name.
    name
        The site's name.
    stop
        Ends the work before the next message, within seconds; a transfer that has stalled is
        given up after a minute.
    on_state
        Told when the server begins to answer, and when it does not any more.
    heartbeat
        Seconds between two signs of life.
    largest
        Most bytes in one request or answer.
    most
        Most bytes in one message of the server.

    Raises
    ------
    ConfigurationError
        The CA's certificate cannot be read.
    """
    connection = Connection(address, ca, node_key, name, on_state, largest, most)
    state = RecordDict()
    waiting = _Waiting(stop)
    with connection, _beating(connection, heartbeat, stop):
        while not stop.is_set():
            try:
                message = connection.receive()
            except Unreachable:
                waiting.longer()
                continue
            waiting.over()
            if message is None:
                stop.wait(PAUSE)
                continue
            epoch = connection.epoch
            run, node = message.metadata.run_id, message.metadata.dst_node_id
            reply = app(message, Context(run, node, {"site": name}, state, {}))
            del message  # its arrays would be held while the reply's are sent
            return_memory()
            _deliver(connection, reply, epoch, stop)
            del reply
            return_memory()


def _deliver(connection: Connection, reply: Message, epoch: int, stop: threading.Event) -> None:
    """Send a reply until the server has it or does not want it any more."""
    waiting = _Waiting(stop)
    while not stop.is_set():
        if connection.epoch != epoch:
            log.warning("the server was started again: a reply to the one before is dropped")
            return
        try:
            connection.send(reply)
        except Unreachable:
            waiting.longer()
        except Unwanted as error:
            log.warning("the server does not take the reply: %s", error)
            return
        else:
            return


class _Waiting:
    """Waits longer from time to time, at random: sites do not all come back at once."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._seconds = _FIRST_WAIT

    def longer(self) -> None:
        """Wait, and the next time twice as long."""
        self._stop.wait(self._seconds * random.uniform(0.5, 1.5))
        self._seconds = min(2 * self._seconds, _LONGEST_WAIT)

    def over(self) -> None:
        """Begin again with a short wait."""
        self._seconds = _FIRST_WAIT


@contextmanager
def _beating(connection: Connection, heartbeat: float, stop: threading.Event) -> Iterator[None]:
    """Show in the background that this site is there, also while its app works."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(heartbeat):
            with suppress(Unreachable, Unwanted):
                connection.beat(heartbeat)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        connection.leave()

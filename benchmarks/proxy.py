"""A TCP proxy on loopback that cuts, slows down or freezes what goes through it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

PIECE: Final = 1 << 14
BEHIND: Final = 0.2
"""Seconds by which each piece is late on a slow connection."""


class Proxy:
    """Passes connections on to a port of this machine; its faults are switched while it runs.

    Attributes
    ----------
    port
        Where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._flows = threading.Event()
        self._quick = threading.Event()
        for each in (self._open, self._flows, self._quick):
            each.set()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut every connection and take no new one."""
        self._open.clear()
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _shut(end)

    def freeze(self) -> None:
        """Pass nothing on, and keep every connection."""
        self._flows.clear()

    def slow(self) -> None:
        """Pass everything on late."""
        self._quick.clear()

    def mend(self) -> None:
        """Be a good connection again."""
        for each in (self._open, self._flows, self._quick):
            each.set()

    def close(self) -> None:
        """Stop for good."""
        _shut(self._listener)
        self._listener.close()
        self.cut()
        self.mend()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            if not self._open.is_set():
                return
            with socket.create_connection(("127.0.0.1", self._target)) as far:
                with self._lock:
                    self._ends |= {near, far}
                back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
                back.start()
                self._pass_on(near, far)
                back.join()
                with self._lock:
                    self._ends -= {near, far}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                self._flows.wait()
                if not self._quick.is_set():
                    time.sleep(BEHIND)
                target.sendall(piece)
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Give a proxy to a port of this machine."""
    running = Proxy(target)
    try:
        yield running
    finally:
        running.close()

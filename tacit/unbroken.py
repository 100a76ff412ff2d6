"""Ctrl-C and SIGTERM, held back while something must not stop half-way."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def unbroken() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until a block has ended, and take effect then.

    Python runs their handlers between any two steps of the main thread, also between one that
    begins a transaction and the `try` that would undo it. Other threads never see them. A signal
    that is ignored stays ignored.
    """
    if current_thread() is not main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            handlers[number] = signal.getsignal(number)
            if handlers[number] is not signal.SIG_IGN:
                signal.signal(number, lambda *which: came.append(which))
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, handler or signal.SIG_DFL)
        for first, frame in came[:1]:
            handler = handlers[signal.Signals(first)]
            if callable(handler):
                handler(first, frame)
            else:
                signal.raise_signal(first)

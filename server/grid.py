"""Flower's Grid over the mailbox of this process: it waits for replies without polling."""

import time
from collections.abc import Iterable

from flwr.app import Message

from server.around import OwnGrid
from server.superlink import Mailbox, Run


class MailGrid(OwnGrid):
    """A grid whose nodes are the sites that are connected to this process.

    A message to a site that is not there, goes away or does not answer in time is left out of the
    replies; a reply that cannot be read comes back as an error of its site.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def set_run(self, run: Run) -> None:
        """Refuse: the run of this grid is the one that it was made for."""
        raise NotImplementedError("a server process has one run: start another process")

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._mailbox.run

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of the sites that are there."""
        return sorted(self._mailbox.present_nodes())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Store messages for their sites; return the ids of those whose site is there."""
        posted = (self._mailbox.post(message) for message in messages)
        return [name for name in posted if name is not None]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there, each once, without waiting."""
        settled = self._mailbox.collect(set(message_ids), until=time.monotonic())
        return [reply for reply in settled.values() if reply is not None]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies that come within `timeout` seconds of the call.

        Afterwards nothing of messages and replies is left in the mailbox, whatever came.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pending = set(self.push_messages(messages))
        del messages  # they may be large, and the mailbox has what is to be sent
        replies = []
        try:
            while pending and (until is None or time.monotonic() < until):
                settled = self._mailbox.collect(pending, until)
                pending -= settled.keys()
                replies += [reply for reply in settled.values() if reply is not None]
        finally:
            self._mailbox.forget(pending)
        return replies

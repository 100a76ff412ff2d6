"""Flower's Grid in one process: a message is answered by a call, without a network or Ray."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from flwr.app import Context, Message

from server.around import OwnGrid
from simulations.flower import SERVER_NODE, Run, become_server, name_message, site_context

Engine = Callable[[Sequence[tuple[Message, str]]], Sequence[Message | None]]
"""Answers messages, each with the site that it is for, in their order; None where nothing comes."""


def loop_engine(app: Callable[[Message, Context], Message]) -> Engine:
    """Return the engine that calls the sites' app one after another: cohorts of one."""
    return lambda cohort: [
        app(message, site_context(message.metadata.dst_node_id, site)) for message, site in cohort
    ]


class LocalGrid(OwnGrid):
    """A grid whose nodes are sites of this process.

    Node ids follow the order of the names, so that they are the same in every run.

    Parameters
    ----------
    sites
        Names of the sites.
    engine
        Answers messages.
    """

    def __init__(self, sites: Iterable[str], engine: Engine) -> None:
        self._run = become_server()
        self._engine = engine
        self.names: Mapping[int, str] = dict(enumerate(sorted(sites), start=SERVER_NODE + 1))
        self._replies: dict[str, Message] = {}
        self._sent = 0

    def set_run(self, run: Run) -> None:
        """Take another run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def get_node_ids(self) -> Iterable[int]:
        """Return the node of every site."""
        return list(self.names)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer messages at once and keep the replies; return the messages' ids."""
        cohort = []
        for message in messages:
            node = message.metadata.dst_node_id
            self._sent += 1
            name_message(message, f"message-{self._sent}")
            cohort.append((message, self.names[node]))
        ids = [message.metadata.message_id for message, _ in cohort]
        for name, reply in zip(ids, self._engine(cohort), strict=True):
            if reply is not None:
                self._replies[name] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out replies, each once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer messages and return the replies; nothing can be late, so `timeout` is unused."""
        return self.pull_messages(self.push_messages(messages))

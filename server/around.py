"""What Tacit's grids share: how a message is made, and how a grid passes on to another."""

from collections.abc import Collection, Iterable
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid


class OwnGrid(Grid):
    """A grid of this process, whose messages are Flower's own."""

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


class GridAround(Grid):
    """Another grid as it is, for what changes a part of it.

    Parameters
    ----------
    grid
        Does everything.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes."""
        return self._grid.get_node_ids()

    def set_run(self, run: Any) -> None:
        """Take another run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """The run's description."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message to a node."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; return their ids."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out the replies that are there."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies."""
        return self._grid.send_and_receive(messages, timeout=timeout)


class ShownGrid(GridAround):
    """Another grid with fewer nodes: Flower's strategies address every node that they see.

    Parameters
    ----------
    grid
        Does everything else.
    nodes
        Those that are shown.
    """

    def __init__(self, grid: Grid, nodes: Collection[int]) -> None:
        super().__init__(grid)
        self._nodes = nodes

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are shown."""
        return list(self._nodes)

"""A run under audit, with what several stages of it share."""

from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from rich.console import Console

from audits.bench import Bench
from audits.repeat import Repeated, repeated
from audits.stranger import Stranger


class Case:
    """A run under audit; a context manager, at whose end the run that was made again is gone.

    Parameters
    ----------
    stranger
        The run.
    console
        Shows how far a run that is made again is.
    """

    def __init__(self, stranger: Stranger, console: Console) -> None:
        self.stranger = stranger
        self.console = console
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @cached_property
    def bench(self) -> Bench:
        """The run's model, plan and engine, on rows that the audit makes."""
        return Bench(self.stranger)

    @cached_property
    def again(self) -> Repeated:
        """The run once more: made for the first stage that asks, and kept for the others.

        Raises
        ------
        TacitError
            It cannot be made again.
        """
        return self._opened.enter_context(repeated(self.stranger, self.console))

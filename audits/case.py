"""A run under audit, with what several stages of it share."""

from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from audits.bench import Bench
from audits.repeat import Repeated, repeated
from audits.stranger import Stranger
from tacit.runs.audited import FILE, Finding, StageName, read_audit

IN_RUN: Final = "in the run"
WHILE: Final = ", while it trained"
"""What the tests of canaries end with: of a run that is made again, and of the run itself."""


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

    def heard_in_the_run(self) -> list[Finding]:
        """Return what canaries said of the run while it trained, where it carried any.

        Raises
        ------
        RunDirectoryError
            audit.json is damaged.
        """
        if self.stranger.settings.audit is None:
            return []
        audit = read_audit(self.stranger.path / FILE)
        if audit is None or audit.weights != self.stranger.results.weights_sha256:
            why = f"the run carried canaries, and what they heard is gone with its {FILE}"
            return [Finding(f"canaries{WHILE}", why, tested=False)]
        mechanism = next(each for each in audit.stages if each.name is StageName.MECHANISM)
        own = [each for each in mechanism.findings if each.test.endswith((IN_RUN, WHILE))]
        trained = [each for each in own if each.test.endswith(WHILE)]
        return trained or [replace(each, test=f"{each.test}{WHILE}") for each in own]

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

"""What stands in a ledger, for whoever reads it: its rows, what they add up to, whether they hold.

Reading changes nothing and waits for nobody: a view shows the ledger as it stood when it was
opened, while a site may go on writing.

>>> with read_ledger(path) as view:
...     view.verify()
...     view.check_head()
...     print(view.standing())
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tacit.errors import LedgerError
from tacit.privacy.book import Book, Charged, Fixed, Run
from tacit.privacy.chain import NO_ROWS, Receipt, Row, Rows
from tacit.privacy.events import Event
from tacit.privacy.ledger_file import damage
from tacit.privacy.ledger_filter import renyi_budget, renyi_epsilon
from tacit.privacy.ledger_reading import Reading, opened


@dataclass(frozen=True, slots=True)
class Standing:
    """What everything charged so far has cost, at the ledger's lifetime δ, by both accountants.

    Parameters
    ----------
    delta
        The lifetime's δ.
    pld
        ε by PLD: what it is where all runs were planned before the first of them began.
    rdp
        ε by Rényi DP at `order`: what it is whatever later runs made of earlier ones' outputs.
    order
        The ledger's Rényi order; None before its first private run.
    spent, committed
        Rényi divergence at `order` of all that was charged; and of what the filter counts: that,
        with all that open runs may still be charged, and the whole of a run that filled the ledger
        alone.
    """

    delta: float
    pld: float
    rdp: float
    order: int | None
    spent: float
    committed: float


class LedgerView(Reading):
    """The ledger of one data set, by the name its officer gives; made by `read_ledger`."""

    def __init__(self, rows: Rows, fixed: Fixed) -> None:
        super().__init__(rows, fixed)
        self._forget()

    def spent_events(self, run: str | None = None) -> list[Event]:
        """Give all that was charged, net of settlements: one event a run."""
        with self._transaction():
            runs = [each for name, each in self._book.runs.items() if run in (None, name)]
            return [event for each in runs for event in each.spent()]

    def standing(self) -> Standing:
        """Compute what everything charged so far has cost.

        Infinite once noise was predictable or absent.
        """
        with self._transaction():
            book = self._book
        # Not inside: a writer would wait for seconds of accounting.
        return standing_of(book, self.delta)

    def runs(self) -> Mapping[str, Run]:
        """Give what stands for each run, in the order of their reservations; look, do not touch."""
        with self._transaction():
            return MappingProxyType(self._book.runs)

    def rows(self) -> list[Row]:
        """Give every row, oldest first."""
        with self._transaction():
            return list(self._book.rows)

    def verify(self) -> None:
        """Read everything from the disk again and check every row and the kept replies.

        Raises
        ------
        LedgerError
            Anything was changed, is missing or could not have come about.
        """
        self._forget()
        with self._transaction():
            for run in self._book.runs.values():
                if run.latest is not None:
                    self._reply(run.latest)

    def backup(self, target: Path) -> None:
        """Copy the whole ledger, as it stands now, to a new file for reading.

        Opened as the ledger later it is found to be an old copy, unless nothing was charged since.

        Raises
        ------
        ConfigurationError
            There is such a file, or no such folder.
        LedgerError
            The copy is not the same.
        """
        with self._transaction():
            self._rows.copy_to(target)
            self._check_copy(target)

    def _check_copy(self, target: Path) -> None:
        try:
            with read_ledger(target, self.head_path) as copy:
                copy.verify()
                if copy.receipt() != self._rows.tail:
                    raise damage(target, "it is not what it was copied from")
        except BaseException:
            target.unlink()
            raise

    def _reply(self, charged: Charged) -> list[bytes]:
        reply = self._rows.reply(charged.charge.run)
        if reply_sha256(reply) != charged.reply:
            raise LedgerError(
                f"{self.path} is damaged: the reply kept for run {charged.charge.run!r} is "
                "not the one that was stored"
            )
        return reply

    def _read(self) -> None:
        for row in self._rows.unread():
            self._book.enter(row)

    def _forget(self) -> None:
        self._book = Book()
        self._rows.tail = Receipt(0, NO_ROWS)


def reply_sha256(reply: Sequence[bytes]) -> str:
    """Hash the parts of a reply, and where each ends."""
    digests = (hashlib.sha256(part).digest() for part in reply)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def standing_of(book: Book, delta: float) -> Standing:
    """Compute what everything charged so far in a book has cost at a lifetime's δ."""
    from tacit.privacy.accounting import Accountant, epsilon, renyi_divergence

    runs, order = list(book.runs.values()), book.order
    spent = [event for run in runs for event in run.spent()]
    if any(run.spent() and not run.plan.private for run in runs):
        return Standing(delta, math.inf, math.inf, order, math.inf, math.inf)
    if order is None:
        return Standing(delta, 0.0, 0.0, None, 0.0, 0.0)
    divergence = renyi_divergence(spent, order)
    budget = renyi_budget(book.largest_limit, delta, order)
    return Standing(
        delta=delta,
        pld=epsilon(spent, delta, Accountant.PLD),
        rdp=renyi_epsilon(divergence, delta, order) if spent else 0.0,
        order=order,
        spent=divergence,
        committed=renyi_divergence([e for run in runs for e in run.counted(budget)], order),
    )


def read_ledger(path: Path, head_path: Path | None = None) -> LedgerView:
    """Open a ledger to read it, beside whoever writes it, and check every row.

    The second place is read, not checked: `LedgerView.check_head` does, so that a backup can be
    read too.

    Parameters
    ----------
    path
        The SQLite file.
    head_path
        Second place for the count of rows and the last hash; by default ``<path>.head``.

    Raises
    ------
    ConfigurationError
        There is no such file.
    LedgerError
        It is damaged, or was moved elsewhere.
    """
    return opened(path, head_path, lambda rows, first: LedgerView(rows, Fixed.from_row(first)))

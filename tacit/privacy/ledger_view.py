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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from tacit.errors import LedgerError, TacitError
from tacit.privacy.book import Book, Charged, Fixed, Run
from tacit.privacy.chain import NO_ROWS, Receipt, Row, Rows, open_rows
from tacit.privacy.events import Event, Relation, Unit
from tacit.privacy.ledger_file import damage
from tacit.privacy.ledger_filter import renyi_budget, renyi_epsilon


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


class LedgerView:
    """The ledger of one data set, by the name its officer gives; made by `read_ledger`.

    Attributes
    ----------
    data_set, unit, relation, delta
        What its first row fixed for good: the data set's name, whose presence is hidden, between
        which data sets, and the δ at which everything ever released is counted.
    """

    def __init__(self, rows: Rows, fixed: Fixed) -> None:
        self.data_set: str = fixed.data_set
        self.unit: Unit = fixed.unit
        self.relation: Relation = fixed.relation
        self.delta: float = fixed.delta
        self._rows = rows
        self._forget()

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._rows.path

    @property
    def head_path(self) -> Path:
        """The second place, which keeps the count of rows and the last hash."""
        return self._rows.head_path

    def spent_events(self, run: str | None = None) -> list[Event]:
        """Give all that was charged, net of settlements: one event a run."""
        with self._transaction():
            runs = [each for name, each in self._book.runs.items() if run in (None, name)]
            return [event for each in runs for event in each.spent()]

    def standing(self) -> Standing:
        """Compute what everything charged so far has cost.

        Infinite once noise was predictable or absent.
        """
        from tacit.privacy.accounting import Accountant, epsilon, renyi_divergence

        with self._transaction():
            runs, order = list(self._book.runs.values()), self._book.order
            limit = self._book.largest_limit
        spent = [event for run in runs for event in run.spent()]
        if any(run.spent() and not run.plan.private for run in runs):
            return Standing(self.delta, math.inf, math.inf, order, math.inf, math.inf)
        if order is None:
            return Standing(self.delta, 0.0, 0.0, None, 0.0, 0.0)
        divergence = renyi_divergence(spent, order)
        budget = renyi_budget(limit, self.delta, order)
        return Standing(
            delta=self.delta,
            pld=epsilon(spent, self.delta, Accountant.PLD),
            rdp=renyi_epsilon(divergence, self.delta, order) if spent else 0.0,
            order=order,
            spent=divergence,
            committed=renyi_divergence([e for run in runs for e in run.counted(budget)], order),
        )

    def runs(self) -> Mapping[str, Run]:
        """Give what stands for each run, in the order of their reservations; look, do not touch."""
        with self._transaction():
            return MappingProxyType(self._book.runs)

    def rows(self) -> list[Row]:
        """Give every row, oldest first."""
        with self._transaction():
            return list(self._book.rows)

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash, for somebody else to keep."""
        with self._transaction():
            return self._rows.tail

    def check_receipt(self, receipt: Receipt, keeper: str = "the receipt") -> None:
        """Refuse when this ledger does not go on from a receipt that it gave before.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        with self._transaction():
            self._rows.check_receipt(receipt, keeper)

    def check_head(self) -> None:
        """Refuse when this ledger does not go on from what the second place keeps.

        Raises
        ------
        LedgerError
            It has fewer rows, or others, or nothing is kept.
        """
        with self._transaction():
            self._rows.check_head()

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

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the rows still, all of them read; what is written is kept whole or not."""
        on_disk = None
        try:
            with self._rows.transaction():
                self._catch_up()
                on_disk = self._rows.tail
                yield
        except BaseException:
            # Memory must never hold a row that the disk may not.
            if self._rows.tail != on_disk:
                self._forget()
            raise

    def _catch_up(self) -> None:
        with believed(self._rows):
            self._read()

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


@contextmanager
def believed(rows: Rows) -> Iterator[None]:
    """Say which row could not have come about."""
    try:
        yield
    except LedgerError:
        raise
    except (TacitError, KeyError, TypeError, ValueError) as error:
        raise LedgerError(
            f"{rows.path}: row {rows.tail.count + 1} cannot stand: {error}"
        ) from error


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
    rows = open_rows(path, head_path or path.with_name(path.name + ".head"))
    try:
        with rows.transaction(), believed(rows):
            first = next(rows.unread(), None)
            if first is None:
                rows.check_head()
                raise damage(path, "it has no rows")
            fixed = Fixed.from_row(first)
        view = LedgerView(rows, fixed)
        view.receipt()
    except BaseException:
        rows.close()
        raise
    return view

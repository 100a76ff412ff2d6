"""What every ledger has, whoever it is of: rows that hold, a receipt, and a second place."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tacit.errors import LedgerError, TacitError
from tacit.privacy.book import Fixed
from tacit.privacy.chain import Receipt, Row, Rows, open_rows
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger_file import damage


class Reading(ABC):
    """A ledger that is read.

    Whoever derives from it says what becomes of rows (`_read`) and how all is read anew
    (`_forget`).

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

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._rows.path

    @property
    def head_path(self) -> Path:
        """The second place, which keeps the count of rows and the last hash."""
        return self._rows.head_path

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

    @abstractmethod
    def _read(self) -> None:
        """Take in the rows that were not read yet."""

    @abstractmethod
    def _forget(self) -> None:
        """Go back to before the first row."""


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


View = TypeVar("View", bound=Reading)


def opened(path: Path, head_path: Path | None, view_of: Callable[[Rows, Row], View]) -> View:
    """Open a ledger to read it, beside whoever writes it, and check every row.

    Parameters
    ----------
    path
        The SQLite file.
    head_path
        Second place for the count of rows and the last hash; by default ``<path>.head``.
    view_of
        Makes the view from the rows, of which it also gets the first.

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
            view = view_of(rows, first)
        view.receipt()
    except BaseException:
        rows.close()
        raise
    return view

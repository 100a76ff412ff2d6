"""What stands in a ledger of many sites, for whoever reads it: of all of them, or of one.

Reading changes nothing and waits for nobody, also while the simulation goes on.

>>> with read_any(path) as view:
...     view.verify()
...     print(view.of("user-000003").standing())
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tacit.errors import ConfigurationError
from tacit.privacy.book import Book, Fixed, Run
from tacit.privacy.chain import NO_ROWS, Receipt, Row, Rows
from tacit.privacy.cohort_book import enter, fixed_of, opens_together
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger_reading import Reading, opened
from tacit.privacy.ledger_view import LedgerView, Standing, standing_of

NAMED: Final = 3
"""Sites that are named to whoever asks for one that is not there."""


class CohortView(Reading):
    """The ledger of a simulation's sites; made by `read_any`."""

    def __init__(self, rows: Rows, fixed: Fixed) -> None:
        super().__init__(rows, fixed)
        self._forget()

    def rows(self) -> list[Row]:
        """Give every row, oldest first."""
        with self._transaction():
            return list(self._all)

    def books(self) -> Mapping[str, Book]:
        """Give every site's book, in the order of names; look, do not touch."""
        with self._transaction():
            return dict(sorted(self._books.items()))

    def of(self, site: str) -> "SiteView":
        """Give what stands for one site.

        Raises
        ------
        ConfigurationError
            No row names it.
        """
        with self._transaction():
            if site in self._books:
                rows = [self._all[number - 1] for number in (1, *self._rows_of[site])]
                return SiteView(self, site, self._books[site], rows)
            names = sorted(self._books)
        near = get_close_matches(site, names, NAMED) or names[:NAMED]
        raise ConfigurationError(
            f"{self.path} names no site {site!r}; it names {len(names):,}"
            + (f", such as {', '.join(near)}" if near else "")
        )

    def verify(self) -> None:
        """Read everything from the disk again and check every row.

        Raises
        ------
        LedgerError
            Anything was changed, is missing or could not have come about.
        """
        self._forget()
        self.receipt()

    def _read(self) -> None:
        for row in self._rows.unread():
            for site in enter(self._books, row) if row.number > 1 else ():
                self._rows_of.setdefault(site, []).append(row.number)
            self._all.append(row)

    def _forget(self) -> None:
        self._books: dict[str, Book] = {}
        self._all: list[Row] = []
        self._rows_of: dict[str, list[int]] = {}
        self._rows.tail = Receipt(0, NO_ROWS)


class SiteView:
    """What a ledger of many sites says of one, in the form of a ledger of its own.

    Attributes
    ----------
    data_set, unit, relation, delta
        As the site's own ledger would have them.
    """

    def __init__(self, of: CohortView, site: str, book: Book, rows: list[Row]) -> None:
        self.data_set: str = f"{of.data_set}/{site}"
        self.unit: Unit = of.unit
        self.relation: Relation = of.relation
        self.delta: float = of.delta
        self._receipt = of.receipt()
        self._book = book
        self._of_site = rows

    def standing(self) -> Standing:
        """Compute what everything charged so far has cost."""
        return standing_of(self._book, self.delta)

    def runs(self) -> Mapping[str, Run]:
        """Give what stands for each run, in the order of their reservations; look, do not touch."""
        return MappingProxyType(self._book.runs)

    def rows(self) -> list[Row]:
        """Give the first row and those that name the site, oldest first."""
        return self._of_site

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash of the whole ledger."""
        return self._receipt


def read_any(path: Path, head_path: Path | None = None) -> LedgerView | CohortView:
    """Open a ledger of one data set or of many sites to read it, and check every row.

    Parameters and errors are those of `tacit.privacy.ledger_view.read_ledger`.
    """

    def view_of(rows: Rows, first: Row) -> LedgerView | CohortView:
        if opens_together(first):
            return CohortView(rows, fixed_of(first))
        return LedgerView(rows, Fixed.from_row(first))

    return opened(path, head_path, view_of)

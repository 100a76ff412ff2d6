"""One ledger for all sites of a simulation: what trains together is charged together.

A row stands for every site that it names, and a cohort's charges are one transaction, on disk
before the cohort touches data. What each site may spend and has spent follows by the rules of its
own `tacit.privacy.book.Book`, as in a ledger of its own. No reply is kept: a request that comes
again, after a crash, is charged again; where noise is seeded, as the repeat that it is.

>>> with ledger.together():
...     charges = [Page(ledger, site).charge(run, request, event, policy) for site in cohort]
...                                                           # all on disk, or none
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from json import loads
from pathlib import Path
from typing import Self

from tacit.errors import LedgerError
from tacit.privacy.book import Book, Charge, Filter, Fixed
from tacit.privacy.chain import NO_ROWS, Chain, Receipt, Row
from tacit.privacy.cohort_book import CHARGED, CLOSED, OPENED, RESERVED, SETTLED, enter
from tacit.privacy.events import Event, ExactRelease, NoisedSteps, to_json
from tacit.privacy.ledger_file import damage
from tacit.privacy.ledger_reading import believed
from tacit.privacy.policy import Plan, Policy
from tacit.privacy.reserving import reservation
from tacit.unbroken import unbroken


@dataclass(slots=True)
class _Pending:
    """A row that is still to be written: what it says, and of whom."""

    number: int
    fields: Mapping[str, object]
    sites: list[str] = field(default_factory=list)


class CohortLedger:
    """The ledger of a simulation's sites; made by `CohortLedger.open`.

    A simulation holds its run directory alone, so one process writes. A site's budget is its own:
    the rows of the others count nothing against it.
    """

    def __init__(self, chain: Chain, fixed: Fixed) -> None:
        self._chain = chain
        self._fixed = fixed
        self._books: dict[str, Book] = {}
        self._heads: list[str] = [NO_ROWS]
        self._pending: dict[tuple[Hashable, ...], _Pending] = {}
        self._within = False

    @classmethod
    def open(cls, path: Path, fixed: Fixed) -> Self:
        """Open a ledger and check all of it, or make a new one.

        Parameters
        ----------
        path
            The SQLite file; the count of rows and the last hash are kept in ``<path>.head`` too.
        fixed
            The simulation's name in place of a data set's, and unit, relation and δ of every site.

        Raises
        ------
        LedgerError
            It is damaged, cut or an old copy, or of another simulation, unit, relation or δ.
        RunDirectoryError
            The disk is full.
        """
        ledger = cls(Chain(path, path.with_name(path.name + ".head")), fixed)
        try:
            ledger._load()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._chain.path

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is spent inside as few rows, in one transaction at the end.

        After an error that leaves it nothing of it stands.
        """
        if self._within:
            yield
            return
        with unbroken():
            self._within = True
            try:
                yield
                self._write()
            except BaseException:
                if self._pending:
                    # Memory must never hold a row that the disk may not.
                    self._load()
                raise
            finally:
                self._within = False

    def sites(self) -> list[str]:
        """Name the sites that stand in it, in the order of names."""
        return sorted(self._books)

    def spent(self, run: str, site: str) -> list[Event]:
        """Give all that a site was charged for a run, net of settlements."""
        book = self._books.get(site)
        return book.runs[run].spent() if book and run in book.runs else []

    def book(self, site: str) -> Book:
        """Give a site's book; look, do not touch."""
        return self._books.get(site) or Book()

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash."""
        return self._chain.tail

    def check_receipt(self, receipt: Receipt) -> None:
        """Refuse when this ledger does not go on from a receipt that it gave before.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        if not 0 <= receipt.count < len(self._heads) or (
            self._heads[receipt.count] != receipt.head
        ):
            raise damage(self.path, f"row {receipt.count} is not the one that the receipt names")

    def check(self) -> None:
        """Read everything from the disk again and check every row.

        Raises
        ------
        LedgerError
            Anything was changed, is missing or could not have come about.
        """
        self._load()

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def own(self, site: str) -> Book:
        """Give a site's book to be written in; it begins with its first row."""
        return self._books.setdefault(site, Book())

    def reserve(self, site: str, plan: Plan, policy: Policy) -> None:
        """See `tacit.privacy.spending.Spending.reserve`."""
        policy.check_plan(plan)
        policy.check_cost(plan)
        book = self.own(site)
        found = reservation(plan, policy, book, self._fixed)
        if found is not None:
            with self.together():
                book.reserve(*found)
                self._row(RESERVED, plan=plan, filter=found[1]).sites.append(site)

    def charge(self, site: str, run: str, request: str, event: Event, policy: Policy) -> Charge:
        """See `tacit.privacy.spending.Spending.charge`."""
        book = self.own(site)
        known = book.open_run(run)
        policy.check_plan(known.plan)
        repeat = known.repeats(request)
        with self.together():
            row = self._row(CHARGED, run=run, request=request, event=event, repeat=repeat)
            charge = Charge(row.number, run, request, event, repeat)
            book.charge(charge)
            row.sites.append(site)
        return charge

    def settle(self, site: str, charge: Charge, steps_begun: int) -> None:
        """See `tacit.privacy.spending.Spending.settle`."""
        book = self.own(site)
        with self.together():
            book.settle(book.charges[book.number(charge)], steps_begun)
            self._row(SETTLED, charge=charge.number, steps_begun=steps_begun).sites.append(site)

    def let_go(self, site: str, charge: Charge) -> None:
        """See `tacit.privacy.spending.Spending.let_go`."""
        book = self.own(site)
        book.charges[book.number(charge)].settled = True

    def close_run(self, site: str, run: str) -> None:
        """See `tacit.privacy.spending.Spending.close_run`."""
        known = self.own(site).runs.get(run)
        if known is None or not known.closed:
            with self.together():
                self.own(site).close(run)
                self._row(CLOSED, run=run).sites.append(site)

    def _row(self, kind: str, **fields: Hashable) -> _Pending:
        """Give the row that says this, to be joined by a site."""
        key = (kind, *fields.values())
        if key not in self._pending:
            number = self._chain.tail.count + 1 + len(self._pending)
            self._pending[key] = _Pending(number, {"kind": kind, **fields})
        return self._pending[key]

    def _write(self) -> None:
        if not self._pending:
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._chain.transaction():
            if any(True for _ in self._chain.unread()):
                raise LedgerError(f"{self.path} is written by another process too: stop that one")
            for row in self._pending.values():
                said = {key: _plain(value) for key, value in row.fields.items()}
                self._append({"at": at, **said, "sites": row.sites})
        self._pending.clear()

    def _append(self, fields: Mapping[str, object]) -> None:
        self._chain.append(fields)
        self._heads += [row.hash for row in self._chain.unread()]

    def _load(self) -> None:
        """Read all rows; write the first where there is none."""
        self._pending.clear()
        self._books.clear()
        self._heads = [NO_ROWS]
        self._chain.tail = Receipt(0, NO_ROWS)
        with self._chain.transaction():
            with believed(self._chain):
                for row in self._chain.unread():
                    if row.number == 1:
                        self._compare(row)
                    else:
                        enter(self._books, row)
                    self._heads.append(row.hash)
            if not self._chain.tail.count:
                self._append({"kind": OPENED, **self._fixed.to_fields()})
        # Nobody knows what had left when the process before this one ended.
        for book in self._books.values():
            for charged in book.charges.values():
                charged.settled = True

    def _compare(self, row: Row) -> None:
        said = loads(row.body)
        for key, value in {"kind": OPENED, **self._fixed.to_fields()}.items():
            if said.get(key) != value:
                raise LedgerError(
                    f"{self.path} is the ledger of {key}={said.get(key)!r}, not {value!r}"
                )


def _plain(value: Hashable) -> object:
    """Write what a row says as JSON values."""
    if isinstance(value, Plan):
        return value.to_fields()
    if isinstance(value, Filter):
        return asdict(value)
    if isinstance(value, ExactRelease | NoisedSteps):
        return to_json(value)
    return value

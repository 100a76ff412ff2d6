"""What the rows of a ledger of many sites say: a book for each of them."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from tacit.errors import TacitError
from tacit.privacy.book import Book, Charge, Filter, Fixed
from tacit.privacy.chain import Row
from tacit.privacy.events import from_json
from tacit.privacy.policy import Plan

FILE: Final = "sites.sqlite"
"""The ledger of sites that train together, in a run's folder of ledgers."""

OPENED: Final = "opened-together/1"
"""Kind of the first row, and so the format of a whole ledger."""
RESERVED: Final = "reserved-together/1"
CHARGED: Final = "charged-together/1"
SETTLED: Final = "settled-together/1"
CLOSED: Final = "closed-together/1"


def opens_together(row: Row) -> bool:
    """Tell whether a first row is that of a ledger of many sites."""
    return bool(json.loads(row.body)["kind"] == OPENED)


def fixed_of(row: Row) -> Fixed:
    """Read the first row: the simulation stands in a data set's place.

    Raises
    ------
    ValueError, KeyError
        A field is missing or out of range.
    """
    return Fixed.from_fields(json.loads(row.body))


def enter(books: dict[str, Book], row: Row) -> list[str]:
    """Take in any row but the first, and name its sites; a site's book begins with its first."""
    fields: dict[str, Any] = json.loads(row.body)
    sites: list[str] = fields["sites"]
    take = _taken_by(row.number, fields)
    for site in sites:
        take(books.setdefault(site, Book()))
    return sites


def _taken_by(number: int, fields: Mapping[str, Any]) -> Callable[[Book], None]:
    """Read a row once for all its sites: return what it does to the book of each."""
    kind = fields["kind"]
    if kind == RESERVED:
        plan, under = Plan.from_fields(fields["plan"]), fields["filter"]
        admitted = under and Filter.from_fields(under)
        return lambda book: book.reserve(plan, admitted)
    if kind == CHARGED:
        event = from_json(fields["event"])
        charge = Charge(number, fields["run"], fields["request"], event, fields["repeat"])
        return lambda book: book.charge(charge)
    if kind == SETTLED:
        of, steps_begun = fields["charge"], fields["steps_begun"]
        return lambda book: book.settle(book.charges[of], steps_begun)
    if kind == CLOSED:
        run = fields["run"]
        return lambda book: book.close(run)
    raise TacitError(f"unknown kind of row {kind!r}: written by a newer version of Tacit?")

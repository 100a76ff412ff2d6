"""Where the ledger of a data set lives: found by the name its officer gives, outside any run.

The ledger itself lies in a folder that the site chooses. How many rows it has and the hash of the
last are kept in *another* folder, so that a copy of the ledger's folder that is put back, or a
ledger that is removed, is found. The coordinator's receipt is the third place.

>>> with open_ledger(folder, "Ward 3", unit=unit, relation=relation, delta=1e-6) as ledger:
...     ledger.reserve(plan, policy)
"""

import hashlib
import os
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tacit.errors import ConfigurationError, LedgerError
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.ledger_view import read_ledger

_SLUG_LETTERS = 40
_HASH_LETTERS = 12


@dataclass(frozen=True, slots=True)
class Place:
    """The file of a ledger, and the second place for its head."""

    ledger: Path
    head: Path


def place_of(folder: Path, data_set: str, heads: Path | None = None) -> Place:
    """Tell where the ledger of a data set lies; nothing need be there.

    Parameters
    ----------
    folder
        The ledger's folder.
    data_set
        The officer's name for the data, any text.
    heads
        Folder of the second place; by default `default_heads`.

    Raises
    ------
    ConfigurationError
        The name is blank, or one folder holds the other: whoever put back a copy of the outer one
        would put back both.
    """
    heads = heads or default_heads()
    inner, outer = folder.resolve(), heads.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ConfigurationError(
            f"the ledger's folder {folder} and the folder of its head {heads} must lie apart: a "
            "copy of one that is put back must leave the other as it is"
        )
    name = file_name(data_set)
    return Place(folder / f"{name}.sqlite", heads / f"{name}.head")


def head_of(ledger: Path, data_set: str, heads: Path | None = None) -> Path:
    """Tell where the head of a ledger lies that was named by its file.

    It is in `heads` if that is given; otherwise beside the file where a head is there, as a
    simulation keeps it; otherwise in `default_heads`.
    """
    beside = ledger.with_name(ledger.name + ".head")
    if heads is None and beside.exists():
        return beside
    return (heads or default_heads()) / f"{file_name(data_set)}.head"


def default_heads() -> Path:
    """Return ``$XDG_STATE_HOME/tacit/heads``, by default under ``~/.local/state``.

    Raises
    ------
    ConfigurationError
        Nobody says where the user's home is.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification: paths that are not absolute are ignored.
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise ConfigurationError(
                f"no folder for heads of ledgers: {error}: set XDG_STATE_HOME"
            ) from error
    return state / "tacit" / "heads"


def file_name(data_set: str) -> str:
    """Make a file's name from a data set's: readable letters, then a hash of all of it.

    Names that differ only in case, spaces or the way a letter is encoded have one file, and its
    ledger then insists on the name as it was first written: a name typed a little differently never
    begins a fresh budget.

    Raises
    ------
    ConfigurationError
        The name is blank.
    """
    # Folding case can undo normal form, so that it is made again.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", data_set).casefold())
    name = " ".join(folded.split())
    if not name:
        raise ConfigurationError(f"data_set={data_set!r} has no name: name the data set")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower())[:_SLUG_LETTERS].strip("-") or "data-set"
    return f"{slug}-{digest[:_HASH_LETTERS]}"


def open_ledger(
    folder: Path,
    data_set: str,
    *,
    unit: Unit,
    relation: Relation,
    delta: float,
    heads: Path | None = None,
) -> Ledger:
    """Open the ledger of a data set and check all of it, or begin it, readable by its owner alone.

    Parameters
    ----------
    folder
        The ledger's folder, made when it is not there.
    data_set
        The officer's name for the data, any text.
    unit, relation, delta
        What the ledger fixes for good: see `Ledger.open`.
    heads
        Folder of the second place; by default `default_heads`.

    Raises
    ------
    ConfigurationError
        The ledger was opened for another name, unit, relation or δ, or cannot be opened.
    LedgerError
        It is damaged, cut or an old copy; or it is gone, and the second place knows that it was.
    RunDirectoryError
        The disk is full, or another process holds the file.
    """
    place = place_of(folder, data_set, heads)
    check_there(place)
    place.head.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only ever to make the file: closing one that SQLite has open would take its locks away.
    with suppress(FileExistsError):
        os.close(os.open(place.ledger, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return Ledger.open(
        place.ledger,
        data_set=data_set,
        unit=unit,
        relation=relation,
        delta=delta,
        head_path=place.head,
    )


def check_there(place: Place) -> None:
    """Refuse to begin a ledger anew where the second place knows of one.

    Raises
    ------
    LedgerError
        The head is there and the ledger is not.
    """
    # In this order: who begins a ledger makes its file first.
    if place.head.exists() and not place.ledger.exists():
        raise LedgerError(
            f"the ledger {place.ledger} is not there, but {place.head} says that it was begun: "
            "nothing may be spent. Put the newest ledger back, or name the folder that it lies in "
            "(to take it elsewhere use `tacit-ledger move`); other data need another name"
        )


def move_ledger(place: Place, folder: Path) -> Place:
    """Take a ledger to another folder; its old file refuses from then on.

    A head that lies beside the ledger goes with it; one in a folder of its own stays.

    Raises
    ------
    ConfigurationError
        The folder has a file of that name, or the head's folder and it hold each other.
    LedgerError
        The ledger is damaged, cut or an old copy, or was moved before.
    """
    with read_ledger(place.ledger, place.head) as view:
        data_set, unit, relation, delta = view.data_set, view.unit, view.relation, view.delta
    target = folder / place.ledger.name
    if place.head.parent == place.ledger.parent:
        moved = Place(target, folder / place.head.name)
    else:
        place_of(folder, data_set, place.head.parent)
        moved = Place(target, place.head)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Ledger.open(
        place.ledger,
        data_set=data_set,
        unit=unit,
        relation=relation,
        delta=delta,
        head_path=place.head,
    ) as ledger:
        ledger.move(moved.ledger, moved.head)
    return moved

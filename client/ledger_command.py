r"""`tacit-ledger`: what a data set has spent, whether its ledger is whole, and copies of it.

Every word but ``move`` only reads, also while tacit-client or a simulation runs, and writes nothing
but the file that it is asked for. An export is checked without Tacit::

    tacit-ledger export site.yaml ledger.json > ledger.json.sha256
    sha256sum -c ledger.json.sha256

and, so that no row can have been changed without changing the head that others keep::

    digest = bytes(32)
    for row in json.loads(Path("ledger.json").read_text())["rows"]:
        text = b"tacit-ledger-row/1\0" + digest + row["body"].encode()
        digest = hashlib.sha256(text).digest()
        assert digest.hex() == row["hash"]
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from client.ledger_home import Place, move_ledger
from client.ledger_named import check_begun, named_ledger
from commands import entry
from commands.typed import Version, app_of, call
from tacit.errors import ConfigurationError, LedgerError
from tacit.privacy.chain import Receipt
from tacit.privacy.cohort_view import CohortView, read_any
from tacit.privacy.ledger_file import create
from tacit.privacy.ledger_view import LedgerView

if TYPE_CHECKING:
    from tacit.privacy.cohort_summary import CohortSummary
    from tacit.privacy.ledger_summary import RunSummary, Summary

EXPORT_FORMAT = "tacit-ledger-export/1"

EXITS = (
    "LEDGER is a site.yaml, a ledger's file, its folder with --data-set, or a simulated run's "
    "folder. Ends with 0 when done, 2 when there is no such ledger or file, 5 when the ledger is "
    "changed, cut, an old copy or moved elsewhere."
)

app = app_of("tacit-ledger")

# Hidden is the list of arguments, which Typer would fill with an escaped "[required]" alone.
Target = Annotated[Path, typer.Argument(metavar="LEDGER", hidden=True)]
File = Annotated[Path, typer.Argument(metavar="FILE", hidden=True)]
DataSet = Annotated[
    str | None, typer.Option(metavar="NAME", help="The data set, where LEDGER is a folder.")
]
Heads = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The second place, which knows how many rows there are; by default "
        "$XDG_STATE_HOME/tacit/heads, or beside the file where a simulation keeps it.",
    ),
]


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return call(app, "tacit-ledger", words)


@app.callback(epilog=EXITS)
def _words(version: Version = False) -> None:
    """What a data set has spent, whether its ledger is whole, and copies of it."""


@app.command(epilog=EXITS)
def show(
    target: Target,
    data_set: DataSet = None,
    heads: Heads = None,
    site: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One site alone, where a ledger is that of many."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="The runs, as CSV.")] = False,
) -> None:
    """Show the runs, what was spent and what is left.

    Shown is every run with its ε, what the data set has cost over its life, by PLD and by Rényi DP,
    and what that leaves under the limit of site.yaml. A backup can be shown too. Of a simulation
    whose sites trained together it is how this spreads over the sites, and the dearest by name;
    --csv has every run of every site.
    """
    if json_ and csv_:
        raise ConfigurationError("--json and --csv: ask for one of them")
    from tacit.privacy.ledger_summary import summarise

    named = named_ledger(target, data_set, heads)
    with _reading(named.place) as view:
        trouble = _trouble(view)
        if isinstance(view, CohortView):
            if site is None:
                _show_sites(view, named.place, trouble, json_=json_, csv_=csv_)
                return
            summary = summarise(view.of(site))
        elif site is not None:
            raise ConfigurationError(f"--site={site}: {view.path} is the ledger of one data set")
        else:
            summary = summarise(view, named.lifetime_epsilon)
    if named.lifetime_delta not in (None, summary.standing.delta):
        trouble = [
            *trouble,
            f"limits.lifetime_delta={named.lifetime_delta:g} of the site is not the ledger's δ",
        ]
    if json_:
        _print_json(summary, named.place, trouble)
    elif csv_:
        _print_csv(({}, run) for run in summary.runs)
    else:
        from client.ledger_screen import print_screen

        print_screen(summary, named.place, trouble)


@app.command(epilog=EXITS)
def verify(
    target: Target,
    data_set: DataSet = None,
    heads: Heads = None,
    receipt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A coordinator's receipt: JSON with count and head."),
    ] = None,
) -> None:
    """Check every row, the second place and a receipt.

    Found are a changed or missing row, a cut tail, and an old copy that was put back.
    """
    place = named_ledger(target, data_set, heads).place
    with _reading(place) as view:
        view.check_head()
        if receipt is not None:
            view.check_receipt(_receipt(receipt), str(receipt))
        view.verify()
        tail = view.receipt()
    third = "" if receipt is None else f" and {receipt}"
    print(f"{place.ledger} is whole: {tail.count} rows, as {place.head}{third} says")
    print(f"head {tail.head}")


@app.command(epilog=EXITS)
def export(
    target: Target,
    file: File,
    data_set: DataSet = None,
    heads: Heads = None,
) -> None:
    """Write all rows to FILE as JSON.

    Prints its SHA-256 as sha256sum does, so that ``sha256sum -c`` can check it. Each row has its
    text and a hash: SHA-256 of "tacit-ledger-row/1" and a zero byte, the 32 bytes of the hash
    before it (zeros before the first), and the text. The last hash is the head.
    """
    import hashlib

    with _reading(named_ledger(target, data_set, heads).place) as view:
        rows = view.rows()
        content = {
            "format": EXPORT_FORMAT,
            "data_set": view.data_set,
            "unit": str(view.unit),
            "relation": str(view.relation),
            "delta": view.delta,
            "count": rows[-1].number,
            "head": rows[-1].hash,
            "rows": [asdict(row) for row in rows],
        }
    text = json.dumps(content, indent=1).encode() + b"\n"
    with os.fdopen(create(file), "wb") as out:
        out.write(text)
    print(f"{hashlib.sha256(text).hexdigest()}  {file}")


@app.command(epilog=EXITS)
def backup(
    target: Target,
    file: File,
    data_set: DataSet = None,
    heads: Heads = None,
) -> None:
    """Copy the ledger to FILE, for reading.

    It is a consistent copy also while tacit-client runs, and never written over a file. Put back in
    the ledger's place it is found to be an old copy, unless nothing was charged since.
    """
    with _reading(named_ledger(target, data_set, heads).place) as view:
        if isinstance(view, CohortView):
            raise _of_its_run(view, "copy")
        view.backup(file)
        print(f"{file} has the {view.receipt().count} rows of {view.path}")


@app.command(epilog=EXITS)
def move(
    target: Target,
    folder: Annotated[Path, typer.Argument(metavar="NEW_FOLDER", hidden=True)],
    data_set: DataSet = None,
    heads: Heads = None,
) -> None:
    """Take the ledger to NEW_FOLDER.

    The old file refuses from then on, whoever has it open. Then name the new folder in site.yaml.
    If this is stopped half-way, nothing is lost: remove what there is in NEW_FOLDER and begin
    again.
    """
    place = named_ledger(target, data_set, heads).place
    with _reading(place) as view:
        if isinstance(view, CohortView):
            raise _of_its_run(view, "move")
    moved = move_ledger(place, folder)
    print(
        f"{place.ledger} goes on in {moved.ledger}; name its folder in site.yaml: ledger: {folder}"
    )


@contextmanager
def _reading(place: Place) -> Iterator[LedgerView | CohortView]:
    check_begun(place)
    with read_any(place.ledger, place.head) as view:
        yield view


def _of_its_run(view: CohortView, verb: str) -> ConfigurationError:
    return ConfigurationError(
        f"{view.path} is the ledger of a simulation's sites and belongs to its run: {verb} the "
        "run's whole folder, while no simulation runs in it"
    )


def _trouble(view: LedgerView | CohortView) -> list[str]:
    try:
        view.check_head()
    except LedgerError as error:
        return [str(error)]
    return []


def _receipt(path: Path) -> Receipt:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Receipt(int(fields["count"]), str(fields["head"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f'{path} is no receipt, such as {{"count": 3, "head": "…"}}: {error!r}'
        ) from error


def _show_sites(
    view: CohortView, place: Place, trouble: list[str], *, json_: bool, csv_: bool
) -> None:
    from tacit.privacy.cohort_summary import runs_of_sites, summarise_all

    if csv_:
        _print_csv((({"site": site}, run) for site, run in runs_of_sites(view)), "site")
        return
    summary = summarise_all(view)
    if json_:
        _print_json(summary, place, trouble)
    else:
        from client.ledger_sites import print_sites

        print_sites(summary, place, trouble)


def _print_json(summary: "Summary | CohortSummary", place: Place, trouble: list[str]) -> None:
    places = {"ledger": str(place.ledger), "head": str(place.head), "trouble": trouble}
    values = {**summary.to_json_values(), "places": places}
    print(json.dumps(values, indent=1, allow_nan=False))


def _print_csv(lines: "Iterable[tuple[Mapping[str, str], RunSummary]]", *before: str) -> None:
    """Write a run a line, with what comes before it."""
    import csv
    from dataclasses import fields

    from tacit.privacy.ledger_summary import RunSummary

    writer = csv.DictWriter(sys.stdout, [*before, *(field.name for field in fields(RunSummary))])
    writer.writeheader()
    writer.writerows({**first, **asdict(run)} for first, run in lines)

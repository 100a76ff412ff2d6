"""What `tacit-domain check` says of data that can be used, for its owner's terminal only."""

import shlex
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from tacit.domains.domain import Card, Examples, SiteData, Task
from tacit.domains.own.reader import Reader

FAR: Final = 2.0
"""By which factor a declared size may be off without a word."""


def print_facts(reader: Reader, found: Mapping[str, SiteData], *, huggingface: bool) -> None:
    """Print what a run would see, which is public, and counts, which are not.

    Parameters
    ----------
    reader
        Has read the data.
    found
        The sites' rows; those of '' where the schema file has no sites.
    huggingface
        Whether the files were read by datasets.
    """
    console = Console(highlight=False)
    schema, card = reader.schema, reader.card
    shape = f"{' x '.join(map(str, reader.content.inputs))} numbers"
    if card.texts:
        shape = f"at most {reader.content.inputs[0]:,} bytes"
    console.print(f"{schema.path}: everything is as the schema says.\n", soft_wrap=True)
    console.print("What a run sees, all of it public:")
    columns = f" from {len(reader.content.groups)} columns" if reader.content.groups else ""
    console.print(f"  {card.name}: {schema.kind.value}, {shape} a row{columns}")
    console.print(f"  {_told(card)}; measured by {card.metric.value}", soft_wrap=True)
    if card.public_pool:
        console.print(f"  a public pool: {card.public_pool}", soft_wrap=True)
    declared = schema.sites.declared_sizes if schema.sites else {}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("site", "declared", "training rows", "held out", "persons"):
        table.add_column(title, justify="left" if title == "site" else "right")
    for site, held in found.items():
        table.add_row(
            site or "all rows",
            str(declared.get(site, "")),
            str(len(held.train)),
            str(len(held.test)),
            _persons(held.train),
        )
    console.print("\nFor this terminal only, beside the declared sizes, which are public:")
    console.print(table)
    for site, held in found.items():
        rows = len(held.train)
        if site in declared and not declared[site] / FAR <= rows <= declared[site] * FAR:
            console.print(
                f"{site} declares {declared[site]:,} rows and has {rows:,}: batches and noise are "
                "those of what it declares; write a rounded number nearer to it, if that may be "
                "public",
                soft_wrap=True,
            )
    domain = "huggingface" if huggingface else schema.kind.value
    words = ["tacit-simulate", f"domain={domain}", f"domain.schema={schema.path}"]
    if not declared:
        words += ["partition=iid", "domain.partition.sites=5"]
    console.print(f"\nthen: {shlex.join(words)}", soft_wrap=True)


def _told(card: Card) -> str:
    """Say what is to be told, in words."""
    match card.task:
        case Task.NUMBER if card.target:
            unit = f" {card.target.unit}" if card.target.unit else ""
            return f"{card.target.name} from {card.target.low:g} to {card.target.high:g}{unit}"
        case Task.ORDINAL:
            return "one of " + " < ".join(card.classes)
        case Task.LABELS:
            return "any of " + ", ".join(card.classes)
        case _:
            return "one of " + ", ".join(card.classes)


def _persons(examples: Examples) -> str:
    return "" if examples.persons is None else str(int(examples.persons.max()) + 1)

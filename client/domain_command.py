"""`tacit-domain`: a schema file for one's own data, and what is wrong with data and schema.

It works on a site's own files, writes nothing but a draft, and sends nothing anywhere.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from commands import entry
from commands.typed import Version, app_of, call
from tacit.errors import ConfigurationError, DataError, ExitCode
from tacit.logs import one_line
from tacit.nearest import nearest

if TYPE_CHECKING:
    from tacit.domains.domain import SiteData
    from tacit.domains.own.reader import Reader

app = app_of("tacit-domain")

MOST = 20
"""Problems that are shown at most."""

# Hidden is the list of arguments, which Typer would fill with an escaped "[required]" alone.


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return call(app, "tacit-domain", words)


@app.callback()
def _words(version: Version = False) -> None:
    """A schema file for your own data, and what is wrong with data and schema."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="YAML", help="The draft; FILE with .yaml unless set."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What is to be told.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Says where a row belongs.")
    ] = None,
    person: Annotated[str | None, typer.Option(metavar="COLUMN", help="Says whose it is.")] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of texts to read.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of paths of images to read.")
    ] = None,
    ask: Annotated[
        bool | None,
        typer.Option("--ask/--no-ask", help="Ask about each column; by default at a terminal."),
    ] = None,
) -> None:
    """Draft a schema file for FILE: a table or a folder of images.

    Of a table only the names of columns are read (a CSV's first line, the names in that of JSON
    lines): ranges and lists taken from rows would tell about the people in them. What must be
    public knowledge is asked for, or left open as ???.
    """
    from tacit.domains.own.draft import Wishes, columns_to_ask, draft

    path = out or (
        file.parent / f"{file.name}.yaml" if file.is_dir() else file.with_suffix(".yaml")
    )
    if path.exists():
        raise ConfigurationError(f"{path} is there already: name another with --out")
    wishes = Wishes(target, site, person, text, image)
    # Names that are not there are found before anybody is asked.
    content = draft(file, path.parent, wishes)
    if sys.stdin.isatty() if ask is None else ask:
        from client.domain_questions import asked

        names, _ = columns_to_ask(file)
        content = draft(file, path.parent, asked(names, wishes))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as opened:
        opened.write(content)
    left = content.count("???") - content.partition("\n\n")[0].count("???")
    said = "nothing is left open"
    if left:
        said = f"{left} {'places are' if left > 1 else 'place is'} still ???"
    print(f"{path}: {said}")
    print(f"then: tacit-domain check {path}")


@app.command()
def check(
    schema: Annotated[Path, typer.Argument(metavar="SCHEMA", hidden=True)],
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="This site's data alone.")
    ] = None,
    huggingface: Annotated[
        bool, typer.Option("--huggingface", help="Read files as domain=huggingface does.")
    ] = False,
) -> int:
    """Say what is wrong with a schema file and the data that it describes.

    Named are file, row, column and value, for this terminal only; nothing is spent or sent. Ends
    with 2 where anything is wrong.
    """
    from tacit.domains.own.huggingface import from_datasets
    from tacit.domains.own.opening import opened
    from tacit.domains.own.reader import Reader
    from tacit.domains.own.schema_reading import read_schema

    reader = Reader(read_schema(schema), from_datasets if huggingface else opened)
    problems: list[str] = []
    found = _look(reader, site, problems)
    for problem in problems[:MOST]:
        print(one_line(problem))
    if len(problems) > MOST:
        print(f"and {len(problems) - MOST} more")
    if problems:
        print(f"{schema}: this data cannot be used yet; nothing was spent")
        return ExitCode.BAD_INPUT
    from client.domain_screen import print_facts

    print_facts(reader, found, huggingface=huggingface)
    return ExitCode.DONE


def _look(reader: "Reader", site: str | None, problems: list[str]) -> "dict[str, SiteData]":
    """Read all that the schema file names, or one site's rows, and gather what is wrong."""
    from tacit.domains.domain import check_sites

    schema = reader.schema
    names = sorted(schema.sites.declared_sizes) if schema.sites else []
    if site is not None and site not in names:
        raise ConfigurationError(
            f"--site={site}: {schema.path} has no such site; {nearest(site, names or ['none'])}"
        )
    found = {}
    try:
        if names:
            found = reader.sites([site] if site else names, problems.append)
        else:
            whole = reader.whole(schema.file_of(""), problems.append)
            found = {"": whole.of("")}
    except DataError as error:
        problems.append(str(error))
    try:
        reader.public_pool(problems.append)
    except DataError as error:
        problems.append(str(error))
    for name, held in found.items() if not problems else ():
        try:
            check_sites({name or schema.about.name: held}, reader.card)
        except DataError as error:
            problems.append(str(error))
    return found

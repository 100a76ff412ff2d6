"""What commands of words and paths share, which are typer apps: options, errors, exit codes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import click
import typer

from tacit import __version__
from tacit.errors import ConfigurationError, ExitCode

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
AT: Final = (
    "A path of the run's config.yaml that lies elsewhere by now, such as domain.root, "
    "domain.schema, model.name or model.weights; may be repeated."
)

# Hidden is the list of arguments, which Typer would fill with an escaped "[required]" alone.
Run = Annotated[Path, typer.Argument(metavar="RUN", hidden=True)]
At = Annotated[list[str] | None, typer.Option("--at", metavar="KEY=PATH", help=AT)]


def app_of(name: str) -> typer.Typer:
    """Make the app of the command `name`."""
    return typer.Typer(
        name=name,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )


def _version(asked: bool) -> None:
    if asked:
        print(f"tacit {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


def call(app: typer.Typer, name: str, words: Sequence[str]) -> int:
    """Call an app with words of a command line and return its exit code."""
    try:
        code = app(list(words), prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        raise ConfigurationError(f"{error.format_message()} See {name} --help.") from error
    except click.Abort:
        raise KeyboardInterrupt from None
    if code == ExitCode.INTERRUPTED:  # Typer's way to say Ctrl-C.
        raise KeyboardInterrupt
    return int(code or ExitCode.DONE)


def moved(words: Sequence[str] | None) -> Mapping[str, str]:
    """Read what --at says.

    Raises
    ------
    ConfigurationError
        One is not KEY=PATH.
    """
    found = {}
    for word in words or ():
        key, equals, place = word.partition("=")
        if not (key and equals and place):
            raise ConfigurationError(f"--at={word}: must be KEY=PATH, as in domain.root=data")
        found[key] = place
    return found

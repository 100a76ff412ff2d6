"""`tacit-predict`: what a finished run's model answers about the rows of a file."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from commands import entry
from commands.typed import At, Run, Version, app_of, call, moved

EXITS = (
    "FILE is, by the run's domain, a table with the columns of its features (CSV, Parquet, JSON "
    "lines), texts (a line each of a .txt, or a column of a table), or an image or a folder of "
    "them. A row goes by its number in FILE, the header of a CSV being row 1. Ends with 0 when "
    "done, 2 when RUN or FILE cannot be used."
)

app = app_of("tacit-predict")


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return call(app, "tacit-predict", words)


@app.command(epilog=EXITS)
def _predict(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Where the answers go; by default to the terminal."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the texts in a table; by default text."),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            metavar="K",
            show_default=False,
            help="Of more than 10 classes, how many are named; by default 3.",
        ),
    ] = 3,
    at: At = None,
    version: Version = False,
) -> None:
    """Ask the model of RUN, the directory of a finished run, about the rows of FILE.

    Answers are a CSV: row, prediction, and the probability of each class or, of many classes, the
    likeliest. They are for whoever holds the rows: nothing leaves this machine, and no privacy
    guarantee of the run is about them.
    """
    from tacit.errors import ConfigurationError
    from tacit.finished.model import load_run
    from tacit.finished.predict import predict

    if top < 1:
        raise ConfigurationError(f"--top={top}: must be 1 or more")
    if out is not None and out.exists():
        raise ConfigurationError(f"--out={out}: is there already: name another file")
    answers = predict(load_run(run, moved(at)), file, column)
    if out is None:
        answers.write(sys.stdout, top)
        return
    with out.open("x", encoding="utf-8", newline="") as opened:
        answers.write(opened, top)
    print(f"{out}: {len(answers.rows):,} rows")


if __name__ == "__main__":
    main()

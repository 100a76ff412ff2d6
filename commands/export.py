"""`tacit-export`: a finished run's model as a folder that others can use without its run."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from commands import entry
from commands.typed import At, Run, Version, app_of, call, moved

EXITS = (
    "Ends with 0 when done, 2 when it is no finished run or the folder is not empty, 4 when ONNX "
    "could not be written or does not do what the model does: the card then says so."
)

app = app_of("tacit-export")


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return call(app, "tacit-export", words)


@app.command(epilog=EXITS)
def _export(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where it goes; by default RUN/export."),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx/--no-onnx",
            show_default=False,
            help="Whether ONNX files are written too; by default they are.",
        ),
    ] = True,
    at: At = None,
    version: Version = False,
) -> int:
    """Write the model of RUN, the directory of a finished run, for use without it.

    A checkpoint as transformers, timm or torch have it (safetensors, adapters merged), ONNX in fp32
    and int8, held against torch, and a model card: README.md says what it predicts, how it is
    used, from whom it learned at which ε, what it is worth at each site, and its limits. No row is
    read.
    """
    from tacit.errors import ExitCode
    from tacit.finished.export import FOLDER, check_free, export
    from tacit.finished.model import load_run
    from tacit.finished.onnx import check_onnx_there

    folder = out or run / FOLDER
    check_free(folder)
    if onnx:
        check_onnx_there()
    made = export(load_run(run, moved(at)), folder, onnx=onnx, say=lambda line: print(line))
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")
    refused = made.onnx.refused if made.onnx else ()
    for said in refused:
        print(said, file=sys.stderr)
    return ExitCode.INCOMPLETE if refused else ExitCode.DONE


if __name__ == "__main__":
    main()

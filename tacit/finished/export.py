"""A finished run's model as a folder that others can use without its run.

::

    FOLDER/
      README.md           the card: what it predicts, data, privacy, figures, limits, how it is used
      model.safetensors   all weights, adapters merged; beside a backbone of others, the backbone's
      head.safetensors    then: the head's weight [outputs, width] and, if any, bias [outputs]
      config.json, …      then: what transformers or timm need beside
      model.onnx          fp32, and model.int8.onnx: all of it, from prepared examples to scores
      export.json         for programs: classes or target, what each file is, its SHA-256
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tacit.errors import RunDirectoryError
from tacit.files import replace_file, whole_folder
from tacit.finished.card import render
from tacit.finished.model import RunModel
from tacit.finished.onnx import Onnx, check_onnx_there, write_onnx
from tacit.finished.whole import Whole, write_whole
from tacit.runs.encoding import encode

SCHEMA: Final = "tacit/export/1"
FOLDER: Final = "export"
"""Where a run's model goes unless somebody says otherwise: a folder in the run's directory."""
CARD: Final = "README.md"
ABOUT: Final = "export.json"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Export:
    """An exported model.

    Parameters
    ----------
    folder
        Where it is.
    whole
        What was written for torch.
    onnx
        What became of ONNX; None where it was not asked for.
    """

    folder: Path
    whole: Whole
    onnx: Onnx | None


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises
    ------
    RunDirectoryError
        It does, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunDirectoryError(f"{folder}: is a file: name a folder")
    if folder.is_dir() and (found := sorted(each.name for each in folder.iterdir())):
        raise RunDirectoryError(
            f"{folder}: is not empty (it holds {', '.join(found[:3])}): name another with "
            "--out, or remove it"
        )


def export(run: RunModel, folder: Path, *, onnx: bool, say: Say = lambda line: None) -> Export:
    """Write a run's model to a folder, which is complete or not there at all.

    Parameters
    ----------
    run
        The run.
    folder
        Must be empty, or not be there.
    onnx
        Whether to write ONNX files too.
    say
        Is told what is being done.

    Raises
    ------
    RunDirectoryError
        The folder holds something.
    InputError
        It cannot be written.
    ConfigurationError
        ONNX needs packages that are not installed.
    ModelError
        The model's architecture cannot be written.
    """
    check_free(folder)
    if onnx:
        check_onnx_there()
    with whole_folder(folder) as partial:
        say("writing the weights")
        whole = write_whole(run, partial)
        made = None
        if onnx:
            say("writing ONNX")
            made = write_onnx(whole, run.card, partial)
        replace_file(partial / CARD, render(run, whole, made).encode())
        replace_file(partial / ABOUT, _about(run, whole, made, partial).encode())
    return Export(folder, whole, made)


def _about(run: RunModel, whole: Whole, onnx: Onnx | None, folder: Path) -> str:
    card = run.card
    about = {
        "schema": SCHEMA,
        "library": whole.library,
        "domain": card.name,
        "task": card.task.value,
        "classes": card.classes,
        "target": None if card.target is None else encode(card.target),
        "given": {name: list(free) for name, free in whole.free.items()},
        "weights_sha256": run.results.weights_sha256,
        "difference": whole.difference,
        "onnx": None if onnx is None else encode(onnx),
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    return json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

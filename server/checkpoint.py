"""The latest resumable state of a run, as one safetensors file that is complete or absent."""

import json
import struct
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.numpy import load

from server.rounds import State
from tacit.errors import RunDirectoryError
from tacit.files import replace_file
from tacit.models.weights import file_parts
from tacit.privacy.chain import Receipt

FILE: Final = "state.safetensors"
FORMAT: Final = "tacit/checkpoint/1"


def save_checkpoint(folder: Path, run: str, state: State) -> None:
    """Write the state of the last complete round; no state of any random generator is in it."""
    arrays = {f"weights/{name}": array for name, array in state.weights.items()}
    arrays |= {f"memory/{name}": array for name, array in state.memory.items()}
    about = {
        "format": FORMAT,
        "run": run,
        "model": state.model,
        "round": str(state.round),
        "receipts": json.dumps({s: [r.count, r.head] for s, r in state.receipts.items()}),
        "order": json.dumps(list(state.weights)),
    }
    replace_file(folder / FILE, file_parts(arrays, about))


def load_checkpoint(folder: Path) -> tuple[str, State]:
    """Read the run's identity and its last complete state.

    Raises
    ------
    RunDirectoryError
        There is no checkpoint, or it cannot be read.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{path}: there is no checkpoint, so nothing can be resumed: start a new run"
        ) from error
    try:
        about = _metadata(content)
        if about["format"] != FORMAT:
            raise RunDirectoryError(f"{path}: has the format {about['format']!r}, not {FORMAT!r}")
        arrays = load(content)
        state = State(
            round=int(about["round"]),
            weights={name: arrays[f"weights/{name}"] for name in json.loads(about["order"])},
            memory={
                name.removeprefix("memory/"): array
                for name, array in arrays.items()
                if name.startswith("memory/")
            },
            receipts={s: Receipt(*r) for s, r in json.loads(about["receipts"]).items()},
            model=about["model"],
        )
        return about["run"], state
    except (SafetensorError, KeyError, ValueError, TypeError, struct.error) as error:
        raise RunDirectoryError(f"{path}: is damaged: {error!r}") from error


def _metadata(content: bytes) -> dict[str, str]:
    """Read a safetensors file's metadata: 8 bytes of length, then a JSON header."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    return {str(key): str(value) for key, value in header["__metadata__"].items()}

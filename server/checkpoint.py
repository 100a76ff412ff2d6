"""The latest resumable state of a run, as one safetensors file that is complete or absent."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.numpy import load

from server.run_plan import State
from tacit.errors import RunDirectoryError
from tacit.files import replace_file
from tacit.models.weights import file_parts
from tacit.privacy.chain import Receipt

FILE: Final = "state.safetensors"
FORMAT: Final = "tacit/checkpoint/2"


def save_checkpoint(folder: Path, run: str, state: State) -> None:
    """Write the state of the last complete round; no state of any random generator is in it."""
    arrays = {f"weights/{name}": array for name, array in state.weights.items()}
    arrays |= {f"memory/{name}": array for name, array in state.memory.items()}
    about = {
        "format": FORMAT,
        "run": run,
        "model": state.model,
        "round": str(state.round),
        "clip_factor": repr(state.clip_factor),
        "receipts": json.dumps(_grouped(state.receipts)),
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
            receipts={
                site: Receipt(count, head)
                for head, (count, sites) in json.loads(about["receipts"]).items()
                for site in sites
            },
            model=about["model"],
            clip_factor=float(about.get("clip_factor", "1.0")),
        )
        return about["run"], state
    except (SafetensorError, KeyError, ValueError, TypeError, struct.error) as error:
        raise RunDirectoryError(f"{path}: is damaged: {error!r}") from error


def _grouped(receipts: Mapping[str, Receipt]) -> dict[str, tuple[int, list[str]]]:
    """Gather sites by their receipt, by its hash: of very many sites a cohort has one."""
    found: dict[str, tuple[int, list[str]]] = {}
    for site, receipt in receipts.items():
        found.setdefault(receipt.head, (receipt.count, []))[1].append(site)
    return found


def _metadata(content: bytes) -> dict[str, str]:
    """Read a safetensors file's metadata: 8 bytes of length, then a JSON header."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    return {str(key): str(value) for key, value in header["__metadata__"].items()}

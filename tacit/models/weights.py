"""Weights on disk: safetensors and, beside them, a JSON that says what they belong to."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import nn

from tacit.errors import ModelError
from tacit.files import replace_file
from tacit.models.trainable import Weights


def save_weights(
    path: Path, weights: Mapping[str, npt.NDArray[np.float32]], about: Mapping[str, object]
) -> str:
    """Write ``NAME.safetensors`` and ``NAME.json`` and return the file's SHA-256.

    Both are complete or absent whatever happens in between.
    """
    digest = file_sha256(weights)
    described = {**about, "file": path.name, "sha256": digest}
    replace_file(path, file_parts(weights))
    replace_file(path.with_suffix(".json"), (json.dumps(described, indent=2) + "\n").encode())
    return digest


def file_parts(
    arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield what a safetensors file of these arrays holds, without copies of them.

    The library's own functions need three times the memory of the arrays. The format: length of the
    header (8 bytes), the header in JSON with what each array is and where it lies, the arrays one
    after another (github.com/huggingface/safetensors, "Format").
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    # The widest first: so every one is aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    start = 0
    for name in names:
        array = arrays[name]
        end = start + array.nbytes
        header[name] = {
            "dtype": _kind(array.dtype),
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        array = np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<"))
        yield array.reshape(-1).view(np.uint8).data


def file_sha256(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the SHA-256 of the file that `file_parts` makes of arrays alone."""
    digest = sha256()
    for part in file_parts(arrays):
        digest.update(part)
    return digest.hexdigest()


def _kind(dtype: np.dtype[Any]) -> str:
    """Return what safetensors calls a type: a letter and the number of bits."""
    if dtype.kind not in "fiu":
        raise ValueError(f"an array of {dtype} cannot be kept: only real and whole numbers can")
    return f"{dtype.kind.upper()}{8 * dtype.itemsize}"


def load_weights(path: Path) -> Weights:
    """Read weights that `save_weights` wrote.

    Raises
    ------
    ModelError
        A file is missing, damaged, or does not have the SHA-256 that its JSON gives.
    """
    about = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        expected = json.loads(about.read_text())["sha256"]
    except FileNotFoundError as error:
        raise ModelError(
            f"{error.filename}: there is no such file; weights are two files, "
            f"{path.name} and {about.name}"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{about}: cannot be read as the description of weights") from error
    actual = sha256(content).hexdigest()
    if actual != expected:
        raise ModelError(
            f"{path}: its SHA-256 is {actual}, but {about.name} says {expected}: "
            f"the file was damaged or exchanged"
        )
    try:
        return {name: array.astype(np.float32) for name, array in load(content).items()}
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}") from error


def state_arrays(model: nn.Module) -> Weights:
    """Copy every parameter and buffer of a model."""
    return {
        name: tensor.detach().to("cpu", torch.float32).numpy().copy()
        for name, tensor in model.state_dict().items()
    }


def load_state(model: nn.Module, weights: Weights, source: str) -> None:
    """Put parameters and buffers into a model, all but its head, which belongs to the task.

    Raises
    ------
    ModelError
        Names or shapes do not fit the model.
    """
    own = {name: t for name, t in model.state_dict().items() if not name.startswith("head.")}
    given = {name: array for name, array in weights.items() if not name.startswith("head.")}
    if own.keys() != given.keys():
        odd = sorted(own.keys() ^ given.keys())
        raise ModelError(
            f"{source}: does not fit the model: {', '.join(odd[:4])} on one side only; "
            f"were these weights made for another model?"
        )
    for name, tensor in own.items():
        if tuple(tensor.shape) != tuple(given[name].shape):
            raise ModelError(
                f"{source}: {name} has shape {tuple(given[name].shape)}, "
                f"the model needs {tuple(tensor.shape)}"
            )
        tensor.copy_(torch.from_numpy(given[name]))

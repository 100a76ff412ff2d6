"""Weights on disk: safetensors and, beside them, a JSON that says what they belong to."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
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
    content = packed(weights)
    digest = sha256(content).hexdigest()
    described = {**about, "file": path.name, "sha256": digest}
    replace_file(path, content)
    replace_file(path.with_suffix(".json"), (json.dumps(described, indent=2) + "\n").encode())
    return digest


def packed(
    weights: Mapping[str, npt.NDArray[np.float32]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return what a safetensors file of these arrays holds."""
    ordered = {name: np.asarray(array, order="C") for name, array in weights.items()}
    content: bytes = save(ordered, metadata=None if metadata is None else dict(metadata))
    return content


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

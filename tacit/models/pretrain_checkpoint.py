"""The latest state of a pretraining, as one safetensors file that is complete or absent."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from tacit.errors import ConfigurationError, ModelError
from tacit.files import replace_file
from tacit.models.pretraining import State
from tacit.models.trainable import Weights, sha256_of
from tacit.models.weights import file_parts

FORMAT: Final = "tacit/pretraining/1"
EVERY: Final = 5.0
"""Seconds between two writings, at least."""


class Checkpoint:
    """Keeps the state of a pretraining while it is entered, and has the one kept before.

    It is written every few seconds and when an exception (Ctrl-C and SIGTERM are some) ends the
    work; when the work is done it is removed.

    Parameters
    ----------
    path
        The file.
    question
        Everything that the pretraining depends on, as JSON values.

    Raises
    ------
    ConfigurationError
        The file belongs to another pretraining.
    ModelError
        The file cannot be read.
    """

    def __init__(self, path: Path, question: Mapping[str, object]) -> None:
        self.path = path
        self.start: State | None = None
        """Where an earlier sitting stopped."""
        self.went_on: tuple[int, ...] = ()
        """Number of steps done at the start of each later sitting."""
        self._question: dict[str, Any] = json.loads(json.dumps(question))
        self._before = 0.0
        self._latest: State | None = None
        if path.exists():
            self._load()

    def __enter__(self) -> Self:
        self._began = self._written = monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.path.unlink(missing_ok=True)
        elif self._latest is not None:
            self._write(self._latest)

    @property
    def seconds(self) -> float:
        """How long all sittings took until now."""
        return self._before + monotonic() - self._began

    def keep(self, state: State) -> None:
        """Remember a state, and write it where the last writing was some time ago."""
        self._latest = state
        if monotonic() - self._written >= EVERY:
            self._write(state)
            self._written = monotonic()

    def _write(self, state: State) -> None:
        losses = np.array(state.losses[: state.steps], dtype=np.float32)
        arrays = {
            "losses": losses,
            **{f"weights/{name}": array for name, array in state.weights.items()},
            **{f"optimiser/{name}": array for name, array in state.optimiser.items()},
        }
        about = {
            "format": FORMAT,
            "question": json.dumps(self._question),
            "seconds": str(self.seconds),
            "went_on": json.dumps(self.went_on),
            "sha256": sha256_of(arrays),
        }
        replace_file(self.path, file_parts(arrays, about))

    def _load(self) -> None:
        try:
            with safe_open(self.path, framework="numpy") as file:
                about: dict[str, str] = file.metadata() or {}
                names: list[str] = file.keys()
                arrays: Weights = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self.path}: cannot be read: {error}: remove it to start anew"
            ) from error
        if about.get("format") != FORMAT:
            raise ModelError(
                f"{self.path}: is not the checkpoint of a pretraining (its format is "
                f"{about.get('format')!r}, not {FORMAT!r}), but lies where that would be: move it"
            )
        if about["sha256"] != sha256_of(arrays):
            raise ModelError(
                f"{self.path}: is damaged: it does not have its SHA-256: remove it to start anew"
            )
        if different := "; ".join(_differences(json.loads(about["question"]), self._question)):
            raise ConfigurationError(
                f"{self.path}: is the checkpoint of another pretraining ({different}): set these "
                f"as they were to go on with it, remove it to start anew, or choose another out"
            )
        losses = arrays.pop("losses").tolist()
        self.start = State(
            len(losses), losses, _part("weights/", arrays), _part("optimiser/", arrays)
        )
        self.went_on = (*json.loads(about["went_on"]), self.start.steps)
        self._before = float(about["seconds"])
        # Where the next step never ends, this is still the latest.
        self._latest = self.start


def _part(prefix: str, arrays: Weights) -> Weights:
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Name the keys whose values differ, with both."""
    old, new = dict(_leaves(there)), dict(_leaves(here))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}"


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:20]}…"

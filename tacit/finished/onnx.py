"""A whole model as ONNX, fp32 and int8, each held against torch on made-up examples."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from tacit.domains.domain import Card
from tacit.errors import ConfigurationError
from tacit.finished.whole import Array, Whole, allowed
from tacit.models.answers import answers, chosen

FP32: Final = "model.onnx"
INT8: Final = "model.int8.onnx"
OUTPUT: Final = "scores"
INT8_SHARE: Final = 0.1
"""Most by which a score of int8 may differ, relative to how far the run's scores are apart."""
_ONE_FILE: Final = 1 << 30
"""Bytes of weights beyond which they lie beside the graph: a graph's file ends at 2 GiB."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An ONNX file that was held against torch.

    Parameters
    ----------
    file
        Its name.
    difference
        Most by which a score differs from the run's.
    bound
        Most that is allowed.
    agreement
        Share of the made-up examples of which it says the same; None of numbers.
    examples
        How many there were.
    """

    file: str
    difference: float
    bound: float
    agreement: float | None
    examples: int


@dataclass(frozen=True, slots=True)
class Onnx:
    """What became of the ONNX files: those that hold, and in words what does not."""

    files: tuple[Checked, ...] = ()
    refused: tuple[str, ...] = ()


def check_onnx_there() -> None:
    """Refuse to begin where a library is missing.

    Raises
    ------
    ConfigurationError
        Names the extra.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"ONNX needs packages that are not installed ({error}): pip install 'tacit[onnx]', or "
            "leave it out with --no-onnx"
        ) from error


def write_onnx(whole: Whole, card: Card, folder: Path) -> Onnx:
    """Write both files into a folder, and keep those that do what the run's model does.

    Parameters
    ----------
    whole
        The model.
    card
        Says what scores mean.
    folder
        Gets `FP32` and `INT8`.
    """
    found: list[Checked] = []
    with _quiet():
        for name, make in ((FP32, _write_fp32), (INT8, _write_int8)):
            made = _tried(name, make, whole, card, folder)
            if isinstance(made, Checked):
                found.append(made)
                continue
            _remove(folder / name)
            # What is rounded is made of what is not.
            return Onnx(tuple(found), (made, f"{INT8}: is made of {FP32}")[: 2 - len(found)])
    return Onnx(tuple(found))


def _tried(
    name: str, make: Callable[[Whole, Path], None], whole: Whole, card: Card, folder: Path
) -> Checked | str:
    """Make a file and check it; return in words why it is of no use, where it is not."""
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    # What an exporter, or onnxruntime, cannot do with somebody's model comes as one of these.
    broken = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError)
    refusing = (runtime.Fail, runtime.InvalidGraph, runtime.NotImplemented)
    try:
        make(whole, folder)
        checked = _check(whole, card, folder / name)
    except (*broken, *refusing, ValidationError, InferenceError) as error:
        return f"{name}: cannot be made of this model: {_why(error)}"
    if checked.difference <= checked.bound:
        return checked
    return (
        f"{name}: left out: its scores differ from the run's by {checked.difference:.2g}, and "
        f"{checked.bound:.2g} is allowed"
    )


def _why(error: BaseException) -> str:
    """Return the first line of what is at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()  # colours are for a terminal
    return said.splitlines()[0] if said else type(error).__name__


def _write_fp32(whole: Whole, folder: Path) -> None:
    shapes = tuple(dict.fromkeys(free, torch.export.Dim.DYNAMIC) for free in whole.free.values())
    size = sum(each.nbytes for each in whole.module.state_dict().values())
    torch.onnx.export(
        whole.module,
        whole.given,
        folder / FP32,
        input_names=list(whole.free),
        output_names=[OUTPUT],
        dynamic_shapes=(shapes,) if _takes_any(whole.module) else shapes,
        external_data=size > _ONE_FILE,
        verbose=False,
    )


def _takes_any(module: torch.nn.Module) -> bool:
    """Tell whether a module takes tensors as ``*given``, which torch then names as one."""
    return module.forward.__code__.co_flags & 0x04 != 0


def _write_int8(whole: Whole, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    beside = (folder / f"{FP32}.data").is_file()
    quantize_dynamic(
        folder / FP32,
        folder / INT8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        use_external_data_format=beside,
    )


def _check(whole: Whole, card: Card, file: Path) -> Checked:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {name: each.numpy() for name, each in zip(whole.free, whole.given, strict=True)}
    # One alone and all together: how many there are must change nothing.
    found: Array = session.run(None, given)[0]
    first: Array = session.run(None, {name: each[:1] for name, each in given.items()})[0]
    difference = float(max(np.abs(found - whole.scores).max(), np.abs(first - found[:1]).max()))
    bound = allowed(whole.scores)
    if file.name == INT8:
        bound = max(bound, INT8_SHARE * float(np.ptp(whole.scores)))
    return Checked(file.name, difference, bound, _agreement(found, whole.scores, card), len(found))


def _agreement(found: Array, own: Array, card: Card) -> float | None:
    if card.target is not None:
        return None
    said = [chosen(answers(torch.from_numpy(each).double(), card), card) for each in (found, own)]
    return float((said[0] == said[1]).mean())


def _remove(file: Path) -> None:
    for path in (file, file.with_name(f"{file.name}.data")):
        path.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what exporters say of their own working."""
    before, aside = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(aside), redirect_stderr(aside):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""A whole model as ONNX, fp32 and int8, each held against torch on made-up examples."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    # What an exporter, or onnxruntime, cannot do with somebody's model comes as one of these.
    broken = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError)
    refusing = (runtime.Fail, runtime.InvalidGraph, runtime.NotImplemented)
    found: list[Checked] = []
    refused: list[str] = []
    with _quiet():
        for name, make in ((FP32, _write_fp32), (INT8, _write_int8)):
            try:
                make(whole, folder)
                checked = _check(whole, card, folder / name)
            except (*broken, *refusing) as error:
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                refused.append(f"{name}: cannot be made of this model: {said}")
                _remove(folder / name)
                break
            if checked.difference <= checked.bound:
                found.append(checked)
            else:
                refused.append(
                    f"{name}: left out: its scores differ from the run's by "
                    f"{checked.difference:.2g}, and {checked.bound:.2g} is allowed"
                )
                _remove(folder / name)
    if not any(each.file == INT8 for each in found) and not any(INT8 in said for said in refused):
        refused.append(f"{INT8}: is made of {FP32}")
    return Onnx(tuple(found), tuple(refused))


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
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

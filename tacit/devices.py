"""Where and how gradients are computed, as an engine's settings say it."""

import math
import os
from typing import Final

import torch

from tacit.errors import ConfigurationError
from tacit.learning.local import Compute
from tacit.settings import EngineSettings, Precision

_DTYPES: Final = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}


def compute_of(engine: EngineSettings) -> Compute:
    """Return device, precision and microbatches, the device ready to be used.

    Raises
    ------
    ConfigurationError
        The device is not there, or does not go with the precision.
    """
    name = engine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"engine.device={engine.device!r} cannot be used here "
            f"({str(error).splitlines()[0]}): use auto or cpu"
        ) from error
    if device.type == "cuda":
        _repeatable()
    if engine.precision is Precision.FP16 and device.type == "cpu":
        raise ConfigurationError(
            "engine.precision=fp16 needs a GPU: use bf16 or fp32 with engine.device=cpu"
        )
    if not math.isfinite(engine.loss_scale):
        raise ConfigurationError(f"engine.loss_scale={engine.loss_scale} must be finite")
    return Compute(device, engine.microbatch, _DTYPES[engine.precision], engine.loss_scale)


def _repeatable() -> None:
    """Let a GPU compute the same bits every time, and fp32 where fp32 is said.

    Torch's convolutions otherwise round what they multiply to ten bits (TF32), and sums may be in
    any order, those of its fast kinds of attention always. An operation that has no order of its
    own is done all the same, with a warning.
    """
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

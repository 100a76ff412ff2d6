"""The last line of every benchmark: one JSON object, for programs that compare runs."""

import json
import platform
from collections.abc import Mapping

import numpy as np
import torch


def print_json(
    benchmark: str, figures: Mapping[str, float], ratios: Mapping[str, float] | None = None
) -> None:
    """Print what was measured, and on which machine, as one line.

    Parameters
    ----------
    benchmark
        Name of the benchmark.
    figures
        What was measured, by name; a name ends with its unit where there is one.
    ratios
        Figures against each other from the same run, by name.
    """
    print(
        json.dumps(
            {
                "benchmark": benchmark,
                "machine": _machine(),
                "figures": dict(figures),
                "ratios": dict(ratios or {}),
            }
        )
    )


def _machine() -> dict[str, str]:
    found = {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found

"""Memory of private LoRA on 110 M parameters: ``python -m benchmarks.lora_memory``.

BERT-base's shape with fresh weights (none are needed to see what memory a step takes), 64 texts of
128 tokens in a step, clipped and noised as a site does it. Each way in a process of its own, whose
peak is what the operating system counted.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from tacit.devices import compute_of
from tacit.domains.domain import Examples
from tacit.learning.local import train_round
from tacit.learning.plan import RoundPlan
from tacit.models.adapters import Lora, add_adapters
from tacit.models.backbone import BackboneModel, Head
from tacit.models.trainable import Train, choose_trainable
from tacit.models.transformer_backbones import Pooling, TextBackbone
from tacit.privacy.randomness import Stream
from tacit.settings import EngineKind, EngineSettings, Precision

TEXTS: Final = 64
LENGTH: Final = 128
CLASSES: Final = 10


@dataclass(frozen=True, slots=True)
class Way:
    """How a step saves memory."""

    title: str
    microbatch: int | None
    precision: Precision = Precision.FP32


WAYS: Final = (
    Way("all at once", None),
    Way("microbatches of 8", 8),
    Way("microbatches of 1", 1),
)
ON_GPU: Final = (
    *WAYS,
    Way("all at once, bf16", None, Precision.BF16),
    Way("microbatches of 8, bf16", 8, Precision.BF16),
)


def measured(way: Way, device: torch.device) -> tuple[float, float, int]:
    """Do a step; return the peak in GiB, seconds, and how many weights there are."""
    from transformers import BertConfig, BertModel

    torch.set_num_threads(2)
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    bert: Any = BertModel(config, add_pooling_layer=False)
    model = BackboneModel(
        TextBackbone(bert, Pooling.MEAN, True, LENGTH), config.hidden_size, CLASSES, Head()
    )
    add_adapters(model, Lora())
    choose_trainable(model, Train.LORA)
    model.to(device)
    tokens = torch.randint(config.vocab_size, (TEXTS, LENGTH)).float()
    rows = Examples(tokens, torch.randint(CLASSES, (TEXTS,)))

    engine = EngineSettings(
        EngineKind.LOOP, device=str(device), microbatch=way.microbatch, precision=way.precision
    )
    compute = compute_of(engine)

    def step() -> float:
        began = time.perf_counter()
        train_round(
            model,
            rows,
            RoundPlan(1, 1.0, float(TEXTS), 0.1, 1.0, 1.0),
            coins=Stream.seeded(0, "site", 1, "coins"),
            noise=Stream.seeded(0, "site", 1, "noise"),
            layers=Stream.seeded(0, "site", 1, "layers"),
            compute=compute,
        )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    seconds = step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        seconds = step()
        peak = torch.cuda.max_memory_allocated(device) / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return peak, seconds, sum(p.numel() for p in model.parameters())


def main() -> None:
    """Print peak memory and time of each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    device = torch.device(parser.parse_args().device)
    table = Table(title=f"A private LoRA step of {TEXTS} texts of {LENGTH} tokens")
    for heading in ("way", "peak, GiB", "s a step", "parameters"):
        table.add_column(heading, justify="right")
    figures = {}
    for way in ON_GPU if device.type == "cuda" else WAYS:
        if device.type == "cuda":  # whose memory is counted from any step on
            peak, seconds, weights = measured(way, device)
        else:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                peak, seconds, weights = alone.submit(measured, way, device).result()
        table.add_row(way.title, f"{peak:.2f}", f"{seconds:.2f}", f"{weights / 1e6:.0f} M")
        figures[f"{way.title}/gib"] = peak
        figures[f"{way.title}/seconds"] = seconds
    Console().print(table)
    print_json("lora_memory", figures)


if __name__ == "__main__":
    main()

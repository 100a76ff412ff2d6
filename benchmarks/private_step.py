"""Time a private step of training against a plain one: ``python -m benchmarks.private_step``.

A step is a whole `tacit.learning.local.train_round` of one step, Poisson draw, clipping, noise and
update included. Opacus's own way (`PrivacyEngine.make_private`, hooks) stands beside it; it is
given the same rows ready drawn, so that its data loader is not counted. The three take turns, so
that a slow spell of the machine hits all, and see the same rows.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.report import print_json
from tacit.devices import compute_of
from tacit.domains.domain import Examples
from tacit.learning.local import train_round
from tacit.learning.plan import RoundPlan
from tacit.models.trainable import Train, choose_trainable
from tacit.privacy.randomness import Stream
from tacit.settings import EngineKind, EngineSettings

CLASSES: Final = 10
SAMPLING_RATE: Final = 0.1
CLIPPING_NORM: Final = 1.0
NOISE_MULTIPLIER: Final = 1.0
LEARNING_RATE: Final = 1e-3


class Perceptron(nn.Module):
    """64-256-256-10, for tables."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        self.head = nn.Linear(256, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, classes] of examples [n, 64]."""
        scores: torch.Tensor = self.head(self.body(features))
        return scores


class Convolutional(nn.Module):
    """Three convolutions with GroupNorm, for images [1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 16, 2), (16, 32, 2), (32, 64, 1)):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1))
            layers += [nn.GroupNorm(8, outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, classes] of images [n, 1, 28, 28]."""
        scores: torch.Tensor = self.head(self.body(features).mean((2, 3)))
        return scores


class Attention(nn.Module):
    """Self-attention by linear projections, which Opacus can do."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens [n, t, width] to as many."""
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        mixed: torch.Tensor = self.mix(seen.transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A transformer block, normalised first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width, heads=4))
        self.think = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens [n, t, width] to as many."""
        tokens = tokens + self.attend(tokens)
        summed: torch.Tensor = tokens + self.think(tokens)
        return summed


class Positions(nn.Module):
    """A class token in front and a learned position for every token.

    A module of its own: Opacus differentiates a module that holds bare parameters by vmap, with
    all that is below it.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches [n, t, width] to tokens [n, t + 1, width]."""
        first = self.first.expand(len(patches), -1, -1)
        return torch.cat([first, patches], 1) + self.position.expand(len(patches), -1, -1)


class Transformer(nn.Module):
    """A small vision transformer for images [1, 28, 28] in patches of 4 × 4."""

    def __init__(self, width: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.positions = Positions(7 * 7, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, classes] of images [n, 1, 28, 28]."""
        tokens = self.positions(self.patches(features).flatten(2).transpose(1, 2))
        scores: torch.Tensor = self.head(self.norm(self.blocks(tokens)[:, 0]))
        return scores


@dataclass(frozen=True, slots=True)
class Case:
    """A model, the shape of one of its examples and what of it trains."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    train: Train = Train.ALL


CASES: Final = (
    Case("mlp", Perceptron, (64,)),
    Case("cnn", Convolutional, (1, 28, 28)),
    Case("vit", Transformer, (1, 28, 28)),
    Case("vit_head", Transformer, (1, 28, 28), Train.HEAD),
)


def steps_of(case: Case, batch: int, device: torch.device) -> dict[str, Callable[[int], None]]:
    """Return the three ways to make a step of a model, each a function of the step's number."""
    torch.manual_seed(0)
    model = case.build().to(device)
    choose_trainable(model, case.train)
    size = round(batch / SAMPLING_RATE)
    data = Examples(torch.randn(size, *case.inputs), torch.randint(CLASSES, (size,)))
    compute = compute_of(EngineSettings(EngineKind.LOOP, device=str(device)))

    def coins(number: int) -> Stream:
        return Stream.seeded(0, case.name, number, "coins")

    def ours(plan: RoundPlan) -> Callable[[int], None]:
        own, system = deepcopy(model), Stream.from_system()
        return lambda number: train_round(
            own, data, plan, coins=coins(number), noise=system, layers=system, compute=compute
        )

    step_opacus = _opacus_step(deepcopy(model), data, batch)

    def opacus(number: int) -> None:
        drawn = coins(number).coins(size, SAMPLING_RATE)
        step_opacus(data.features[drawn].to(device), data.targets[drawn].to(device))

    public = (1, SAMPLING_RATE, float(batch), LEARNING_RATE)
    return {
        "plain": ours(RoundPlan(*public)),
        "private": ours(RoundPlan(*public, CLIPPING_NORM, NOISE_MULTIPLIER)),
        "opacus": opacus,
    }


def _opacus_step(
    model: nn.Module, data: Examples, batch: int
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    from opacus import PrivacyEngine

    rows = torch.utils.data.TensorDataset(data.features, data.targets)
    trainable = [p for p in model.parameters() if p.requires_grad]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        hooked, optimizer, _ = PrivacyEngine().make_private(
            module=model.train(),
            optimizer=torch.optim.SGD(trainable, lr=LEARNING_RATE),
            data_loader=torch.utils.data.DataLoader(rows, batch_size=batch),
            noise_multiplier=NOISE_MULTIPLIER,
            max_grad_norm=CLIPPING_NORM,
        )

    def step(features: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            torch.autograd.backward(nn.functional.cross_entropy(hooked(features), targets))
        optimizer.step()

    return step


def paired_seconds(
    steps: dict[str, Callable[[int], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Time every way once per repeat, in turn, after one round that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step(number)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number > 0:
                taken[name].append(time.perf_counter() - started)
    return taken


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the repeats of one time divided by the other of the same repeat."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print a table of the times and, as the last line, the same as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.private_step")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--batch", type=int, default=64, help="expected size of a Poisson sample")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))

    table = Table(title=f"One step of {asked.batch} examples: ms, median of {asked.repeats}")
    table.add_column("device")
    table.add_column("model", no_wrap=True)
    for heading in ("weights", "plain", "private", "× plain", "Opacus", "× plain"):
        table.add_column(heading, justify="right")
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for device in devices:
        for case in CASES:
            taken = paired_seconds(steps_of(case, asked.batch, device), asked.repeats, device)
            key = f"{device.type}.{case.name}"
            ms = {name: 1e3 * statistics.median(found) for name, found in taken.items()}
            times_plain = {
                name: median_ratio(taken[name], taken["plain"]) for name in ("private", "opacus")
            }
            figures |= {f"{key}.{name}_ms": value for name, value in ms.items()}
            ratios |= {f"{key}.{name}_to_plain": value for name, value in times_plain.items()}
            ratios[f"{key}.private_to_opacus"] = median_ratio(taken["private"], taken["opacus"])
            table.add_row(
                device.type,
                case.name,
                f"{_trainable(case):,}",
                f"{ms['plain']:.2f}",
                f"{ms['private']:.2f}",
                f"{times_plain['private']:.2f}",
                f"{ms['opacus']:.2f}",
                f"{times_plain['opacus']:.2f}",
            )
    Console().print(table)
    print_json("private_step", figures, ratios)


def _trainable(case: Case) -> int:
    model = case.build()
    choose_trainable(model, case.train)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


if __name__ == "__main__":
    main()

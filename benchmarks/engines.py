"""Choose the settings of domain=fleet_engines: ``python -m benchmarks.engines PATH``.

Only the public pool has a part in it, the engines of FD003, here with their remaining lives. They
are cut six times into engines for scaling and encoder, engines that train and engines that are held
out. First the encoder is chosen with one setting of the training, then the training for each unit
of privacy, with the noise that the 100 engines of FD001 would have; the least error wins. The grids
are all that was tried; ``benchmarks/tried/fleet_engines.csv`` keeps what they gave.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.report import print_json
from benchmarks.training import Setting, grid
from tacit.domains.cmapss import Array, find_file, read_engines
from tacit.domains.engine_windows import TARGET, Scaling, last_windows
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.signal import Signal
from tacit.privacy.calibration import noise_multiplier

EPSILON, DELTA = 8.0, 1e-5
FOLDS: Final = 6
STRIDE, WINDOWS = 5, 40
HELD_STRIDE, HELD_WINDOWS = 4, 38
"""Held-out windows: from the failure back to 148 cycles before it, about as the official tests."""
OPERATORS, ENGINES = 5, 100
"""Of FD001: they set the noise."""
SEEDS: Final = 4


@dataclass(frozen=True, slots=True)
class Encoder:
    """Cycles of a window, and what the encoder is built and pretrained with."""

    window: int
    mixtures: int
    hidden: int
    embedding: int
    floor: float
    steps: int


ENCODERS: Final = tuple(
    Encoder(*point)
    for point in itertools.product(
        (30, 50), (3, 5), (64, 128), (16, 32), (0.0, 0.03, 0.1), (20, 300)
    )
)
FIRST: Final = Setting(20, 1.0, 0.125)
PRIVATE: Final = grid((10, 20, 40, 80), (0.25, 0.5, 1.0, 2.0), (0.0625, 0.125, 0.25, 0.5))
BY_WINDOW: Final = grid((40, 80, 160, 320), (0.25, 0.5, 1.0), (0.25, 0.5, 1.0, 2.0))
PLAIN: Final = grid((100, 200, 400), (0.125, 0.25, 0.5), (None,))


@dataclass(frozen=True, slots=True)
class Arm:
    """What is clipped, and how much noise a step has: σC times `noise` on the mean gradient."""

    by_engine: bool
    noise: float
    settings: tuple[Setting, ...] = PRIVATE


# Sites that add noise of their own divide it by what they hold, and their mean has that over the
# root of their number.
ARMS: Final = {
    "engine": Arm(True, OPERATORS**0.5 / ENGINES),
    "engine, alone": Arm(True, OPERATORS / ENGINES),
    "engine as a client": Arm(True, 1 / ENGINES),
    "window": Arm(False, OPERATORS**0.5 / (ENGINES * WINDOWS), BY_WINDOW),
    "window, alone": Arm(False, OPERATORS / (ENGINES * WINDOWS), BY_WINDOW),
    "without privacy": Arm(False, 0.0, PLAIN),
}


@dataclass(frozen=True, slots=True)
class Task:
    """Embedded windows with a 1 at their end and their scaled lives, of a fold's engines."""

    train: Sequence[tuple[Array, Array]]
    features: Array
    targets: Array


def make_task(engines: Sequence[Array], encoder: Encoder, fold: int) -> Task:
    """Cut the public engines, fit the encoder on a third of them and embed the others."""
    order = np.random.default_rng(0).permutation(len(engines))
    part = np.arange(len(order)) * FOLDS // len(order)
    turned = [[engines[n] for n in order[(part + fold) % FOLDS == k]] for k in range(FOLDS)]
    public, held = turned[0] + turned[1], turned[5]
    private = [*turned[2], *turned[3], *turned[4]]
    scaled = Scaling.of(public)
    pool = torch.cat([last_windows(scaled(e), encoder.window, STRIDE, WINDOWS)[0] for e in public])
    torch.manual_seed(fold)
    model = Signal(encoder.mixtures, encoder.hidden, encoder.embedding, encoder.floor).build(
        tuple(pool.shape[1:]), 1
    )
    settings = Pretraining(encoder.steps, 3e-3, 0.5, 256, patch=5)
    blocks = blocks_of(pool.shape[1:], (), settings.patch)
    pretrain(MaskedFeatures(model, pool, blocks), settings, fold)

    def embedded(engine: Array, stride: int, most: int) -> tuple[Array, Array]:
        features, targets = last_windows(scaled(engine), encoder.window, stride, most)
        with torch.no_grad():
            code = model.embed(features).double().numpy()
        return np.concatenate([code, np.ones((len(code), 1))], 1), targets.double().numpy()

    rows = [embedded(engine, HELD_STRIDE, HELD_WINDOWS) for engine in held]
    return Task(
        [embedded(engine, STRIDE, WINDOWS) for engine in private],
        np.concatenate([features for features, _ in rows]),
        np.concatenate([targets for _, targets in rows]),
    )


def trained(task: Task, arm: Arm, setting: Setting, seed: int) -> Array:
    """Train heads from zeros by private steps on all rows, as `tacit.learning.local` does.

    Returns
    -------
    ndarray
        Weights [seeds, width], the last of them the bias, one row for each draw of the noise.
    """
    rng = np.random.default_rng(seed)
    sigma = 0.0
    if setting.clipping_norm is not None:
        sigma = noise_multiplier(EPSILON, DELTA, 1.0, setting.rounds)
    features = np.concatenate([own for own, _ in task.train])
    targets = np.concatenate([own for _, own in task.train])
    second = np.stack([own.T @ own / len(own) for own, _ in task.train])
    first = np.stack([own.T @ wanted / len(own) for own, wanted in task.train])
    weights = np.zeros((SEEDS if sigma else 1, features.shape[1]))
    for _ in range(setting.rounds):
        if arm.by_engine:
            gradients = np.einsum("eij,sj->sei", second, weights) - first
            norms = np.linalg.norm(gradients, axis=2)
            mean = np.einsum("se,sei->si", _factors(norms, setting), gradients) / len(first)
        else:
            errors = weights @ features.T - targets
            norms = np.abs(errors) * np.linalg.norm(features, axis=1)
            # A site divides by the windows it declares, and some engines are too short for all.
            rows = len(task.train) * WINDOWS
            mean = (errors * _factors(norms, setting)) @ features / rows
        deviation = sigma * (setting.clipping_norm or 0.0) * arm.noise
        weights -= setting.learning_rate * (mean + deviation * rng.normal(size=weights.shape))
    return weights


def _factors(norms: Array, setting: Setting) -> Array:
    if setting.clipping_norm is None:
        return np.ones_like(norms)
    factors: Array = setting.clipping_norm / np.maximum(norms, setting.clipping_norm)
    return factors


def error(task: Task, arm: Arm, setting: Setting, seed: int) -> float:
    """Return the mean squared error on held-out windows, in squared cycles."""
    scores = trained(task, arm, setting, seed) @ task.features.T
    half = (TARGET.high - TARGET.low) / 2
    return float(np.square((scores - task.targets) * half).mean())


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting and its RMSE over all folds."""

    stage: str
    arm: str
    encoder: Encoder
    setting: Setting
    rmse: float


def search(engines: Sequence[Array]) -> list[Tried]:
    """Try every encoder, then every setting of every arm with the best of them."""
    rows = []
    for encoder in track(ENCODERS, "encoders"):
        tasks = [make_task(engines, encoder, fold) for fold in range(FOLDS)]
        rows.append(_tried("encoder", "engine", encoder, FIRST, tasks))
    chosen = best(rows, "encoder", "engine").encoder
    tasks = [make_task(engines, chosen, fold) for fold in range(FOLDS)]
    points = [(name, setting) for name, arm in ARMS.items() for setting in arm.settings]
    for name, setting in track(points, "training"):
        rows.append(_tried("training", name, chosen, setting, tasks))
    return rows


def _tried(
    stage: str, arm: str, encoder: Encoder, setting: Setting, tasks: Sequence[Task]
) -> Tried:
    errors = [error(task, ARMS[arm], setting, fold) for fold, task in enumerate(tasks)]
    return Tried(stage, arm, encoder, setting, float(np.mean(errors)) ** 0.5)


def best(rows: Sequence[Tried], stage: str, arm: str) -> Tried:
    """Return a stage's setting of least error for an arm; of equals, the first tried."""
    return min((r for r in rows if (r.stage, r.arm) == (stage, arm)), key=lambda r: r.rmse)


def main() -> None:
    """Print every setting tried and the best of each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="folder with train_FD003.txt or its first part")
    parser.add_argument("--csv", type=Path, help="also write every setting tried to this file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = search(read_engines(find_file(asked.path, "train_FD003", prefix=True)))
    if asked.csv is not None:
        table = pd.DataFrame(
            {"stage": row.stage, "arm": row.arm}
            | asdict(row.encoder)
            | asdict(row.setting)
            | {"rmse": row.rmse}
            for row in rows
        )
        table.to_csv(asked.csv, index=False, float_format="%.5g")
    chosen = [best(rows, *key) for key in dict.fromkeys((r.stage, r.arm) for r in rows)]
    shown = Table(title=f"RMSE in cycles on {FOLDS} folds of public engines")
    for heading in ("stage", "arm", "encoder", "rounds", "learning rate", "C", "RMSE"):
        shown.add_column(heading)
    for row in rows:
        clip = row.setting.clipping_norm
        shown.add_row(
            *(row.stage, row.arm, " ".join(f"{value:g}" for value in asdict(row.encoder).values())),
            *(f"{row.setting.rounds}", f"{row.setting.learning_rate:g}"),
            *("–" if clip is None else f"{clip:g}", f"{row.rmse:.2f}"),
            style="bold" if row in chosen else "",
        )
    Console().print(shown)
    print_json("engines", {f"{row.stage}/{row.arm}/RMSE": row.rmse for row in chosen})


if __name__ == "__main__":
    main()

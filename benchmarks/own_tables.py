"""Choose what conf/domain/table.yaml recommends, for tables that nobody has seen.

``python -m benchmarks.own_tables`` makes tables up: of few and many columns, small and larger
sites, two classes, four, or a number to predict. Every setting of the grid is tried on each, and
what counts is how far its score is below that of the table's best setting: of all whose mean over
tables is within `NEAR` of the least, the one is chosen whose worst table is best. Scores are
accuracies or, of a number, one minus the RMSE in standard deviations.
"""

import argparse
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from benchmarks.training import Setting, grid
from tacit.privacy.calibration import noise_multiplier

EPSILON: Final = 1.0
DELTA: Final = 1e-5
SITES: Final = 4
TEST_ROWS: Final = 1000
NEAR: Final = 0.005
PRIVATE: Final = grid((10, 20, 40, 80), (0.125, 0.25, 0.5, 1.0, 2.0, 4.0), (0.25, 0.5, 1.0))
PLAIN: Final = grid((50, 100, 200), (0.0625, 0.125, 0.25, 0.5, 1.0), (None,))
ARMS: Final = {
    "federated": PRIVATE,
    "alone": PRIVATE,
    "federated without privacy": PLAIN,
}

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of table: columns, training rows of a site, and classes (0: a number)."""

    columns: int
    rows: int
    classes: int


SHAPES: Final = tuple(Shape(*each) for each in product((5, 15, 40), (100, 400, 1500), (2, 4, 0)))


@dataclass(frozen=True, slots=True)
class Part:
    """Rows with a column of ones [n, columns + 1], and targets [n, outputs].

    Targets are 1 in the place of the class or, of a number, the scaled number.
    """

    seen: Array
    told: Array


def made_up(shape: Shape, number: int) -> list[tuple[Part, Part]]:
    """Make a table's training and test rows at each site.

    Columns are correlated, their scaled values are mostly within 1, and sites are unlike. What is
    to be told is linear in columns and their products, with noise.
    """
    rng = np.random.default_rng([number, shape.columns, shape.rows, shape.classes])
    causes = rng.normal(size=(max(2, shape.columns // 3), shape.columns))
    outputs = max(shape.classes, 1)
    weights = rng.normal(size=(shape.columns, outputs)) * (rng.random((shape.columns, 1)) < 0.5)
    products = 0.3 * rng.normal(size=(shape.columns, outputs))

    def part(rows: int, shift: Array) -> Part:
        mixed = rng.normal(size=(rows, len(causes))) @ causes / len(causes) ** 0.5
        columns = (0.5 * (0.8 * mixed + 0.6 * rng.normal(size=mixed.shape) + shift)).clip(-3, 3)
        scores = columns @ weights + (columns * np.roll(columns, 1, axis=1)) @ products
        scores = scores / scores.std() + 0.6 * rng.normal(size=scores.shape)
        # Of a number the public range is three standard deviations to either side.
        told = np.eye(outputs)[scores.argmax(1)] if shape.classes else (scores / 3).clip(-1, 1)
        return Part(np.hstack([columns, np.ones((rows, 1))]), told)

    shifts = 0.5 * rng.normal(size=(SITES, shape.columns))
    return [(part(shape.rows, shift), part(TEST_ROWS, shift)) for shift in shifts]


def trained(rows: list[Part], shape: Shape, setting: Setting, seed: int) -> Array:
    """Return the weights [columns + 1, outputs] of `tacit.models.linear` after full-batch rounds.

    Sites have one declared size, so that the mean of their models after a step is one step by the
    mean of their noised gradients. The gradient of an example is the outer product of its features
    and its residuals, and its norm the product of theirs: none is ever made.
    """
    rng = np.random.default_rng(seed)
    weights: Array = np.zeros((shape.columns + 1, max(shape.classes, 1)))
    clip = setting.clipping_norm
    for _ in range(setting.rounds):
        step = np.zeros_like(weights)
        for part in rows:
            residuals = _predicted(part, weights, shape) - part.told
            if clip is not None:
                norms = np.linalg.norm(residuals, axis=1) * np.linalg.norm(part.seen, axis=1)
                residuals *= np.minimum(1, clip / np.maximum(norms, 1e-12))[:, None]
                noise = _noise(setting.rounds) * clip * rng.normal(size=weights.shape)
                step += (part.seen.T @ residuals + noise) / len(part.seen)
            else:
                step += part.seen.T @ residuals / len(part.seen)
        weights -= setting.learning_rate * step / len(rows)
    return weights


@cache
def _noise(rounds: int) -> float:
    return noise_multiplier(EPSILON, DELTA, 1.0, rounds)


def _predicted(part: Part, weights: Array, shape: Shape) -> Array:
    scores: Array = part.seen @ weights
    if not shape.classes:
        return scores
    odds = np.exp(scores - scores.max(1, keepdims=True))
    likely: Array = odds / odds.sum(1, keepdims=True)
    return likely


def score(weights: Array, test: Part, shape: Shape) -> float:
    """Return the accuracy, or one minus the RMSE in standard deviations; -1 where it diverged."""
    if not np.isfinite(weights).all():
        return -1.0
    predicted = _predicted(test, weights, shape)
    if shape.classes:
        return float((predicted.argmax(1) == test.told.argmax(1)).mean())
    return max(-1.0, float(1 - np.sqrt(np.square(predicted - test.told).mean()) / test.told.std()))


def scores_of(shape: Shape, number: int) -> Mapping[str, list[float]]:
    """Try every setting of every arm on one table."""
    data = made_up(shape, number)

    def tried(arm: str, setting: Setting) -> float:
        # One site stands for all that train alone.
        sites = data[:1] if arm == "alone" else data
        with np.errstate(over="ignore", invalid="ignore"):
            weights = trained([train for train, _ in sites], shape, setting, number)
            return float(np.mean([score(weights, test, shape) for _, test in sites]))

    return {arm: [tried(arm, setting) for setting in own] for arm, own in ARMS.items()}


def _all(tables: int, workers: int) -> Iterator[Mapping[str, list[float]]]:
    shapes, numbers = zip(*product(SHAPES, range(tables)), strict=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(scores_of, shapes, numbers)


def chosen(means: Array, worst: Array) -> int:
    """Return the place of the setting to use, from how far each is below the best [settings]."""
    near = np.flatnonzero(means <= means.min() + NEAR)
    # Written with four digits, so that whoever reads the kept file chooses the same.
    return min(near.tolist(), key=lambda n: (round(float(worst[n]), 4), round(float(means[n]), 4)))


def main() -> None:
    """Print the settings that are nearest to each table's best, and the one to use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=4, help="of each shape")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="also write every setting tried to this file")
    asked = parser.parse_args()
    found = list(_all(asked.tables, asked.workers))
    figures: dict[str, float] = {}
    kept: list[dict[str, object]] = []
    for arm, settings in ARMS.items():
        scores = np.array([task[arm] for task in found])
        below = scores.max(1, keepdims=True) - scores
        place_of_best = chosen(below.mean(0), below.max(0))
        table = Table(title=f"{arm}: below the best setting of {len(found)} made-up tables")
        for heading in ("rounds", "learning rate", "C", "mean", "worst table", "score"):
            table.add_column(heading, justify="right")
        for place in np.argsort(below.mean(0), kind="stable")[:8]:
            one = settings[place]
            clip = "–" if one.clipping_norm is None else f"{one.clipping_norm:g}"
            own = (below[:, place].mean(), below[:, place].max(), scores[:, place].mean())
            table.add_row(
                str(one.rounds),
                f"{one.learning_rate:g}",
                clip,
                *(f"{each:.4f}" for each in own),
                style="bold" if place == place_of_best else "",
            )
        Console().print(table)
        kept += [
            {"arm": arm, **asdict(one), "below": mean, "worst": worst}
            for one, mean, worst in zip(settings, below.mean(0), below.max(0), strict=True)
        ]
        best = settings[place_of_best]
        figures |= {
            f"{arm}/rounds": float(best.rounds),
            f"{arm}/learning rate": best.learning_rate,
            f"{arm}/C": best.clipping_norm or 0.0,
            f"{arm}/below": float(below[:, place_of_best].mean()),
        }
    if asked.csv is not None:
        pd.DataFrame(kept).to_csv(asked.csv, index=False, float_format="%.4f")
    print_json("own_tables", figures)


if __name__ == "__main__":
    main()

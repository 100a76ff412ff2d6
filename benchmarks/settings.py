"""Choose the settings of a domain on made-up sites: ``python -m benchmarks.settings DOMAIN``.

Every setting of a grid is tried on the same made-up tasks (`benchmarks.synthetic`), for the
federated run and for each baseline beside it; the best mean accuracy, or for a number to predict
the least mean error, is chosen. No row of the domain itself, training or test, has a part in it.
The grids (`benchmarks.shapes`) are all that was tried.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.report import print_json
from benchmarks.shapes import SHAPES, Shape
from benchmarks.synthetic import SyntheticTask
from benchmarks.training import Setting, federated
from tacit.domains.domain import Examples, Metric, SiteData
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.tabular import Tabular
from tacit.models.trainable import (
    Train,
    Weights,
    choose_trainable,
    load_trainable,
)


def score(
    arm: str, setting: Setting, shape: Shape, task: SyntheticTask, model: nn.Module, seed: int
) -> float:
    """Train one arm on one task and return the metric, as the mean of the sites."""
    train = partial(federated, epsilon=shape.epsilon, delta=shape.delta, shares=shape.shares)
    if arm == "alone":
        alone = [
            train(model, {site: held.train}, {site: shape.sizes[site]}, setting, seed=seed)
            for site, held in task.sites.items()
        ]
        found = zip(alone, task.sites.values(), strict=True)
        return float(np.mean([_value(model, weights, held, shape) for weights, held in found]))
    rows = {site: held.train for site, held in task.sites.items()}
    sizes = dict(shape.sizes)
    if arm == "pooled without privacy":
        rows = {"pooled": Examples.together(list(rows.values()))}
        sizes = {"pooled": sum(sizes.values())}
    weights = train(model, rows, sizes, setting, seed=seed)
    return float(np.mean([_value(model, weights, held, shape) for held in task.sites.values()]))


def _value(model: nn.Module, weights: Weights, held: SiteData, shape: Shape) -> float:
    load_trainable(model, weights)
    model.eval()
    with torch.no_grad():
        scores, targets = model(held.test.features), held.test.targets
    if shape.target is None:
        return float((scores.argmax(1) == targets).double().mean())
    scaled = (scores[:, 0].double() - targets.double()).square().mean().sqrt()
    return float(scaled) * (shape.target.high - shape.target.low) / 2


def _shared(shape: Shape, task: SyntheticTask, number: int) -> nn.Module:
    """Build the domain's model, pretrained on the task's pool where it can be."""
    torch.manual_seed(number)
    outputs = 1 if shape.target else 2
    model = shape.architecture.build((shape.schema.width,), outputs)
    if isinstance(shape.architecture, Tabular):
        blocks = blocks_of(task.pool.shape[1:], shape.schema.groups, None)
        pretrain(MaskedFeatures(model, task.pool, blocks), Pretraining(), number)
    choose_trainable(model, Train.HEAD)
    return model


def scores_of_task(domain: str, number: int) -> dict[str, list[float]]:
    """Try every setting of every arm on one task."""
    torch.set_num_threads(1)
    shape = SHAPES[domain]
    task = shape.task(number)
    model = _shared(shape, task, number)
    return {
        arm: [score(arm, setting, shape, task, deepcopy(model), number) for setting in grid]
        for arm, grid in SHAPES[domain].arms.items()
    }


def _all_tasks(domain: str, tasks: int, workers: int) -> Iterator[dict[str, list[float]]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(scores_of_task, [domain] * tasks, range(tasks))


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting and its metric over the tasks, with the standard error of the mean."""

    arm: str
    setting: Setting
    value: float
    error: float


def tried(found: Sequence[Mapping[str, Sequence[float]]], domain: str) -> list[Tried]:
    """Average the scores of every setting over the tasks."""
    rows = []
    for arm, grid in SHAPES[domain].arms.items():
        values = np.array([task[arm] for task in found])
        errors = values.std(0, ddof=min(1, len(values) - 1)) / np.sqrt(len(values))
        rows += [
            Tried(arm, *row)
            for row in zip(grid, values.mean(0).tolist(), errors.tolist(), strict=True)
        ]
    return rows


def best(rows: Sequence[Tried], arm: str, metric: Metric) -> Tried:
    """Return the arm's best setting, of highest accuracy or least error; of equals, the first."""
    pick = min if metric is Metric.RMSE else max
    return pick((row for row in rows if row.arm == arm), key=lambda row: row.value)


def write_csv(rows: Sequence[Tried], metric: Metric, path: Path) -> None:
    """Keep every setting tried."""
    table = pd.DataFrame(
        {"arm": row.arm, **asdict(row.setting), metric.value: row.value, "error": row.error}
        for row in rows
    )
    table.to_csv(path, index=False, float_format="%.5g")


def main() -> None:
    """Print every setting tried and the best of each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domain", choices=sorted(SHAPES))
    parser.add_argument("--tasks", type=int, help="number of made-up tasks")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="also write every setting tried to this file")
    asked = parser.parse_args()
    metric = SHAPES[asked.domain].metric
    tasks = asked.tasks or SHAPES[asked.domain].tasks
    rows = tried(list(_all_tasks(asked.domain, tasks, asked.workers)), asked.domain)
    if asked.csv is not None:
        write_csv(rows, metric, asked.csv)
    console = Console()
    figures: dict[str, float] = {}
    for arm in SHAPES[asked.domain].arms:
        chosen = best(rows, arm, metric)
        table = Table(title=f"{asked.domain}, {arm}: {metric.value} on {tasks} made-up tasks")
        for heading in ("rounds", "learning rate", "C", "mean", "standard error"):
            table.add_column(heading, justify="right")
        for row in rows:
            if row.arm == arm:
                clip = row.setting.clipping_norm
                table.add_row(
                    str(row.setting.rounds),
                    f"{row.setting.learning_rate:g}",
                    "–" if clip is None else f"{clip:g}",
                    f"{row.value:.4f}",
                    f"{row.error:.4f}",
                    style="bold" if row == chosen else "",
                )
        console.print(table)
        figures |= {
            f"{arm}/rounds": chosen.setting.rounds,
            f"{arm}/learning rate": chosen.setting.learning_rate,
            f"{arm}/C": chosen.setting.clipping_norm or 0.0,
            f"{arm}/{metric.value}": chosen.value,
        }
    print_json(f"settings {asked.domain}", figures)


if __name__ == "__main__":
    main()

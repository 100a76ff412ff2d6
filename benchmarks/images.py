"""Choose the settings of domain=pneumonia on made-up tasks: ``python -m benchmarks.images PATH``.

Only images of the public validation split have a part in it, without their labels
(`benchmarks.planted`). First the encoder is chosen with one setting of the training, then the
training of the federated run and of each baseline with that encoder; the best mean AUC wins. The
grids are all that was tried with the model as it is; ``benchmarks/tried/pneumonia.csv`` also keeps
what was looked at before there was a model (stage "before"), with other made-up tasks of the kind.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.planted import FOLDS, PlantedTask, make_task, plan_of
from benchmarks.report import print_json
from benchmarks.training import Setting, federated, grid
from tacit.domains.domain import Examples
from tacit.domains.pneumonia import Pneumonia
from tacit.models.linear import Linear
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.trainable import Train, choose_trainable, load_trainable
from tacit.models.vision import Vision, VisionModel

EPSILON, DELTA = 8.0, 1e-5


@dataclass(frozen=True, slots=True)
class Encoder:
    """How long the trunk is pretrained and how much of the code the head sees."""

    steps: int
    embedding: int


ENCODERS: Final = tuple(Encoder(s, e) for s in (100, 600) for e in (64, 128, 256))
FIRST: Final = Setting(60, 64.0, 1.0)
PRIVATE: Final = grid((30, 60), (32.0, 64.0, 128.0), (0.5, 1.0))
PLAIN: Final = grid((60, 120), (64.0, 128.0), (None,))
ARMS: Final = {
    "federated": PRIVATE,
    "alone": PRIVATE,
    "federated without privacy": PLAIN,
    "pooled without privacy": PLAIN,
}

Sites = Mapping[str, Examples]
"""Training examples of each site, as the head sees them."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting and its AUC over the tasks, with the standard error of the mean."""

    stage: str
    arm: str
    encoder: Encoder
    setting: Setting
    auc: float
    error: float


def pretrained(pool: torch.Tensor, encoder: Encoder, seed: int) -> VisionModel:
    """Pretrain the encoder of a fold, as a run does."""
    torch.manual_seed(seed)
    model = Vision(embedding=encoder.embedding).build(tuple(pool.shape[1:]), 2)
    settings = Pretraining(
        steps=encoder.steps, learning_rate=2e-3, masked_share=0.5, batch_size=64, patch=4
    )
    blocks = blocks_of(pool.shape[1:], (), settings.patch)
    pretrain(MaskedFeatures(model, pool, blocks), settings, seed)
    return model


def embedded(model: VisionModel, images: torch.Tensor) -> torch.Tensor:
    """Return what the head sees: nothing below it trains, so once is enough."""
    with torch.no_grad():
        return torch.cat([model.embed(part) for part in torch.split(images, 512)])


def score(arm: str, setting: Setting, sites: Sites, test: Examples, seed: int) -> float:
    """Train heads in one arm and return the AUC, for sites alone the mean of theirs."""
    if arm == "alone":
        return float(
            np.mean([_auc({site: own}, setting, test, seed) for site, own in sites.items()])
        )
    if arm == "pooled without privacy":
        sites = {"pooled": Examples.together(list(sites.values()))}
    return _auc(sites, setting, test, seed)


def _auc(sites: Sites, setting: Setting, test: Examples, seed: int) -> float:
    head = Linear().build(tuple(test.features.shape[1:]), 2)
    choose_trainable(head, Train.HEAD)
    sizes = {site: max(10, round(len(own), -1)) for site, own in sites.items()}
    load_trainable(head, federated(head, sites, sizes, setting, EPSILON, DELTA, seed))
    with torch.no_grad():
        scores = head(test.features)
    return float(roc_auc_score(test.targets.numpy(), (scores[:, 1] - scores[:, 0]).numpy()))


def of_task(task: PlantedTask, model: VisionModel) -> tuple[Sites, Examples]:
    """Turn a task's images into what the head sees."""
    test = next(iter(task.sites.values())).test
    return (
        {
            site: Examples(embedded(model, held.train.features), held.train.targets)
            for site, held in task.sites.items()
        },
        Examples(embedded(model, test.features), test.targets),
    )


def search(public: torch.Tensor, tasks: int) -> list[Tried]:
    """Try every encoder, then every setting of every arm with the best of them."""
    made = [make_task(public, number) for number in range(tasks)]
    heads: dict[Encoder, list[tuple[Sites, Examples]]] = {}
    rows = []
    for encoder in track(ENCODERS, "encoders"):
        models: dict[int, VisionModel] = {}
        heads[encoder] = []
        for number, task in enumerate(made):
            fold = plan_of(number)[0]
            if fold not in models:
                models[fold] = pretrained(task.pool, encoder, fold)
            heads[encoder].append(of_task(task, models[fold]))
        rows.append(_tried("encoder", "federated", encoder, FIRST, heads[encoder]))
    chosen = best(rows, "encoder", "federated").encoder
    points = [(arm, setting) for arm, grid in ARMS.items() for setting in grid]
    for arm, setting in track(points, "training"):
        rows.append(_tried("training", arm, chosen, setting, heads[chosen]))
    return rows


def _tried(
    stage: str,
    arm: str,
    encoder: Encoder,
    setting: Setting,
    tasks: Sequence[tuple[Sites, Examples]],
) -> Tried:
    values = [
        score(arm, setting, sites, test, number) for number, (sites, test) in enumerate(tasks)
    ]
    error = np.std(values, ddof=min(1, len(values) - 1)) / np.sqrt(len(values))
    return Tried(stage, arm, encoder, setting, float(np.mean(values)), float(error))


def best(rows: Sequence[Tried], stage: str, arm: str) -> Tried:
    """Return a stage's setting of highest AUC for an arm; of equals, the first tried."""
    return max((r for r in rows if (r.stage, r.arm) == (stage, arm)), key=lambda r: r.auc)


def write_csv(rows: Sequence[Tried], path: Path) -> None:
    """Keep every setting tried."""
    table = pd.DataFrame(
        {
            "stage": row.stage,
            "arm": row.arm,
            **asdict(row.encoder),
            **asdict(row.setting),
            "auc": row.auc,
            "error": row.error,
        }
        for row in rows
    )
    table.to_csv(path, index=False, float_format="%.5g")


def main() -> None:
    """Print every setting tried and the best of each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="pneumoniamnist.npz or its folder")
    parser.add_argument("--tasks", type=int, default=3 * FOLDS)
    parser.add_argument("--csv", type=Path, help="also write every setting tried to this file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    public = Pneumonia(asked.path, declared_sizes={"any": 1}).public_pool()
    rows = search(public, asked.tasks)
    if asked.csv is not None:
        write_csv(rows, asked.csv)
    table = Table(title=f"AUC on {asked.tasks} made-up tasks")
    for heading in ("stage", "arm", "steps", "embedding", "rounds", "learning rate", "C", "mean"):
        table.add_column(heading)
    table.add_column("error")
    chosen = [best(rows, *key) for key in dict.fromkeys((r.stage, r.arm) for r in rows)]
    for row in rows:
        clip = row.setting.clipping_norm
        table.add_row(
            *(row.stage, row.arm, f"{row.encoder.steps}", f"{row.encoder.embedding}"),
            *(f"{row.setting.rounds}", f"{row.setting.learning_rate:g}"),
            *("–" if clip is None else f"{clip:g}", f"{row.auc:.4f}", f"{row.error:.4f}"),
            style="bold" if row in chosen else "",
        )
    Console().print(table)
    print_json("images", {f"{row.stage}/{row.arm}/AUC": row.auc for row in chosen})


if __name__ == "__main__":
    main()

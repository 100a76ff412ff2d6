"""Choose the settings of domain=homes: ``python -m benchmarks.speakers PATH``.

By a split inside the training recordings: homes train on the takes that they have by default, and
what comes out is judged on later takes, which no home of the default has. Test recordings have no
part in it. First the encoder is chosen with one setting of the training, then the training of the
run, of the same with noise at each home, and of each baseline; the best mean accuracy wins. The
grids are all that was tried with the domain as it is; ``benchmarks/tried/homes.csv`` keeps what
they gave.
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

from benchmarks.report import print_json
from benchmarks.training import Setting, federated, grid
from tacit.domains.domain import Examples
from tacit.domains.homes import CLASSES, SPEAKERS, TAKES, Homes
from tacit.models.linear import Linear
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.trainable import Train, choose_trainable, load_trainable
from tacit.models.vision import Vision

EPSILON, DELTA = 8.0, 1e-5
HELD = 5
"""Takes 0 to 4 are for testing, and never looked at."""
SEEDS: Final = 3


@dataclass(frozen=True, slots=True)
class Encoder:
    """How long the trunk is pretrained and how much of the code the head sees."""

    steps: int
    embedding: int


ENCODERS: Final = tuple(Encoder(s, e) for s in (100, 300) for e in (64, 128, 256))
FIRST: Final = Setting(40, 32.0, 0.25)
PRIVATE: Final = grid((10, 20, 40, 80), (8.0, 16.0, 32.0, 64.0), (0.25, 0.5))
PLAIN: Final = grid((60, 120), (32.0, 64.0, 128.0), (None,))
ARMS: Final[Mapping[str, tuple[Setting, ...]]] = {
    "noise in shares": PRIVATE,
    "noise at each home": PRIVATE,
    "alone": PRIVATE,
    "federated without privacy": PLAIN,
}


@dataclass(frozen=True, slots=True)
class Home:
    """What a home trains on and is judged on, as the head sees it."""

    train: Examples
    later: Examples


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting and its accuracy at each home, over the noise seeds."""

    stage: str
    arm: str
    encoder: Encoder
    setting: Setting
    accuracy: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean of the homes."""
        return float(np.mean(list(self.accuracy.values())))


def embedded(path: Path, takes: int, encoder: Encoder) -> dict[str, Home]:
    """Pretrain an encoder as a run does and let it read every home's training recordings."""
    homes = Homes(str(path), takes=TAKES - HELD)
    pool = homes.public_pool()
    torch.manual_seed(0)
    model = Vision(embedding=encoder.embedding, views="speech").build(homes.inputs, len(CLASSES))
    settings = Pretraining(encoder.steps, 2e-3, 0.5, 64, patch=4)
    blocks = blocks_of(pool.shape[1:], (), settings.patch)
    pretrain(MaskedFeatures(model, pool, blocks), settings, 0)
    cut = takes * len(CLASSES)
    found = {}
    for site, held in homes.load().items():
        with torch.no_grad():
            codes, targets = model.embed(held.train.features), held.train.targets
        # Rows lie in the order of their takes.
        found[site] = Home(
            Examples(codes[:cut], targets[:cut]), Examples(codes[cut:], targets[cut:])
        )
    return found


def accuracies(
    arm: str, setting: Setting, homes: Mapping[str, Home], seed: int
) -> dict[str, float]:
    """Train heads in one arm and return the accuracy at each home."""
    width = next(iter(homes.values())).train.features.shape[1]
    head = Linear().build((width,), len(CLASSES))
    choose_trainable(head, Train.HEAD)
    found = {}
    groups = [(site,) for site in homes] if arm == "alone" else [tuple(homes)]
    for sites in groups:
        rows = {site: homes[site].train for site in sites}
        sizes = {site: len(own) for site, own in rows.items()}
        shares = len(homes) - 1 if arm == "noise in shares" else 1
        weights = federated(head, rows, sizes, setting, EPSILON, DELTA, seed, shares)
        load_trainable(head, weights)
        for site in sites:
            later = homes[site].later
            with torch.no_grad():
                right = head(later.features).argmax(1) == later.targets
            found[site] = float(right.double().mean())
    return found


def search(path: Path, takes: int) -> list[Tried]:
    """Try every encoder, then every setting of every arm with the best of them."""
    read = {encoder: embedded(path, takes, encoder) for encoder in track(ENCODERS, "encoders")}
    rows = [
        _tried("encoder", "noise in shares", encoder, FIRST, homes)
        for encoder, homes in read.items()
    ]
    chosen = best(rows, "encoder", "noise in shares").encoder
    points = [(arm, setting) for arm, settings in ARMS.items() for setting in settings]
    for arm, setting in track(points, "training"):
        rows.append(_tried("training", arm, chosen, setting, read[chosen]))
    return rows


def _tried(
    stage: str, arm: str, encoder: Encoder, setting: Setting, homes: Mapping[str, Home]
) -> Tried:
    seeds = range(1 if setting.clipping_norm is None else SEEDS)
    found = [accuracies(arm, setting, homes, seed) for seed in seeds]
    mean = {site: float(np.mean([each[site] for each in found])) for site in SPEAKERS}
    return Tried(stage, arm, encoder, setting, mean)


def best(rows: Sequence[Tried], stage: str, arm: str) -> Tried:
    """Return a stage's setting of highest accuracy for an arm; of equals, the first tried."""
    return max((r for r in rows if (r.stage, r.arm) == (stage, arm)), key=lambda r: r.mean)


def main() -> None:
    """Print every setting tried and the best of each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="what domain.root is")
    parser.add_argument("--takes", type=int, default=5, help="of each digit, at each home")
    parser.add_argument("--csv", type=Path, help="also write every setting tried to this file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = search(asked.path, asked.takes)
    if asked.csv is not None:
        table = pd.DataFrame(
            {"stage": row.stage, "arm": row.arm}
            | asdict(row.encoder)
            | asdict(row.setting)
            | {**row.accuracy, "mean": row.mean}
            for row in rows
        )
        table.to_csv(asked.csv, index=False, float_format="%.5g")
    chosen = [best(rows, *key) for key in dict.fromkeys((r.stage, r.arm) for r in rows)]
    shown = Table(title=f"accuracy on later takes, {asked.takes} takes at each home")
    for heading in ("stage", "arm", "encoder", "rounds", "rate", "C", *SPEAKERS, "mean"):
        shown.add_column(heading)
    for row in rows:
        clip = row.setting.clipping_norm
        shown.add_row(
            *(row.stage, row.arm, f"{row.encoder.steps} {row.encoder.embedding}"),
            *(f"{row.setting.rounds}", f"{row.setting.learning_rate:g}"),
            "–" if clip is None else f"{clip:g}",
            *(f"{value:.3f}" for value in (*row.accuracy.values(), row.mean)),
            style="bold" if row in chosen else "",
        )
    Console().print(shown)
    print_json("speakers", {f"{row.stage}/{row.arm}/accuracy": row.mean for row in chosen})


if __name__ == "__main__":
    main()

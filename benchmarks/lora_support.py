"""LoRA beside the head alone, at support desks: ``python -m benchmarks.lora_support PATH``.

Two desks (banking and work, thirty of CLINC150's intents) in few and small batches take an hour
on one core. ``--ten`` is all of ``domain=support``, forty rounds of all sentences, for a GPU.
Both ways have the same rounds, batches and ε for each sentence, and noise at each desk. How far
they go is chosen first, at two made-up desks: for ten, with an ε at which noise on the mean of two
is that on the mean of ten. ``PATH`` is what domain.root is.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import interval
from benchmarks.intents import accuracy
from benchmarks.report import print_json
from simulations.kept import keeping
from tacit.domains.support import DECLARED_SIZES


@dataclass(frozen=True, slots=True)
class Way:
    """What trains, how far a step goes and, of LoRA, how it is added."""

    train: str
    rate: float
    alpha: float = 0.0
    rank: int = 0
    targets: str = "null"

    def words(self) -> list[str]:
        """Return what a person would type."""
        lora = []
        if self.train != "head":
            own = {"alpha": self.alpha, "rank": self.rank, "targets": self.targets}
            lora = [f"model.lora.{key}={value}" for key, value in own.items()]
        return [f"model.train={self.train}", *lora, f"training.learning_rate={self.rate}"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """At which desks, in which rounds, and what is tried at two made-up desks, with which ε."""

    desks: tuple[str, ...]
    words: tuple[str, ...]
    epsilon: float
    heads: tuple[Way, ...]
    loras: tuple[Way, ...]

    def accuracy(self, way: Way, seed: int, root: str | None) -> float:
        """Make a run at the real desks or, without a root, at made-up ones."""
        domain: dict[str, object] = {
            "_target_": "benchmarks.intents.MadeUpDesks",
            "seed": seed,
            "desks": 2,
        }
        epsilon = self.epsilon
        if root is not None:
            domain = {
                "_target_": "tacit.domains.support.Support",
                "root": root,
                "declared_sizes": dict.fromkeys(self.desks, 1500),
            }
            epsilon = 8.0
        words = ["domain=support", "domain.root=.", f"privacy.epsilon={epsilon}", f"seed={seed}"]
        # The longest sentences lose a few words.
        length = "model.architecture.length=24"
        return accuracy([*words, *self.words, *way.words(), length], domain)

    def best(self, console: Console, ways: Sequence[Way]) -> Way:
        """Return the way that does best at made-up desks."""
        found = {}
        for way in ways:
            found[way] = self.accuracy(way, 0, None)
            console.print(f"made-up desks  {way}  {found[way]:.4f}")
        return max(found, key=found.__getitem__)


_LAST_TWO: Final = "'layer.[45]'"
TWO: Final = Comparison(
    ("banking", "work"),
    ("training.rounds=20", "training.batch_size=150"),
    8.0,
    tuple(Way("head", rate) for rate in (100.0, 200.0, 400.0)),
    (
        Way("lora", 200.0, 0.1, 8),
        *(Way("ffa_lora", 200.0, alpha, 8, _LAST_TWO) for alpha in (0.4, 0.8, 1.6)),
    ),
)
TEN: Final = Comparison(
    tuple(DECLARED_SIZES),
    ("training.rounds=40", "engine.precision=bf16", "engine.microbatch=4096"),
    22.0,
    tuple(Way("head", rate) for rate in (400.0, 800.0)),
    # One of the two matrices stays as drawn: with noise on both, their product is mostly noise.
    tuple(Way("ffa_lora", 800.0, alpha, 8, _LAST_TWO) for alpha in (0.8, 1.6, 3.2)),
)


def main() -> None:
    """Print what each way reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--ten", action="store_true", help="all ten desks: for a GPU")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    console = Console(width=110)
    compared = TEN if asked.ten else TWO
    table = Table(title=f"accuracy at {len(compared.desks)} desks, {asked.seeds} noise seeds")
    for heading in ("trains", "learning rate", "alpha", "rank", "targets", "accuracy"):
        table.add_column(heading)
    figures: dict[str, float] = {}
    with keeping():
        for ways in (compared.heads, compared.loras):
            way = compared.best(console, ways)
            reached = []
            for seed in range(asked.seeds):
                reached.append(compared.accuracy(way, seed, asked.path))
                console.print(f"noise seed {seed}  {way}  {reached[-1]:.4f}")
            found = interval(reached)
            cells = (way.rate, way.alpha, way.rank, way.targets, found)
            table.add_row(way.train, *map(str, cells))
            figures |= {way.train: found.mean, f"{way.train}/half width": found.half}
    console.print(table)
    print_json("lora_support", figures)


if __name__ == "__main__":
    main()

"""LoRA beside the head alone, at two support desks: ``python -m benchmarks.lora_support PATH``.

Ten desks take hours on a CPU; two (banking and work, thirty of CLINC150's intents) take minutes.
Both ways have the same rounds, batches and ε for each sentence, and noise at each desk. How far a
step of either goes is chosen first, on made-up desks of thirty other intents. ``PATH`` is what
domain.root is. About half an hour on one core.
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

DESKS: Final = ("banking", "work")
ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Way:
    """What trains, how far a step goes and, of LoRA, by what its product is multiplied."""

    train: str
    rate: float
    alpha: float = 0.0

    def words(self, seed: int) -> list[str]:
        """Return what a person would type."""
        lora = [] if self.train == "head" else [f"model.lora.alpha={self.alpha}"]
        return [
            "domain=support",
            "domain.root=.",
            f"model.train={self.train}",
            *lora,
            f"training.rounds={ROUNDS}",
            "training.batch_size=150",
            "model.architecture.length=24",  # the longest sentences lose a few words
            f"training.learning_rate={self.rate}",
            f"seed={seed}",
        ]


HEADS: Final = tuple(Way("head", rate) for rate in (100.0, 200.0, 400.0))
LORAS: Final = tuple(Way("lora", 200.0, alpha) for alpha in (0.1, 0.5))


def best(console: Console, ways: Sequence[Way]) -> Way:
    """Return the way that does best on made-up desks."""
    made_up = {"_target_": "benchmarks.intents.MadeUpDesks", "seed": 0, "desks": len(DESKS)}
    found = {}
    for way in ways:
        found[way] = accuracy(way.words(0), made_up)
        console.print(f"made-up desks  {way}  {found[way]:.4f}")
    return max(found, key=found.__getitem__)


def main() -> None:
    """Print what each way reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    console = Console(width=110)
    real = {
        "_target_": "tacit.domains.support.Support",
        "root": asked.path,
        "declared_sizes": dict.fromkeys(DESKS, 1500),
    }
    table = Table(title=f"accuracy at {' and '.join(DESKS)}, ε = 8, {asked.seeds} noise seeds")
    for heading in ("trains", "learning rate", "alpha", "accuracy"):
        table.add_column(heading)
    figures: dict[str, float] = {}
    with keeping():
        for ways in (HEADS, LORAS):
            way = best(console, ways)
            found = interval([accuracy(way.words(seed), real) for seed in range(asked.seeds)])
            table.add_row(way.train, f"{way.rate:g}", f"{way.alpha:g}", str(found))
            figures |= {way.train: found.mean, f"{way.train}/half width": found.half}
    console.print(table)
    print_json("lora_support", figures)


if __name__ == "__main__":
    main()

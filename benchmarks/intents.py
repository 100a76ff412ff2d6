"""Choose the settings of ``domain=support`` on made-up sentences: ``python -m benchmarks.intents``.

Ten made-up desks of fifteen intents each, as CLINC150 has them, about other things than its own:
what is asked (three ways to say each) about which thing (two words for each), in sentences of
templates with fillers. They go through the real model. Every point of the grid is the run that a
person would type; no sentence of the real data has a part in it. About twenty minutes, half of it
with ``--bias no``.
"""

import argparse
import itertools
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from commands.compose import composed
from simulations.kept import keeping
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.texts import texts_to_bytes

THINGS: Final = {
    "farm": ("tractor|harvester", "goat|goats", "fence|fencing", "barn|shed", "well|water pump"),
    "museum": (
        "painting|picture",
        "statue|sculpture",
        "guided tour|guide",
        "gift shop|store",
        "lecture|talk",
    ),
    "library": (
        "novel|book",
        "reading room|study desk",
        "library card|membership",
        "newspaper|magazine",
        "printer|copier",
    ),
    "harbour": (
        "sailing boat|yacht",
        "ferry|ship",
        "mooring|berth",
        "crane|lift",
        "lighthouse|beacon",
    ),
    "school": (
        "homework|assignment",
        "exam|test",
        "teacher|tutor",
        "classroom|class room",
        "school bus|bus ride",
    ),
    "theatre": (
        "ticket|seat",
        "costume|outfit",
        "rehearsal|practice",
        "stage light|spotlight",
        "cloakroom|coat check",
    ),
    "garden": (
        "rose|rose bush",
        "lawn|grass",
        "greenhouse|glasshouse",
        "compost|fertiliser",
        "hedge|bushes",
    ),
    "clinic": (
        "appointment|visit",
        "x-ray|scan",
        "prescription|medicine",
        "bandage|plaster",
        "blood test|blood work",
    ),
    "stadium": (
        "match|game",
        "locker|changing room",
        "parking space|car park",
        "scarf|jersey",
        "referee|umpire",
    ),
    "bakery": ("bread|loaf", "wedding cake|cake", "oven|stove", "flour|dough", "coffee|espresso"),
}
ACTIONS: Final = {
    "price": ("how much does {} cost", "what is the price of {}", "what do i pay for {}"),
    "repair": ("{} is broken", "can someone fix {}", "{} needs to be repaired"),
    "book": ("reserve {}", "i would like to book {}", "put me down for {}"),
    "cancel": ("cancel {}", "i no longer want {}", "call off {}"),
    "when": ("when can i have {}", "at what time is {}", "how long until {}"),
    "where": ("where do i find {}", "which way is {}", "i am looking for {}"),
    "history": ("tell me about {}", "what is the story of {}", "how old is {}"),
    "complain": ("i am unhappy with {}", "{} was awful", "i want to complain about {}"),
    "compare": ("which {} is best", "compare {} for me", "is there a better {}"),
}
BEFORE: Final = (
    "",
    "",
    "",
    "hey ",
    "please ",
    "so ",
    "um ",
    "good morning ",
    "i was wondering ",
    "can you help ",
    "listen ",
    "my wife asks ",
)
AFTER: Final = (
    "",
    "",
    "",
    " please",
    " today",
    " for tomorrow",
    " next week",
    " thanks",
    " as soon as possible",
    " for two people",
    " near the entrance",
    " on friday",
    " for my son",
    " if that is possible",
)
ARTICLES: Final = ("the {}", "a {}", "my {}", "this {}", "{}")
TRAIN: Final = 100
TEST: Final = 30
LONGEST: Final = 256


class MadeUpDesks:
    """Ten desks whose sentences follow from a seed.

    Parameters
    ----------
    seed
        Another one is another task.
    desks
        How many there are.
    """

    def __init__(self, seed: int, desks: int = len(THINGS)) -> None:
        self._random = random.Random(seed)
        self.declared_sizes = dict.fromkeys([*THINGS][:desks], 1500)
        self._intents = {
            desk: [
                (thing, action)
                for thing in THINGS[desk]
                for action in self._random.sample([*ACTIONS], 3)
            ]
            for desk in self.declared_sizes
        }

    @property
    def inputs(self) -> tuple[int, ...]:
        """Bytes of a sentence."""
        return (LONGEST,)

    @property
    def card(self) -> Card:
        """What a person is told."""
        names = [
            f"{action} {thing.partition('|')[0]}"
            for own in self._intents.values()
            for thing, action in own
        ]
        return Card(
            "made_up_desks",
            "Made-up desks",
            "",
            tuple(names),
            Metric.ACCURACY,
            "one made-up sentence",
            synthetic=True,
            texts=True,
        )

    @property
    def groups(self) -> tuple[slice, ...]:
        """A sentence has no columns."""
        return ()

    def public_pool(self) -> torch.Tensor | None:
        """There is none."""
        return None

    def load(self) -> Mapping[str, SiteData]:
        """Make up every desk's sentences."""
        number, found = 0, {}
        for desk, own in self._intents.items():
            rows = []
            for thing, action in own:
                rows += [(self._sentence(thing, action), number) for _ in range(TRAIN + TEST)]
                number += 1
            held = [place for place in range(len(rows)) if place % (TRAIN + TEST) >= TRAIN]
            test = [rows[place] for place in held]
            train = [row for place, row in enumerate(rows) if place % (TRAIN + TEST) < TRAIN]
            found[desk] = SiteData(_examples(train), _examples(test))
        return found

    def _sentence(self, thing: str, action: str) -> str:
        pick = self._random.choice
        word = pick(ARTICLES).format(pick(thing.split("|")))
        words = (pick(BEFORE) + pick(ACTIONS[action]).format(word) + pick(AFTER)).split()
        # People leave words out.
        return " ".join(w for w in words if self._random.random() > 0.1) or words[0]


def _examples(rows: Sequence[tuple[str, int]]) -> Examples:
    return Examples(
        texts_to_bytes([text for text, _ in rows], LONGEST),
        torch.tensor([number for _, number in rows], dtype=torch.int64),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the grid; C is None without privacy."""

    bias: bool
    scale: float
    epsilon: float | None
    rounds: int
    rate: float
    clip: float | None = None

    def words(self, seed: int) -> list[str]:
        """Return what a person would type."""
        own = ["privacy=none"]
        if self.epsilon is not None:
            own = [f"privacy.epsilon={self.epsilon}", f"privacy.clipping_norm={self.clip}"]
        return [
            "domain=support",
            "domain.root=.",  # of made-up desks there is none
            *own,
            f"model.architecture.head_bias={str(self.bias).lower()}",
            f"model.architecture.head_scale={self.scale}",
            f"training.rounds={self.rounds}",
            f"training.learning_rate={self.rate}",
            f"seed={seed}",
        ]


def grid(biases: Sequence[bool], scales: Sequence[float]) -> Iterator[Point]:
    """Every point that is tried, those of one scale together: they share what the model read."""
    for bias, scale in itertools.product(biases, scales):
        for epsilon, rounds in itertools.product((8.0, 3.0), (40, 80)):
            for rate, clip in ((100, 0.5), (100, 1.0), (200, 0.5), (400, 0.25)):
                yield Point(bias, scale, epsilon, rounds, rate, clip)
        for rounds in (200, 400):
            yield Point(bias, scale, None, rounds, 400)


def accuracy(words: Sequence[str], domain: Mapping[str, object]) -> float:
    """Make a run at some support desks and return its accuracy on all sentences together.

    Parameters
    ----------
    words
        What a person would type.
    domain
        Which desks, in place of the domain that the words name: a class and its arguments.
    """
    config = composed(list(words))
    config["domain"] = {"name": "support", **domain}
    with tempfile.TemporaryDirectory() as folder, LiveProgress(Console(quiet=True)) as quiet:
        config["run"] = {"dir": f"{folder}/run", "resume": None}
        results, _ = simulate(read_settings(config), config, quiet)
    if results.evaluation.pooled is None:
        raise RuntimeError(f"{' '.join(words)}: the run has no accuracy")
    return results.evaluation.pooled


def main() -> None:
    """Print every point tried and the best of each budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1)
    parser.add_argument("--scales", type=float, nargs="+", default=[3.0, 5.0])
    parser.add_argument("--bias", choices=("no", "yes"), nargs="+", default=["no", "yes"])
    asked = parser.parse_args()
    console = Console()
    found: dict[Point, list[float]] = {}
    for task in range(asked.tasks):
        with keeping():
            for point in grid([each == "yes" for each in asked.bias], asked.scales):
                desks = {"_target_": "benchmarks.intents.MadeUpDesks", "seed": task}
                found.setdefault(point, []).append(accuracy(point.words(task), desks))
                console.print(f"task {task}  {point}  {found[point][-1]:.4f}")
    figures: dict[str, float] = {}
    for epsilon in (8.0, 3.0, None):
        own = {p: sum(v) / len(v) for p, v in found.items() if p.epsilon == epsilon}
        best = max(own, key=own.__getitem__)
        title = "without privacy" if epsilon is None else f"ε = {epsilon:g}"
        table = Table(title=f"{title}: accuracy on {asked.tasks} made-up tasks")
        for heading in ("bias", "head scale", "rounds", "learning rate", "C", "accuracy"):
            table.add_column(heading, justify="right")
        for point, value in own.items():
            cells = (point.scale, point.rounds, point.rate, point.clip or 0.0, round(value, 4))
            style = "bold" if point == best else ""
            table.add_row("yes" if point.bias else "no", *map(str, cells), style=style)
        console.print(table)
        for key, value in (
            ("bias", float(best.bias)),
            ("head scale", best.scale),
            ("rounds", best.rounds),
            ("learning rate", best.rate),
            ("C", best.clip or 0.0),
        ):
            figures[f"{title}/{key}"] = value
        figures[f"{title}/accuracy"] = own[best]
    print_json("intents", figures)


if __name__ == "__main__":
    main()

"""What a finished run's model answers about rows that nobody has labelled."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import torch

from tacit.components import make
from tacit.domains.domain import Card, Domain, Task
from tacit.domains.unlabelled import read_unlabelled
from tacit.errors import ConfigurationError, DataError, InputError
from tacit.finished.model import RunModel
from tacit.models.answers import Array, answers, chosen, scores_of

WIDE: Final = 10
"""Classes that have a column each; of more, the likeliest are named."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of rows.

    Parameters
    ----------
    card
        Of the domain.
    rows
        What a person calls each row.
    found
        As `tacit.models.answers.answers` has it, of each.
    """

    card: Card
    rows: tuple[str, ...]
    found: Array

    def write(self, file: TextIO, top: int) -> None:
        """Write a CSV: a row's name, what is answered, and how likely each answer is.

        Parameters
        ----------
        file
            Open for text.
        top
            How many classes are named of more than `WIDE`.
        """
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self._header(top))
        writer.writerows(self._lines(top))

    def _header(self, top: int) -> list[str]:
        if self.card.target is not None:
            return ["row", "prediction"]
        if self._wide:
            return ["row", "prediction", *(f"p_{name}" for name in self.card.classes)]
        more = [f"{word}_{n}" for n in range(2, self._named(top) + 1) for word in ("next", "p")]
        return ["row", "prediction", "p", *more]

    @property
    def _wide(self) -> bool:
        return self.card.task is not Task.CLASSES or len(self.card.classes) <= WIDE

    def _named(self, top: int) -> int:
        return min(top, len(self.card.classes))

    def _lines(self, top: int) -> Iterator[Sequence[str]]:
        names = self.card.classes
        if self.card.target is not None:
            yield from ((row, f"{x:.6g}") for row, x in zip(self.rows, self.found, strict=True))
            return
        said = chosen(self.found, self.card)
        for row, likely, own in zip(self.rows, self.found, said, strict=True):
            if self.card.task is Task.LABELS:
                told = ";".join(name for name, there in zip(names, own, strict=True) if there)
                yield row, told, *(f"{p:.6f}" for p in likely)
            elif self._wide:
                yield row, names[own], *(f"{p:.6f}" for p in likely)
            else:
                best = np.argsort(-likely, kind="stable")[: self._named(top)]
                yield row, *(each for c in best for each in (names[c], f"{likely[c]:.6f}"))


def predict(
    run: RunModel,
    path: Path,
    column: str | None = None,
    on_read: Callable[[int], None] = lambda count: None,
) -> Answers:
    """Ask a run's model about the rows of a file or a folder.

    Parameters
    ----------
    run
        The run.
    path
        What there is to read.
    column
        Where examples stand in it, where that is to be said.
    on_read
        Called with how many more examples a frozen part of the model has read.

    Raises
    ------
    ConfigurationError
        The domain cannot be made here, or cannot read such rows.
    DataError
        The rows cannot be used; names file, row, column and value.
    """
    domain = _domain(run)
    asked = read_unlabelled(domain, path, column)
    features = asked.features
    if run.reading is not None:
        features = run.reading.reader(features, on_read)
    scores = scores_of(run.module, features, features.device)
    if not torch.isfinite(scores).all():
        row = asked.rows[int((~torch.isfinite(scores)).any(1).nonzero()[0, 0])]
        raise DataError(f"{path}: {row}: the model's answer is no finite number")
    return Answers(run.card, asked.rows, answers(scores, run.card))


def _domain(run: RunModel) -> Domain:
    """Make the run's domain, for how it reads rows: it must be the one that the run had."""
    try:
        domain: Domain = make("domain", run.settings.domain)
        card = domain.card
    except InputError as error:
        raise ConfigurationError(
            f"the run's domain cannot be made here, and how rows are read is in it: {error}; where "
            "its files lie elsewhere by now, say so: --at domain.root=PATH, or domain.schema"
        ) from error
    if (card.name, card.classes) != (run.card.name, run.card.classes):
        raise ConfigurationError(
            f"domain {card.name} with {len(card.classes)} classes is not the run's, which was "
            f"{run.card.name} with {len(run.card.classes)}: was its schema changed since?"
        )
    return domain

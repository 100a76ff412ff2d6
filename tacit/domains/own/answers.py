"""What is to be told of a row: from a target's columns to targets as training takes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tacit.domains.domain import Metric, Target
from tacit.domains.own.content import Rows, column_of
from tacit.domains.own.files import FOLDER
from tacit.domains.own.schema_targets import (
    METRICS,
    AnyTarget,
    ClassesTarget,
    LabelsTarget,
    NumberTarget,
    OrdinalTarget,
    columns_of,
    names_of,
)
from tacit.domains.schema import Choice, Number, Say, read_column


@dataclass(frozen=True, slots=True)
class Answers:
    """What is to be told of a row.

    Parameters
    ----------
    target
        As a schema file says it.
    """

    target: AnyTarget

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that are read; where images lie in folders, that of the folder."""
        return columns_of(self.target) or (FOLDER,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels; none of a number."""
        return names_of(self.target)

    @property
    def metric(self) -> Metric:
        """The headline figure."""
        own = self.target.metric if isinstance(self.target, ClassesTarget) else None
        return Metric(own) if own else METRICS[self.target.task]

    @property
    def number(self) -> Target | None:
        """The number to predict, where it is one."""
        if not isinstance(self.target, NumberTarget):
            return None
        return Target(self.target.column, self.target.unit, *self.target.number)

    @property
    def prior(self) -> tuple[float, ...] | None:
        """How common each class or label is by public knowledge, where the schema says it."""
        given = None if isinstance(self.target, NumberTarget) else self.target.prior
        if given is None:
            return None
        # Of classes they are shares of a whole, but for rounding.
        total = 1.0 if isinstance(self.target, LabelsTarget) else sum(given.values())
        return tuple(given[name] / total for name in self.classes)

    def read(self, rows: Rows, say: Say) -> torch.Tensor:
        """Return targets as `Examples` has them; `say` is told of what is wrong with a row."""
        match self.target:
            case NumberTarget(column=column, number=valid):
                own = Number(column, valid, valid)
                values = read_column(own, rows.table, rows.source, say, _hint)
                return torch.from_numpy(Target(column, "", *valid).scale(values))
            case LabelsTarget(labels=labels, codes=codes):
                told = [
                    _places(rows, say, name, tuple((code,) for code in codes))
                    for name in labels.values()
                ]
                return torch.from_numpy(np.stack(told, axis=1).astype(np.float32))
            case ClassesTarget(classes=classes):
                places = _places(rows, say, self.needed[0], tuple(classes.values()))
                return torch.from_numpy(places)
            case OrdinalTarget(classes=classes):
                places = _places(rows, say, self.needed[0], tuple(classes.values()))
                above = places[:, None] > np.arange(len(classes) - 1)
                return torch.from_numpy(above.astype(np.float32))


def _places(
    rows: Rows, say: Say, name: str, codes: tuple[tuple[str | float, ...], ...]
) -> npt.NDArray[np.int64]:
    """Return for each row the place of its cell among classes' codes [n]; 0 where it is none."""
    known = tuple(code for own in codes for code in own)
    column = column_of(name, known)
    values = read_column(column, rows.table, rows.source, say, _hint)
    # A choice is read as the place of its code, a number as the number.
    read = range(len(known)) if isinstance(column, Choice) else known
    owners = [place for place, own in enumerate(codes) for _ in own]
    place_of = dict(zip(map(float, read), owners, strict=True))
    return np.array(pd.Series(values).map(place_of).fillna(0), np.int64)


def _hint(cell: str) -> str:
    return "correct the cell, take the row out, or correct target in the schema"

"""What is to be told of a row, as a schema file says it: the group of keys ``target``."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import with_config

from tacit.domains.domain import Metric
from tacit.domains.own.schema_values import (
    STRICT,
    Classes,
    Code,
    Codes,
    Labels,
    Range,
    Share,
    Text,
    check_codes,
)


@with_config(STRICT)
@dataclass(frozen=True)
class ClassesTarget:
    """One of several classes.

    Parameters
    ----------
    task
        Says that it is this.
    classes
        For each class, the code or codes of it in the column; or a list of codes.
    column
        Where it stands; with folders of images, None: the folder's name.
    prior
        How common each class is by public knowledge, never by a count of anybody's rows.
    metric
        accuracy or, of two classes, auc.
    """

    task: Literal["classes"]
    classes: Classes
    column: Text | None = None
    prior: Mapping[str, Share] | None = None
    metric: Literal["accuracy", "auc"] = "accuracy"

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        if self.metric == "auc" and len(self.classes) != 2:
            raise ValueError(
                f"metric=auc is for two classes, and there are {len(self.classes)}: use accuracy"
            )
        _check_prior(self.prior, self.classes, whole=True)


@with_config(STRICT)
@dataclass(frozen=True)
class OrdinalTarget:
    """One of several classes in order.

    Parameters
    ----------
    task
        Says that it is this.
    classes
        As of `ClassesTarget`, from lowest to highest.
    column, prior
        As of `ClassesTarget`.
    """

    task: Literal["ordinal"]
    classes: Classes
    column: Text | None = None
    prior: Mapping[str, Share] | None = None

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        _check_prior(self.prior, self.classes, whole=True)


@with_config(STRICT)
@dataclass(frozen=True)
class LabelsTarget:
    """Any number of labels.

    Parameters
    ----------
    task
        Says that it is this.
    labels
        For each label, its column; or a list of columns.
    codes
        What stands for no and for yes.
    prior
        How common each label is by public knowledge, never by a count of anybody's rows.
    """

    task: Literal["labels"]
    labels: Labels
    codes: tuple[Code, Code] = (0.0, 1.0)
    prior: Mapping[str, Share] | None = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels: there are none")
        check_codes(self.codes)
        _check_prior(self.prior, self.labels, whole=False)


@with_config(STRICT)
@dataclass(frozen=True)
class NumberTarget:
    """A number.

    Parameters
    ----------
    task
        Says that it is this.
    number
        Lowest and highest value that can be right.
    column
        Where it stands.
    unit
        Its unit, as people write it.
    """

    task: Literal["number"]
    number: Range
    column: Text
    unit: str = ""


def _check_prior(prior: Mapping[str, float] | None, names: Collection[str], *, whole: bool) -> None:
    """Refuse shares of other names, or those of a whole that do not add up to it."""
    if prior is None:
        return
    if prior.keys() != set(names):
        raise ValueError(f"prior: must have a number for each of {', '.join(names)}")
    if whole and not math.isclose(total := math.fsum(prior.values()), 1.0, abs_tol=1e-3):
        raise ValueError(f"prior: adds up to {total:g}; the shares of all classes are 1")


AnyTarget = ClassesTarget | OrdinalTarget | LabelsTarget | NumberTarget

TARGETS: Final[Mapping[str, type[AnyTarget]]] = {
    "classes": ClassesTarget,
    "ordinal": OrdinalTarget,
    "labels": LabelsTarget,
    "number": NumberTarget,
}

METRICS: Final = {
    "classes": Metric.ACCURACY,
    "ordinal": Metric.MAE,
    "labels": Metric.AUC,
    "number": Metric.RMSE,
}
"""Headline figure of each task; two classes may have AUC."""


def columns_of(target: AnyTarget) -> tuple[str, ...]:
    """Return the columns in which the target stands; none where it is a folder's name."""
    if isinstance(target, LabelsTarget):
        return tuple(target.labels.values())
    return () if target.column is None else (target.column,)


def names_of(target: AnyTarget) -> tuple[str, ...]:
    """Return the names of the classes or labels, in their order; none of a number."""
    match target:
        case ClassesTarget() | OrdinalTarget():
            return tuple(target.classes)
        case LabelsTarget():
            return tuple(target.labels)
        case NumberTarget():
            return ()


def _check_classes(classes: Mapping[str, Codes]) -> None:
    if len(classes) < 2:
        raise ValueError(f"classes: there must be at least two, not {len(classes)}")
    check_codes(tuple(code for codes in classes.values() for code in codes))
    for name, codes in classes.items():
        if not codes:
            raise ValueError(f"classes: {name} has no code")

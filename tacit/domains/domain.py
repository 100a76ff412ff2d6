"""What every domain offers: sites with data, a task, and what is public about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from tacit.errors import ConfigurationError, DataError

NAMED: Final = 20
"""Sites that a message names at most."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of one site: `features` float32 [n, ...] and `targets` [n] or [n, outputs].

    Targets are class indices (int64 [n]), numbers (float32 [n]) scaled by the card's `Target`, or
    answers of 0 and 1 to several questions about a row (float32 [n, outputs]): see `Task`.
    `persons` (int64 [n]) numbers whose each row is, from 0 on without gaps; None where rows name
    no person. Training rows and test rows have numbers of their own, and nobody has rows in both.
    """

    features: torch.Tensor
    targets: torch.Tensor
    persons: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @staticmethod
    def together(parts: "Sequence[Examples]") -> "Examples":
        """Join rows of several places, in their order; persons of two places are two."""
        persons: list[torch.Tensor] = []
        first = 0
        for part in parts:
            if part.persons is not None:
                persons.append(part.persons + first)
                first += int(part.persons.max()) + 1 if len(part) else 0
        return Examples(
            torch.cat([part.features for part in parts]),
            torch.cat([part.targets for part in parts]),
            torch.cat(persons) if len(persons) == len(parts) else None,
        )


@dataclass(frozen=True, slots=True)
class SiteData:
    """What one site holds: rows to learn from and, in a simulation, held-out rows."""

    train: Examples
    test: Examples


class Task(StrEnum):
    """What is to be told of a row; the loss follows from the targets' type and shape."""

    CLASSES = "classes"
    """One of several classes: class indices [n], one score a class."""
    LABELS = "labels"
    """Which of several labels, any number of them: answers [n, labels], one score a label."""
    ORDINAL = "ordinal"
    """One of several classes in order: answers [n, classes - 1] to 'is it above class k?', one
    score each (Frank and Hall 2001, "A simple approach to ordinal classification", section 2)."""
    NUMBER = "number"
    """A number [n], one score."""


class Metric(StrEnum):
    """A domain's headline figure."""

    ACCURACY = "accuracy"
    AUC = "auc"
    """Area under the ROC curve, of two classes; of labels, its mean over them."""
    RMSE = "rmse"
    """Root of the mean squared error, in the target's unit."""
    MAE = "mae"
    """Mean absolute error, of classes in order: by how many classes it is off."""


@dataclass(frozen=True, slots=True)
class Target:
    """A number to predict: its name, its unit, and the public range that it is clamped to.

    The range is mapped to [-1, 1], which is what a model sees; a model that starts from zero thus
    starts at the middle of the range.
    """

    name: str
    unit: str
    low: float
    high: float

    def scale(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Clamp values [n] to the range and map them to [-1, 1]; a NaN stays one."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return ((np.clip(values, self.low, self.high) - middle) / half).astype(np.float32)

    def unscale(self, scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map scaled values [n] back to the target's unit."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return scaled * half + middle


@dataclass(frozen=True, slots=True)
class Card:
    """What a person is told about a domain; all of it is public knowledge.

    A domain has `classes` to tell apart (`ordered` where they have an order, `together` where a row
    has any number of them) or, with no classes, a `target` to predict. `public_pool` says what the
    pool is and that it is public by assumption; None where there is none. `synthetic` says that the
    rows were made by a program. `prior` is how common each class is by public knowledge, never by a
    count of anybody's rows; None where nothing is known. `texts` says that examples are texts, as
    bytes (`tacit.domains.texts`), which a model reads by itself. Where rows name persons,
    `person_protected` and `person_not_protected` stand in place of `unit_protected` and
    `not_protected` once a person is the unit. `row` is what a row is called where it is none of
    somebody's records, and `overlap` in how many rows of a site one measurement lies at most.
    """

    name: str
    title: str
    description: str
    classes: tuple[str, ...]
    metric: Metric
    unit_protected: str
    not_protected: tuple[str, ...] = field(default=())
    public_pool: str | None = None
    synthetic: bool = False
    target: Target | None = None
    ordered: bool = False
    together: bool = False
    prior: tuple[float, ...] | None = None
    texts: bool = False
    person_protected: str = "the rows of a site that name one and the same person"
    person_not_protected: tuple[str, ...] = ()
    row: str = "record"
    overlap: int = 1

    @property
    def task(self) -> Task:
        """What is to be told of a row."""
        if self.target:
            return Task.NUMBER
        if self.ordered:
            return Task.ORDINAL
        return Task.LABELS if self.together else Task.CLASSES

    @property
    def outputs(self) -> int:
        """Number of scores that a model gives for an example."""
        match self.task:
            case Task.NUMBER:
                return 1
            case Task.ORDINAL:
                return len(self.classes) - 1
            case _:
                return len(self.classes)


class Domain(Protocol):
    """A domain, to be implemented by a class that a YAML names with ``_target_``.

    `declared_sizes` gives each site, in the order of names, a rounded public constant for its
    number of training rows. It is part of the configuration and does not follow the data: weights
    of aggregation, sampling rates and divisors rest on it. A table may name its columns, one for
    each of `groups`, in an attribute `columns`: the report of a pretraining shows them. A method
    ``load_site(site) -> SiteData`` serves a site that has its own rows and no others (`site_data`).
    A domain whose rows name persons may have a mapping `declared_persons` like `declared_sizes`, of
    public constants for the number of persons: with privacy.unit=person, rates and divisors rest on
    it.
    A method ``out_of_scope() -> Tensor`` gives examples of no class, on which a simulation measures
    how well they are told.
    A method ``read_unlabelled`` reads rows that a finished model is asked about
    (`tacit.domains.unlabelled`).
    A domain of very many sites loads a mapping that makes a site when it is asked for
    (`tacit.domains.partitioned.PartitionedSites`): its attribute `whole` is checked instead of
    every site.
    """

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Public size of each site."""
        ...

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example, known without any."""
        ...

    @property
    def card(self) -> Card:
        """What a person is told."""
        ...

    @property
    def groups(self) -> tuple[slice, ...]:
        """Which features of an example belong to one column, for masking a column as a whole."""
        ...

    def load(self) -> Mapping[str, SiteData]:
        """Read and check every site's data; DataError names file, row, column and value."""
        ...

    def public_pool(self) -> torch.Tensor | None:
        """Unlabelled public examples [n, ...], or None."""
        ...


def site_data(domain: Domain, site: str) -> SiteData:
    """Read and check one site's data, from a place that may hold no other's.

    Raises
    ------
    ConfigurationError
        The domain has no such site.
    DataError
        The data cannot be used; names file, row, column and value.
    """
    if site not in domain.declared_sizes:
        some = [*islice(domain.declared_sizes, NAMED)]
        more = len(domain.declared_sizes) - len(some)
        raise ConfigurationError(
            f"{domain.card.name} has no site {site!r}: there are {', '.join(some)}"
            + (f" and {more:,} more" if more else "")
        )
    load = getattr(domain, "load_site", None)
    data: SiteData = domain.load()[site] if load is None else load(site)
    check_sites({site: data}, domain.card)
    check_inputs({site: data}, domain)
    return data


def check_inputs(data: Mapping[str, SiteData], domain: Domain) -> None:
    """Refuse examples that do not have the shape that the domain declares.

    Raises
    ------
    DataError
        Names the site and both shapes.
    """
    for site, held in _checked(data).items():
        for examples in (held.train, held.test):
            if (found := tuple(examples.features.shape[1:])) != tuple(domain.inputs):
                raise DataError(
                    f"site {site!r} has examples of the shape {list(found)}, but "
                    f"{domain.card.name} declares inputs={list(domain.inputs)}"
                )


def check_sites(data: Mapping[str, SiteData], card: Card) -> None:
    """Refuse data that cannot be learnt from, before anything is spent.

    Raises
    ------
    DataError
        A site has no rows, a label outside the declared classes, or persons numbered wrongly.
    """
    for site, held in _checked(data).items():
        for part, examples in (("training", held.train), ("test", held.test)):
            if len(examples) == 0:
                raise DataError(f"site {site!r} has no {part} rows: add rows or leave the site out")
            _check_persons(site, part, examples)
            if card.task in (Task.LABELS, Task.ORDINAL):
                _check_answers(site, part, examples, card)
            if card.task is not Task.CLASSES:
                continue
            bad = (examples.targets < 0) | (examples.targets >= len(card.classes))
            if bad.any():
                row = int(bad.nonzero()[0, 0])
                raise DataError(
                    f"site {site!r}: {part} row {row + 1} has label "
                    f"{int(examples.targets[row])}, which is none of the declared classes "
                    f"0 to {len(card.classes) - 1} ({', '.join(card.classes)})"
                )


def _check_persons(site: str, part: str, examples: Examples) -> None:
    """Refuse numbers of persons that are not one a row, or not from 0 on without gaps."""
    persons = examples.persons
    if persons is None:
        return
    if persons.dtype != torch.int64 or persons.shape != (len(examples),):
        raise DataError(
            f"site {site!r}: persons of {part} rows are {persons.dtype} {list(persons.shape)}, and "
            f"must be int64 [{len(examples)}], one a row"
        )
    known = torch.unique(persons)
    if int(known[0]) != 0 or int(known[-1]) != len(known) - 1:
        raise DataError(
            f"site {site!r}: persons of {part} rows are numbered from {int(known[0])} to "
            f"{int(known[-1])} and are {len(known)}: number them from 0 on without gaps"
        )


def _check_answers(site: str, part: str, examples: Examples, card: Card) -> None:
    """Refuse answers that are not 0 or 1, or not as many as the card has."""
    if tuple(examples.targets.shape[1:]) != (card.outputs,):
        raise DataError(
            f"site {site!r}: targets of {part} rows have the shape "
            f"{list(examples.targets.shape[1:])}, but {card.name} has {card.outputs} scores"
        )
    bad = ~((examples.targets == 0) | (examples.targets == 1)).all(1)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise DataError(
            f"site {site!r}: {part} row {row + 1} has the answers "
            f"{examples.targets[row].tolist()}: each must be 0 or 1"
        )


def _checked(data: Mapping[str, SiteData]) -> Mapping[str, SiteData]:
    """Return what is to be checked: each site's or, of sites cut from one table, all of it."""
    whole: SiteData | None = getattr(data, "whole", None)
    return data if whole is None else {"any": whole}

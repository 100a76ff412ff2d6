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
    """Rows of one site: `features` float32 [n, ...] and `targets` [n].

    Targets are class indices (int64), or numbers (float32) scaled by the card's `Target`.
    """

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @staticmethod
    def together(parts: "Sequence[Examples]") -> "Examples":
        """Join rows of several places, in their order."""
        return Examples(
            torch.cat([part.features for part in parts]),
            torch.cat([part.targets for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class SiteData:
    """What one site holds: rows to learn from and, in a simulation, held-out rows."""

    train: Examples
    test: Examples


class Metric(StrEnum):
    """A domain's headline figure."""

    ACCURACY = "accuracy"
    AUC = "auc"
    """Area under the ROC curve, for two classes."""
    RMSE = "rmse"
    """Root of the mean squared error, in the target's unit."""


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

    A domain has `classes` to tell apart or, with no classes, a `target` to predict. `public_pool`
    says what the pool is and that it is public by assumption; None where there is none.
    `synthetic` says that the rows were made by a program.
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

    @property
    def outputs(self) -> int:
        """Number of scores that a model gives for an example."""
        return 1 if self.target else len(self.classes)


class Domain(Protocol):
    """A domain, to be implemented by a class that a YAML names with ``_target_``.

    `declared_sizes` gives each site, in the order of names, a rounded public constant for its
    number of training rows. It is part of the configuration and does not follow the data: weights
    of aggregation, sampling rates and divisors rest on it. A table may name its columns, one for
    each of `groups`, in an attribute `columns`: the report of a pretraining shows them. A method
    ``load_site(site) -> SiteData`` serves a site that has its own rows and no others (`site_data`).
    A domain of very many sites loads a mapping that makes a site when it is asked for
    (`tacit.domains.partitioned.PartitionedSites`): its attribute `whole` is checked instead of
    every site.
    """

    declared_sizes: Mapping[str, int]

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
        A site has no rows, or a label outside the declared classes.
    """
    for site, held in _checked(data).items():
        for part, examples in (("training", held.train), ("test", held.test)):
            if len(examples) == 0:
                raise DataError(f"site {site!r} has no {part} rows: add rows or leave the site out")
            if card.target is not None:
                continue
            bad = (examples.targets < 0) | (examples.targets >= len(card.classes))
            if bad.any():
                row = int(bad.nonzero()[0, 0])
                raise DataError(
                    f"site {site!r}: {part} row {row + 1} has label "
                    f"{int(examples.targets[row])}, which is none of the declared classes "
                    f"0 to {len(card.classes) - 1} ({', '.join(card.classes)})"
                )


def _checked(data: Mapping[str, SiteData]) -> Mapping[str, SiteData]:
    """Return what is to be checked: each site's or, of sites cut from one table, all of it."""
    whole: SiteData | None = getattr(data, "whole", None)
    return data if whole is None else {"any": whole}

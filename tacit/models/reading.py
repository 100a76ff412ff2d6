"""What a model does to an example before anything that trains: computed once, kept where rows are.

A reader turns texts into tokens, images into the size that a backbone takes or, where only the head
trains, either of them into what the frozen backbone makes of it. To everything after it, engines,
sites and audits alike, that is the example. What it makes is as private as the row; it goes with
the process and is never written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch

from tacit.domains.domain import Card, Domain, Examples, SiteData, site_data
from tacit.domains.partitioned import PartitionedSites
from tacit.errors import ModelError
from tacit.models.architecture import Architecture
from tacit.models.trainable import Train

OnRead = Callable[[int, int], None]
"""Called with how many examples have been read, and how many there are."""
More = Callable[[int], None]
"""Called with how many more examples have been read."""


class Reader(Protocol):
    """Turns a domain's examples into a model's, each by itself."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example as the model gets it."""
        ...

    def __call__(self, features: torch.Tensor, more: More) -> torch.Tensor:
        """Return float32 [n, *inputs] of examples [n, ...]."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A reader, and what is left to build and to train.

    Parameters
    ----------
    reader
        Of the domain's examples.
    architecture
        Of a model for what the reader makes of them.
    sha256
        Of all that the reader and the pretrained part of the model come from.
    description
        What that is, in words.
    """

    reader: Reader
    architecture: Architecture
    sha256: str
    description: str


class Reads(Protocol):
    """An architecture that reads: it has this method beside, or in place of, `build`."""

    def reading(
        self, inputs: tuple[int, ...], card: Card, train: Train, device: torch.device
    ) -> Reading:
        """Return how examples of a domain are read; ModelError says why they cannot be."""
        ...


class OutOfScope(Protocol):
    """A domain that has examples of no class."""

    def out_of_scope(self) -> torch.Tensor:
        """Return them [n, ...]: never trained on."""
        ...


class ReadDomain:
    """A domain as the model sees it: every example is read when its site's are loaded.

    Parameters
    ----------
    domain
        As it is.
    reading
        How its examples are read.
    on_read
        Called as they are.
    """

    def __init__(
        self, domain: Domain, reading: Reading, on_read: OnRead = lambda done, total: None
    ) -> None:
        self.domain = domain
        self.reading = reading
        self._on_read = on_read

    def __getattr__(self, name: str) -> object:
        # What a domain may have beside the Protocol: the words of its own keys, declared persons.
        return getattr(self.__dict__["domain"], name)

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Public size of each site."""
        return self.domain.declared_sizes

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example as it is read."""
        return self.reading.reader.inputs

    @property
    def card(self) -> Card:
        """What a person is told."""
        return self.domain.card

    @property
    def groups(self) -> tuple[slice, ...]:
        """No features of a read example belong to one column."""
        return ()

    def public_pool(self) -> None:
        """Return None: what is read is pretrained already."""

    def load(self) -> Mapping[str, SiteData]:
        """Load and read every site's data; sites that share rows have them read once."""
        data = self.domain.load()
        if isinstance(data, PartitionedSites):
            more = self._counting(len(data.train.table) + len(data.test))
            table, test = self.read(data.train.table, more), self.read(data.test, more)
            return PartitionedSites(table, data.train.parts, test)
        rows = {id(part): part for held in data.values() for part in (held.train, held.test)}
        more = self._counting(sum(len(part) for part in rows.values()))
        known = {key: self.read(part, more) for key, part in rows.items()}
        return {
            site: SiteData(known[id(held.train)], known[id(held.test)])
            for site, held in data.items()
        }

    def load_site(self, site: str) -> SiteData:
        """Load and read one site's data, from a place that may hold no other's."""
        held = site_data(self.domain, site)
        more = self._counting(len(held.train) + len(held.test))
        return SiteData(self.read(held.train, more), self.read(held.test, more))

    @property
    def out_of_scope(self) -> Callable[[], torch.Tensor]:
        """Return what reads the domain's examples of no class; AttributeError where it has none."""
        found = cast(OutOfScope, self.domain).out_of_scope
        return lambda: self.reading.reader(found(), lambda count: None)

    def read(self, rows: Examples, more: More = lambda count: None) -> Examples:
        """Read some rows; they keep their targets and persons."""
        return Examples(self.reading.reader(rows.features, more), rows.targets, rows.persons)

    def _counting(self, total: int) -> More:
        done = 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            self._on_read(done, total)

        return more


def is_reader(architecture: Architecture) -> bool:
    """Tell whether an architecture reads examples by itself."""
    return hasattr(architecture, "reading")


def read_domain(
    domain: Domain,
    architecture: Architecture,
    train: Train,
    device: torch.device,
    on_read: OnRead = lambda done, total: None,
) -> Domain:
    """Return a domain as a model sees it: itself, where the model reads nothing.

    Raises
    ------
    ModelError
        The model cannot read such examples, or its files cannot be used.
    """
    if is_reader(architecture):
        if any(column.stop - column.start > 1 for column in domain.groups):
            # Columns that are numbers alone may be the samples of a sound.
            raise ModelError(
                f"model.architecture={architecture.name} reads texts, images or sounds, and "
                f"examples of {domain.card.name} are columns of a table (of which only plain "
                "numbers could be the samples of a sound): use model=tabular or model=linear"
            )
        reading = cast(Reads, architecture).reading(
            tuple(domain.inputs), domain.card, train, device
        )
        return ReadDomain(domain, reading, on_read)
    if domain.card.texts:
        raise ModelError(
            f"model.architecture={architecture.name} takes numbers, and examples of "
            f"{domain.card.name} are texts: use model=transformers"
        )
    return domain

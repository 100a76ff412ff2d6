"""Where a person is the unit: how many there are by public word, and whose each row is.

Rates, divisors and weights rest on a public constant for the persons of each site, as elsewhere on
declared sizes, and never on how many there turn out to be.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from tacit.domains.domain import Domain, SiteData
from tacit.domains.partitioned import PartitionedSites
from tacit.errors import ConfigurationError, DataError

_INSTEAD: Final = "use privacy.unit=record, or a domain whose rows name persons"


def declared_persons(domain: Domain) -> dict[str, int]:
    """Return the public number of persons of each site, in the order of names.

    Raises
    ------
    ConfigurationError
        The domain declares none, or not for every site.
    """
    declared: Mapping[str, int] | None = getattr(domain, "declared_persons", None)
    if declared is None:
        raise ConfigurationError(
            f"privacy.unit=person: {domain.card.name} declares no persons (declared_persons; in a "
            "schema file sites.declared_persons), by which rates and divisors would go: state a "
            f"public number for each site, or {_INSTEAD}"
        )
    if missing := sorted(domain.declared_sizes.keys() - declared.keys()):
        raise ConfigurationError(
            f"privacy.unit=person: declared_persons of {domain.card.name} has nothing for "
            f"{missing[0]!r}"
        )
    return {site: declared[site] for site in sorted(domain.declared_sizes)}


def check_named(data: Mapping[str, SiteData]) -> None:
    """Refuse training rows that do not say whose they are, and persons dealt out to two sites.

    Raises
    ------
    DataError
        Names the site.
    """
    if isinstance(data, PartitionedSites):
        _check_dealt(data)
        return
    for site, held in data.items():
        if held.train.persons is None:
            raise DataError(
                f"privacy.unit=person: rows of site {site!r} do not say whose they are: {_INSTEAD}"
            )


def _check_dealt(data: PartitionedSites) -> None:
    """Refuse persons of a table whose rows lie at several sites: each would protect its own part.

    Elsewhere nobody can see that somebody is at two sites, and the report says what follows.
    """
    persons, parts = data.train.table.persons, data.train.parts
    if persons is None:
        raise DataError(f"privacy.unit=person: its rows do not say whose they are: {_INSTEAD}")
    sites = np.repeat(np.arange(len(parts.names)), parts.sizes)
    whose = persons[torch.from_numpy(parts.rows)].numpy()
    pairs = np.unique(np.stack([whose, sites]), axis=1)
    split = pairs[0, 1:][pairs[0, 1:] == pairs[0, :-1]]
    if len(split):
        raise DataError(
            f"privacy.unit=person: domain.partition deals rows of person {split[0]} out to several "
            "sites, where each would protect a part of them: divide by a column that keeps persons "
            "whole"
        )

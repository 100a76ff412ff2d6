"""What all sites of a secure sum agree on: who they are, and what each computes for it.

Every site gets the whole of it as one text, holds its own request and its policy against it, and
binds its masks to the text's hash: sites that were told different things never sum. All do the same
but for what follows from their declared sizes (`JointPlan.check_sizes`), so that a coordinator
cannot have all but one site send nothing much and look at what is left.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.messages import Terms
from tacit.plan_fields import Scalar, flat

FORMAT: Final = "tacit/joint/1"
MOST_BYTES: Final = 1 << 24
_ROUNDED: Final = 1e-9
_OWN: Final = frozenset({"plan-noise-multiplier"})
"""Keys of a plan that are between a site and its policy: its own noise changes nothing for others.
"""
_GRID: Final = (
    "plan-part-bits",
    "plan-part-spacing",
    "plan-part-dimension",
    "plan-part-largest",
    "plan-part-sites",
)
_ALIKE: Final = (
    *_GRID,
    "plan-share-variance",
    "plan-share-honest",
    "plan-unit",
    "plan-persons-rows",
    "plan-persons-within",
    "plan-steps",
    "plan-learning-rate",
    "plan-optimizer",
    "plan-proximal-mu",
    "plan-clipping-norm",
    "plan-clip-factor",
    "plan-count-weight",
)
"""Keys in which all sites are alike: each counts on the others' shares of noise, and on their
adding as much to the sum as itself."""

Row = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class JointPlan:
    """One run's sums, as every site of them is told.

    Parameters
    ----------
    run
        The run's identity.
    rounds
        How many rounds the plan has.
    terms
        What the run is about; its `others` is one less than the fewest sites in a sum.
    sites
        What each site computes, as `tacit.plan_fields.flat`, without what is its own affair.

    Raises
    ------
    ConfigurationError
        There are no two sites, or they do not sum on one grid.
    """

    run: str
    rounds: int
    terms: Terms
    sites: Mapping[str, Row]

    def __post_init__(self) -> None:
        if len(self.sites) < 2:
            raise ConfigurationError(f"a joint plan of {len(self.sites)} sites sums nothing")
        first = next(iter(self.sites.values()))
        for key in _ALIKE:
            if any(row.get(key) != first.get(key) for row in self.sites.values()):
                raise ConfigurationError(f"sites of a joint plan differ in {key}: they cannot sum")
        if any(key not in first for key in _GRID):
            raise ConfigurationError("sites of a joint plan have no part of a sum")
        if len(self.sites) > int(first["plan-part-sites"]):
            raise ConfigurationError(
                f"{len(self.sites)} sites are more than their grid has room for"
            )

    @classmethod
    def of(cls, run: str, rounds: int, terms: Terms, plans: Mapping[str, RoundPlan]) -> "JointPlan":
        """Return the joint plan of sites' plans."""
        return cls(run, rounds, terms, {site: _row(plan) for site, plan in plans.items()})

    @property
    def fewest(self) -> int:
        """Fewest sites in a sum."""
        return self.terms.others + 1

    @property
    def in_shares(self) -> bool:
        """Whether sites count on each other's noise."""
        return "plan-share-variance" in next(iter(self.sites.values()))

    @property
    def bits(self) -> int:
        """Bits of a number of the sum."""
        return int(next(iter(self.sites.values()))["plan-part-bits"])

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(next(iter(self.sites.values()))["plan-part-dimension"])

    def text(self) -> bytes:
        """Write it, always the same way: what is alike for all sites once, then what differs."""
        rows = list(self.sites.values())
        alike = {
            key: value for key, value in rows[0].items() if all(r.get(key) == value for r in rows)
        }
        written = {
            "format": FORMAT,
            "run": self.run,
            "rounds": self.rounds,
            "terms": asdict(self.terms),
            "all": alike,
            "sites": {
                site: {key: value for key, value in row.items() if key not in alike}
                for site, row in self.sites.items()
            },
        }
        return json.dumps(written, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def parse(content: bytes) -> "JointPlan":
        """Read what `text` wrote, and nothing that it would write in another way.

        Raises
        ------
        ConfigurationError
            It is something else.
        """
        if len(content) > MOST_BYTES:
            raise ConfigurationError(f"a joint plan of {len(content)} bytes is too large")
        try:
            found = json.loads(content)
            alike = found["all"]
            plan = JointPlan(
                run=found["run"],
                rounds=found["rounds"],
                terms=Terms.from_config(found["terms"]),
                sites={site: {**alike, **row} for site, row in found["sites"].items()},
            )
            # Numbers that are none are read, and cannot be written.
            as_written = plan.text() == content
        except (
            AttributeError,
            KeyError,
            OverflowError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise ConfigurationError(f"a joint plan cannot be read: {error!r}") from error
        if not as_written:
            raise ConfigurationError("a joint plan is not written as one is")
        return plan

    def digest(self) -> bytes:
        """Hash it, for `tacit.secagg.context.Context`."""
        return hashlib.sha256(self.text()).digest()

    def check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Refuse weights and divisors that do not follow from declared sizes.

        Parameters
        ----------
        sizes
            Of the sites that are known; of others nothing can be said.

        Raises
        ------
        ConfigurationError
            Names the site.
        """
        known = {site: row for site, row in self.sites.items() if site in sizes}
        by_size = {_per(row["plan-part-weight"], sizes[site]) for site, row in known.items()}
        whole = {row["plan-part-weight"] for row in known.values()} == {1.0}
        if not whole and by_size and not math.isclose(min(by_size), max(by_size), rel_tol=_ROUNDED):
            raise ConfigurationError("sites' weights in the sum are not as their declared sizes")
        for site, row in known.items():
            batch = float(row["plan-sampling-rate"]) * sizes[site]
            if not math.isclose(batch, float(row["plan-divisor"]), rel_tol=_ROUNDED):
                raise ConfigurationError(
                    f"{site}: the divisor {row['plan-divisor']} is not the batch of its declared "
                    f"size, {batch:g}"
                )

    def check(self, site: str, run: str, rounds: int, plan: RoundPlan) -> None:
        """Refuse a request that is not what all sites were told of this one.

        Raises
        ------
        ConfigurationError
            Says what differs.
        """
        told = {"run": self.run, "rounds": self.rounds, **self.sites.get(site, {})}
        asked = {"run": run, "rounds": rounds, **_row(plan)}
        for key in sorted(told.keys() | asked.keys()):
            if told.get(key) != asked.get(key):
                raise ConfigurationError(
                    f"{key}={asked.get(key)} is asked of {site}, and all sites were told "
                    f"{told.get(key)}"
                )


def _per(weight: Scalar, size: int) -> float:
    return float(weight) / size


def _row(plan: RoundPlan) -> Row:
    return {key: value for key, value in flat(plan).items() if key not in _OWN}

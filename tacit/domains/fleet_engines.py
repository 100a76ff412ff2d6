"""Turbofans of NASA's C-MAPSS (Saxena et al. 2008): for how many cycles an engine still runs.

The engines are a simulator's, and no real ones. Those of FD001 (sea level, a compressor that wears;
FD002: six conditions of flight) are private and lie with several operators, or each for itself.
Those of FD003 (FD004), a sister fleet under the same conditions in which fans wear too, are the
public pool: sensors are scaled by them, and a model may be pretrained on them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch

from tacit.domains.cmapss import PREFIX, SENSORS, Array, find_file, read_engines, read_lives
from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.engine_windows import TARGET, Scaled, Scaling, last_windows, windows_of
from tacit.errors import ConfigurationError, DataError

POOLS: Final = MappingProxyType({"FD001": "FD003", "FD002": "FD004"})
PUBLIC: Final = "the number of engines and the most windows of each: they are public"


class Sites(StrEnum):
    """Who holds engines: an operator several, or every engine its own cycles."""

    OPERATORS = "operators"
    ENGINES = "engines"


class FleetEngines:
    """Remaining useful life of C-MAPSS turbofans, at operators or at engines.

    Parameters
    ----------
    root
        Folder with ``train_FD001.txt``, ``test_FD001.txt``, ``RUL_FD001.txt`` and, for the pool,
        ``train_FD003.txt`` or its first part.
    subset
        Which engines are private: FD001 or FD002.
    sites
        'operators': engine n belongs to operator 1 + (n - 1) mod `operators`. 'engines': every
        engine is a site.
    operators
        How many there are.
    engines
        Public number of engines that train: 100 in FD001, 260 in FD002.
    window
        Cycles of a window, the last of which says when its remaining life is asked for.
    stride
        Cycles from the end of one training window of an engine to that of the next.
    windows
        Most training windows of an engine, counted back from its failure.
    prefix
        Whether a first part of a file of the private set will do where the whole is not there.

    Raises
    ------
    ConfigurationError
        A parameter is out of range; names the key.
    """

    groups: tuple[slice, ...] = ()

    def __init__(
        self,
        root: str,
        subset: str = "FD001",
        sites: str = "operators",
        operators: int = 5,
        engines: int = 100,
        window: int = 50,
        stride: int = 5,
        windows: int = 40,
        prefix: bool = False,
    ) -> None:
        if subset not in POOLS:
            raise ConfigurationError(
                f"domain.subset={subset}: must be one of {', '.join(POOLS)}; "
                f"{' and '.join(POOLS.values())} are the public pools"
            )
        if sites not in list(Sites):
            raise ConfigurationError(f"domain.sites={sites}: must be one of {', '.join(Sites)}")
        for key, value in (
            ("operators", operators),
            ("engines", engines),
            ("window", window),
            ("stride", stride),
            ("windows", windows),
        ):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"domain.{key}={value}: must be a whole number above 0")
        if operators > engines:
            raise ConfigurationError(
                f"domain.operators={operators}: there are only {engines} engines to divide"
            )
        self.root = Path(root)
        self.subset = subset
        self.sites = Sites(sites)
        self.engines = engines
        self.inputs = (window, len(SENSORS))
        self.stride = stride
        self.windows = windows
        self.prefix = prefix
        self._numbers = _division(self.sites, operators, engines)

    @property
    def declared_persons(self) -> Mapping[str, int]:
        """Engines of each site: their numbers are public."""
        return {site: len(numbers) for site, numbers in self._numbers.items()}

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Most training windows of each site, from public numbers alone."""
        return {site: count * self.windows for site, count in self.declared_persons.items()}

    @property
    def overlap(self) -> int:
        """In how many training windows one measurement lies, at most."""
        return min(-(-self.inputs[0] // self.stride), self.windows)

    @property
    def card(self) -> Card:
        """What a person is told."""
        by_operator = self.sites is Sites.OPERATORS
        held = (
            f"{len(self._numbers)} operators hold them, in turn by their numbers"
            if by_operator
            else "each is a site of its own"
        )
        pool = POOLS[self.subset]
        return Card(
            name="fleet_engines",
            title=f"Remaining life of turbofans, {self.subset} of NASA's C-MAPSS",
            description=(
                f"How many cycles a turbofan runs before it fails, at most {TARGET.high:g}, from "
                f"{len(SENSORS)} sensors over its last {self.inputs[0]} cycles. The engines come "
                "from NASA's simulator C-MAPSS (Saxena et al. 2008) and none is real. There are "
                f"{self.engines}; {held}. Every site is measured on the last window of each engine "
                "of the official test set."
            ),
            classes=(),
            metric=Metric.RMSE,
            target=TARGET,
            unit_protected=f"one window of {self.inputs[0]} cycles of one engine",
            not_protected=(
                f"a measurement: it lies in up to {self.overlap} windows, each hidden by itself",
                f"an engine: it has up to {self.windows} windows that train",
                PUBLIC,
            ),
            person_protected="one engine, with all that it ever measured",
            person_not_protected=(PUBLIC,),
            row="window",
            overlap=self.overlap,
            public_pool=(
                f"windows of the run-to-failure engines of {pool}, a sister fleet under the same "
                "conditions, without their remaining lives, public by assumption; they scale the "
                "sensors, and a model that is pretrained, for the run and for every baseline, "
                "learns from them"
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Read the private set, scale it by the pool and divide its engines among the sites."""
        scaled = Scaling.of(self._pool())
        engines, held_out = self._trained(), self._test(scaled)
        return {
            site: SiteData(self._train(engines, numbers, scaled), held_out)
            for site, numbers in self._numbers.items()
        }

    def public_pool(self) -> torch.Tensor:
        """Windows [n, window, 14] of the sister fleet, cut as training windows are."""
        engines = self._pool()
        scaled = Scaling.of(engines)
        return torch.cat([self._windows(scaled(engine))[0] for engine in engines])

    def _pool(self) -> list[Array]:
        # Any part of a public fleet is one: a prefix does.
        return read_engines(find_file(self.root, f"train_{POOLS[self.subset]}", prefix=True))

    def _trained(self) -> list[Array]:
        path = find_file(self.root, f"train_{self.subset}", prefix=self.prefix)
        engines = read_engines(path)
        if len(engines) != self.engines:
            raise DataError(
                f"{path}: holds {len(engines)} engines, but domain.engines={self.engines} are "
                f"declared: set it to {len(engines)} if these are meant"
            )
        return engines

    def _train(self, engines: list[Array], numbers: Sequence[int], scaled: Scaling) -> Examples:
        parts = []
        for number in numbers:
            features, targets = self._windows(scaled(engines[number]))
            whose = torch.zeros(len(targets), dtype=torch.int64)
            parts.append(Examples(features, targets, whose))
        return Examples.together(parts)

    def _windows(self, engine: Scaled) -> tuple[torch.Tensor, torch.Tensor]:
        return last_windows(engine, self.inputs[0], self.stride, self.windows)

    def _test(self, scaled: Scaling) -> Examples:
        """Return the last window of each test engine."""
        path = find_file(self.root, f"test_{self.subset}", prefix=self.prefix)
        engines = read_engines(path)
        lives_path = find_file(self.root, f"RUL_{self.subset}", prefix=False)
        lives = read_lives(lives_path)
        # A part of the engines are the first of them.
        known = (
            len(lives) >= len(engines) if path.name.endswith(PREFIX) else len(lives) == len(engines)
        )
        if not known:
            raise DataError(
                f"{lives_path}: has {len(lives)} rows, but {path.name} has {len(engines)} engines: "
                "one for each is needed"
            )
        last = [windows_of(scaled(engine), [len(engine)], self.inputs[0]) for engine in engines]
        targets = TARGET.scale(lives[: len(engines)])
        whose = torch.arange(len(engines))
        return Examples(torch.from_numpy(np.concatenate(last)), torch.from_numpy(targets), whose)


def _division(sites: Sites, operators: int, engines: int) -> Mapping[str, range]:
    """Return which engines, counted from 0, lie at each site."""
    if sites is Sites.ENGINES:
        return {f"engine-{n + 1:03}": range(n, n + 1) for n in range(engines)}
    return {f"operator-{k + 1}": range(k, engines, operators) for k in range(operators)}

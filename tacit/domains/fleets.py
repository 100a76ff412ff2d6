"""Electric vehicles of twelve unlike operators, SYNTHETIC: how many weeks a battery has left.

No vehicle here exists. Rows come from a physical generator with a fixed seed (`tacit.domains.wear`
has its formulas, `tacit.domains.driving` a vehicle's life); operators, routes and vehicles are
made up (`tacit.domains.operators`).
Every battery is followed to its end of life, so that the remaining life of each of its weeks is
known, and a few of its weeks are reported.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
import torch

from tacit.domains.domain import Card, Examples, Metric, SiteData, Target
from tacit.domains.driving import Use, live
from tacit.domains.operators import OPERATORS, bench, fleet
from tacit.domains.schema import Number, Schema
from tacit.domains.wear import END_OF_LIFE, Array
from tacit.errors import ConfigurationError

TARGET: Final = Target("remaining battery life", "weeks", 0, 260)
MOST_VEHICLES: Final = 999
MOST_WEEKS: Final = 20
"""Reports of one vehicle; a battery lasts longer than so many weeks, so that no two coincide."""
HELD_OUT: Final = 60
"""Vehicles of each operator, beside those that train, on which its models are measured: so many
only a generator can spare."""
HELD_REPORTS: Final = 4
"""Where a vehicle is a site: of so many reports in a row the second is held out."""
BENCH: Final = 36
BENCH_REPORTS: Final = 3
VEHICLES: Final = MappingProxyType(
    {
        "airport": 5,
        "alpine": 5,
        "care": 6,
        "craft": 6,
        "grocer": 6,
        "haul": 6,
        "island": 5,
        "metro": 7,
        "parcel": 7,
        "port": 5,
        "school": 5,
        "taxi": 6,
    }
)
"""Batteries that each operator has retired so far, which is why there are few."""

# `valid` is what such vehicles can report; `typical` spans what is common from a taxi to a lorry.
SCHEMA: Final = Schema(
    columns=(
        Number("age (weeks)", (0, 1100), (0, 260)),
        Number("odometer (1000 km)", (0, 10000), (0, 300)),
        Number("distance (km/week)", (0, 20000), (0, 3000)),
        Number("energy used (kWh/km)", (0, 50), (0, 3)),
        Number("energy recuperated (%)", (0, 100), (0, 50)),
        Number("full cycles (1/week)", (0, 100), (0, 15)),
        Number("stops (1/km)", (0, 50), (0, 4)),
        Number("climb (m/km)", (0, 500), (0, 40)),
        Number("speed (km/h)", (1, 150), (10, 80)),
        Number("mass (t)", (0.5, 100), (0, 30)),
        Number("pack (kWh)", (5, 5000), (0, 600)),
        Number("ambient temperature (°C)", (-50, 70), (-5, 30)),
        Number("battery temperature (°C)", (-50, 90), (5, 35)),
        Number("highest battery temperature (°C)", (-50, 120), (5, 45)),
        Number("mean charge (%)", (0, 100), (50, 90)),
        Number("depth of cycles (%)", (0, 100), (10, 80)),
        Number("charging rate (1/h)", (0, 5), (0, 1)),
        Number("full cycles so far", (0, 20000), (0, 1000)),
        Number("estimated capacity (%)", (50, 120), (80, 100)),
        Number("life left if time wears (weeks)", (0, 260), (0, 260)),
        Number("life left if use wears (weeks)", (0, 260), (0, 260)),
    ),
    label="remaining life (weeks)",
)


class Sites(StrEnum):
    """Who holds rows: an operator those of all its vehicles, or every vehicle its own."""

    OPERATORS = "operators"
    VEHICLES = "vehicles"


class Fleets:
    """Remaining battery life of electric vehicles (synthetic), at operators or at vehicles.

    Parameters
    ----------
    sites
        'operators': a site is an operator, and is measured on vehicles that no operator trains on.
        'vehicles': a site is a vehicle of those that train, such as metro-007, and is measured on
        every fourth of its own reports.
    vehicles
        Number of vehicles that train, by operator; an operator left out is not there.
    weeks
        Reported weeks of each vehicle, evenly spread over its battery's life.
    seed
        Seed of the generator.

    Raises
    ------
    ConfigurationError
        A parameter is out of range, or an operator is unknown; names the key.
    """

    inputs = (SCHEMA.width,)
    groups = SCHEMA.groups
    columns = tuple(column.name for column in SCHEMA.columns)

    def __init__(
        self,
        sites: str = "operators",
        vehicles: Mapping[str, int] = VEHICLES,
        weeks: int = 12,
        seed: int = 0,
    ) -> None:
        if sites not in list(Sites):
            raise ConfigurationError(f"domain.sites={sites}: must be one of {', '.join(Sites)}")
        if unknown := sorted(set(vehicles) - set(OPERATORS)):
            raise ConfigurationError(
                f"domain.vehicles: no such operator: {', '.join(unknown)}; "
                f"there are {', '.join(OPERATORS)}"
            )
        if not vehicles:
            raise ConfigurationError("domain.vehicles: names no operator: name at least one")
        for operator, count in vehicles.items():
            _check(f"vehicles.{operator}", count, 1, MOST_VEHICLES)
        fewest = 1 if sites == Sites.OPERATORS else 2
        _check("weeks", weeks, fewest, MOST_WEEKS)
        _check("seed", seed, 0)
        self.sites = Sites(sites)
        self.vehicles = dict(sorted(vehicles.items()))
        self.weeks = weeks
        self.seed = seed

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Training rows of each site, from the number of vehicles and reports: both are public."""
        if self.sites is Sites.OPERATORS:
            return {operator: count * self.weeks for operator, count in self.vehicles.items()}
        held_out = len(range(1, self.weeks, HELD_REPORTS))
        return {
            name: self.weeks - held_out
            for operator, count in self.vehicles.items()
            for name in _names(operator, count)
        }

    @property
    def declared_persons(self) -> Mapping[str, int] | None:
        """Vehicles of each operator that train; None where each is measured on its own reports."""
        return self.vehicles if self.sites is Sites.OPERATORS else None

    @property
    def card(self) -> Card:
        """What a person is told."""
        by_operator = self.sites is Sites.OPERATORS
        rows = self.weeks if by_operator else next(iter(self.declared_sizes.values()))
        measured = (
            f"Measured on {HELD_OUT} further vehicles of each operator."
            if by_operator
            else "Measured on every fourth report of the same vehicle."
        )
        return Card(
            name="fleets",
            title="Battery life in electric vehicle fleets (synthetic)",
            description=(
                "How many weeks the battery of an electric vehicle has left, from what the vehicle "
                "reports of a week. Synthetic: no such vehicle exists; rows come from a program "
                "that drives vehicles over routes and ages their batteries by a published law "
                "(Schmalstieg et al. 2014). Operators were given few vehicles of several kinds, so "
                "that each alone has too little: that federation helps here is built in. Every "
                f"{'operator' if by_operator else 'vehicle'} is a site. {measured}"
            ),
            classes=(),
            metric=Metric.RMSE,
            target=TARGET,
            unit_protected="one row, which is one week of one vehicle",
            not_protected=(
                f"a vehicle, its driver or its battery: a vehicle has {rows} training rows, each "
                f"hidden by itself only; of all of them together no more is promised than {rows} "
                "times the ε, with a larger δ",
                "a week's driving: age, odometer, full cycles and capacity add up, so that a week "
                "shows in every later row of its vehicle, and to hide its own row does not hide it",
                "the number of vehicles and of rows: the declared sizes are public",
            ),
            public_pool=(
                f"{BENCH * BENCH_REPORTS} unlabelled rows of {BENCH} vehicles on a manufacturer's "
                "test bench (synthetic too), public by assumption, none of them any operator's; a "
                "model that is pretrained, for the run and for every baseline, learns from them"
            ),
            synthetic=True,
            person_protected="one vehicle, with all weeks that it reports to an operator",
            person_not_protected=(
                "a driver or an owner who has several vehicles: each is hidden by itself",
                "the number of vehicles and of rows: what is declared is public",
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Simulate every operator's vehicles and divide their rows among the sites."""
        data: dict[str, SiteData] = {}
        for operator, count in self.vehicles.items():
            features, targets = self._rows(operator, count + HELD_OUT)
            if self.sites is Sites.OPERATORS:
                data[operator] = SiteData(
                    _together(features[:count], targets[:count]),
                    _together(features[count:], targets[count:]),
                )
                continue
            held_out = torch.arange(self.weeks) % HELD_REPORTS == 1
            for number, name in enumerate(_names(operator, count)):
                data[name] = SiteData(
                    Examples(features[number][~held_out], targets[number][~held_out]),
                    Examples(features[number][held_out], targets[number][held_out]),
                )
        return data

    def public_pool(self) -> torch.Tensor:
        """Features [108, width] of test-bench vehicles, in no operator's service."""
        rng = np.random.default_rng([self.seed, len(OPERATORS)])
        table = _reports(bench(BENCH, rng), BENCH_REPORTS, rng)
        return torch.from_numpy(SCHEMA.encode(table))

    def _rows(self, operator: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [vehicles, weeks, width] and scaled targets [vehicles, weeks]."""
        # An operator has a stream of its own: it stays as it is when another leaves.
        rng = np.random.default_rng([self.seed, list(OPERATORS).index(operator)])
        table = _reports(fleet(OPERATORS[operator], count, rng), self.weeks, rng)
        features = torch.from_numpy(SCHEMA.encode(table))
        targets = torch.from_numpy(TARGET.scale(table[SCHEMA.label].to_numpy(np.float64)))
        return features.view(count, self.weeks, -1), targets.view(count, self.weeks)


def _together(features: torch.Tensor, targets: torch.Tensor) -> Examples:
    """Join the rows of vehicles, [vehicles, weeks, ...], each of which is a person of its own."""
    whose = torch.arange(len(targets)).repeat_interleave(targets.shape[1])
    return Examples(features.flatten(0, 1), targets.flatten(), whose)


def _names(operator: str, count: int) -> list[str]:
    return [f"{operator}-{number:03}" for number in range(1, count + 1)]


def _check(key: str, value: object, low: int, high: int | None = None) -> None:
    if type(value) is not int or value < low or (high is not None and value > high):
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigurationError(f"domain.{key}={value}: must be a whole number {allowed}")


def _reports(use: Use, reports: int, rng: np.random.Generator) -> pd.DataFrame:
    """Drive vehicles and return a row for each reported week, with what sensors make of it.

    The reports of a vehicle are evenly spread over its battery's life, in order, vehicle by
    vehicle.
    """
    life = live(use, rng)
    count, ends = len(life.weeks), life.weeks[:, None]
    week = (ends * (np.arange(reports) + rng.uniform(0, 1, (count, 1))) / reports).astype(int)

    def noise(deviation: float) -> Array:
        return deviation * rng.standard_normal((count, reports))

    def then(values: Array) -> Array:
        return np.take_along_axis(values, week, axis=1)

    def so_far(values: Array) -> Array:
        return then(np.cumsum(values, axis=1))

    def built(values: Array) -> Array:
        return np.broadcast_to(values, (count, reports))

    age = week + 1.0
    # A battery's own estimate is off by one and the same part for life, and by another each time:
    # 1 % each, an assumption.
    estimate = 100 * then(life.capacity) + rng.standard_normal((count, 1)) + noise(1)
    # Were all the wear of one cause, it would grow as time**0.75 or as √(use), and reach the end of
    # life so many times the present age (Schmalstieg et al. 2014: see `wear.capacity`).
    ratio = 100 * (1 - END_OF_LIFE) / np.maximum(100 - estimate, 1)
    columns = {
        "age (weeks)": age,
        "odometer (1000 km)": so_far(life.distance) / 1000,
        "distance (km/week)": then(life.distance),
        "energy used (kWh/km)": then(life.used / life.distance) * (1 + noise(0.02)),
        "energy recuperated (%)": 100 * then(life.recuperated / life.used) * (1 + noise(0.02)),
        "full cycles (1/week)": then(life.cycles) * (1 + noise(0.02)),
        "stops (1/km)": then(life.stops),
        "climb (m/km)": built(use.climb) * (1 + noise(0.05)),
        "speed (km/h)": built(use.speed) * (1 + noise(0.02)),
        "mass (t)": then(life.mass) * (1 + noise(0.02)),
        "pack (kWh)": built(use.pack),
        "ambient temperature (°C)": then(life.ambient) + noise(0.5),
        "battery temperature (°C)": then(life.battery) + noise(0.5),
        "highest battery temperature (°C)": then(life.hottest) + noise(1),
        "mean charge (%)": np.clip(100 * then(life.charge) + noise(1), 0, 100),
        "depth of cycles (%)": np.clip(100 * then(life.depth) + noise(1), 0, 100),
        "charging rate (1/h)": built(use.charging),
        "full cycles so far": so_far(life.cycles),
        "estimated capacity (%)": estimate,
        "life left if time wears (weeks)": np.clip(age * (ratio ** (4 / 3) - 1), 0, 260),
        "life left if use wears (weeks)": np.clip(age * (ratio**2 - 1), 0, 260),
        SCHEMA.label: (ends - week).astype(np.float64),
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})

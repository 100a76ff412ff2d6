"""Electric vehicles in service: what operators ask of them, and what becomes of their batteries.

The formulas are those of `tacit.domains.wear`. Every number here is an assumption of ours, of the
order of magnitude of such vehicles and services, and no measurement.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.domains.wear import (
    CELL_CAPACITY,
    END_OF_LIFE,
    Array,
    calendar_rate,
    capacity,
    cycle_rate,
    energy_per_km,
    voltage,
)

HORIZON: Final = 1040
"""Weeks that are simulated: twenty years, in which every battery here is retired."""
COMFORT: Final = 20.0
"""Outside temperature in °C at which nothing is heated or cooled."""
HELD_AT: Final = 25.0
"""Temperature in °C towards which a battery is cooled or warmed."""
ROUTES: Final = 3
"""Routes of an operator; a vehicle keeps to one."""
QUALITY: Final = 0.05
"""Spread of ageing among equal batteries in equal use: the cause is production (Baumhöfer et al.
2014, J. Power Sources 247, 332-338, with 48 cells of one line); its size for a pack is ours."""


@dataclass(frozen=True, slots=True)
class Use:
    """How vehicles are built and used; every field is one number for each vehicle [n, 1].

    Units are those of `energy_per_km` and of `Life`; `base_load` is the auxiliary power in kW in
    mild weather and `heating` its growth per K; `swing` is half the difference of summer and
    winter; `birthday` the week of the year of the first drive; `cooling` is the share of the
    distance to 25 °C that cooling or warming covers; `ceiling` the charge at which charging ends;
    `charging` is in multiples of the capacity per hour; `quality` multiplies both rates of ageing.
    """

    mass: Array
    drag: Array
    rolling: Array
    pack: Array
    distance: Array
    speed: Array
    stops: Array
    climb: Array
    base_load: Array
    heating: Array
    climate: Array
    swing: Array
    birthday: Array
    cooling: Array
    ceiling: Array
    charges: Array
    charging: Array
    quality: Array


@dataclass(frozen=True, slots=True)
class Life:
    """What happens to vehicles week by week; every field is [n, `HORIZON`].

    Distance in km, energies in kWh, temperatures in °C and `cycles` (equivalent full cycles) are
    those of a week; `charge` and `depth` of a cycle are shares of the capacity; `capacity` is what
    is left at the week's end, as a share.
    """

    distance: Array
    mass: Array
    stops: Array
    used: Array
    recuperated: Array
    ambient: Array
    battery: Array
    hottest: Array
    charge: Array
    depth: Array
    cycles: Array
    capacity: Array

    @property
    def weeks(self) -> npt.NDArray[np.int64]:
        """The week [n], from 0, at whose end a battery has come to its end of life."""
        worn: npt.NDArray[np.int64] = np.sum(self.capacity > END_OF_LIFE, axis=1)
        return worn


def live(use: Use, rng: np.random.Generator) -> Life:
    """Drive vehicles for `HORIZON` weeks; weather, load and traffic of each week are drawn."""
    shape = (len(use.mass), HORIZON)

    def varied(values: Array, spread: float) -> Array:
        return values * np.exp(spread * rng.standard_normal(shape))

    year = 2 * np.pi * (np.arange(HORIZON) + use.birthday) / 52
    ambient = use.climate - use.swing * np.cos(year) + 2 * rng.standard_normal(shape)
    distance, mass = varied(use.distance, 0.15), varied(use.mass, 0.05)
    stops = varied(use.stops, 0.1)
    auxiliary = use.base_load + use.heating * np.abs(ambient - COMFORT)
    drawn, back = energy_per_km(mass, use.drag, use.rolling, use.speed, stops, use.climb, auxiliary)
    used, recuperated = drawn * distance, back * distance
    # What a day takes and does not give back is charged again, in so many charges.
    depth = np.clip((used - recuperated) / 7 / (use.charges * use.pack), 0.02, 0.95)
    charge = use.ceiling - depth / 2
    cycles = used / use.pack
    # Joule heat of a charge grows with rate² times its duration, which is depth / rate: without
    # cooling, 4 K on average for a full charge at 1 C once a day, and 15 K at its end.
    battery = (
        ambient
        + use.cooling * (HELD_AT - ambient)
        + 4 * use.charging * depth * use.charges * (1 - use.cooling)
    )
    hottest = battery + (3 + 15 * use.charging * depth) * (1 - use.cooling)
    volts = voltage(charge)
    left = capacity(
        use.quality * calendar_rate(volts, battery + 273.15),
        use.quality * cycle_rate(volts, depth),
        7.0,
        2 * CELL_CAPACITY * cycles,  # a full cycle is one charge and one discharge
    )
    return Life(
        distance,
        mass,
        stops,
        used,
        recuperated,
        ambient,
        battery,
        hottest,
        charge,
        depth,
        cycles,
        left,
    )


@dataclass(frozen=True, slots=True)
class Operator:
    """A fleet's vehicles and use, before routes and vehicles differ; units as in `Use`."""

    mass: float
    drag: float
    rolling: float
    pack: float
    distance: float
    speed: float
    stops: float
    climb: float
    base_load: float
    heating: float
    climate: float
    swing: float
    cooling: float
    ceiling: float
    charges: float
    charging: float


# Orders of magnitude of such vehicles and services; none is a measurement. A rolling coefficient is
# about 0.006 for a truck's tyres and 0.010 for a car's; c_d A is 0.7 m² for a car, 2 for a van and
# 6 for a bus or lorry.
OPERATORS: Final = MappingProxyType(
    {
        # City buses: slow, many stops, charged at night.
        "metro": Operator(15, 6, 0.008, 350, 1100, 18, 2.5, 5, 3, 0.4, 11, 9, 0.6, 0.9, 1, 0.3),
        # Delivery vans: short days, always filled up, no cooling to speak of.
        "parcel": Operator(3.2, 2, 0.010, 70, 600, 25, 3.5, 6, 0.7, 0.1, 10, 8, 0.2, 1, 1, 0.15),
        # Taxis in a warm town: long days, fast charging.
        "taxi": Operator(1.9, 0.7, 0.010, 60, 1500, 28, 1.5, 5, 0.4, 0.08, 17, 7, 0.5, 0.9, 2, 1),
        # Long-haul lorries: heavy, fast, hardly a stop.
        "haul": Operator(28, 5.5, 0.006, 600, 2400, 70, 0.05, 4, 2, 0.1, 9, 9, 0.6, 0.95, 2, 0.8),
        # A mountain line: climbs, long descents, cold.
        "alpine": Operator(12, 6, 0.008, 280, 900, 30, 0.8, 35, 2, 0.3, 4, 9, 0.4, 0.85, 2, 0.4),
        # Shuttles on a hot island: little use, full batteries in the sun.
        "island": Operator(4.5, 3, 0.010, 90, 500, 35, 0.6, 15, 1, 0.2, 27, 3, 0.1, 1, 1, 0.2),
    }
)


def fleet(operator: Operator, count: int, rng: np.random.Generator) -> Use:
    """Draw an operator's routes, and `count` vehicles that each keep to one of them."""
    lengths, stops, climbs, speeds = (
        np.exp(spread * rng.standard_normal(ROUTES)) for spread in (0.3, 0.4, 0.5, 0.15)
    )
    route = rng.integers(ROUTES, size=(count, 1))

    def same(value: float) -> Array:
        return np.full((count, 1), value)

    def unlike(value: float, spread: float) -> Array:
        return value * np.exp(spread * rng.standard_normal((count, 1)))

    return Use(
        mass=unlike(operator.mass, 0.1),
        drag=same(operator.drag),
        rolling=unlike(operator.rolling, 0.05),
        pack=same(operator.pack),
        distance=unlike(operator.distance, 0.2) * lengths[route],
        speed=operator.speed * speeds[route],
        stops=operator.stops * stops[route],
        climb=operator.climb * climbs[route],
        base_load=same(operator.base_load),
        heating=same(operator.heating),
        climate=same(operator.climate),
        swing=same(operator.swing),
        birthday=rng.uniform(0, 52, (count, 1)),
        cooling=same(operator.cooling),
        ceiling=np.clip(operator.ceiling + 0.03 * rng.standard_normal((count, 1)), 0.7, 1),
        charges=same(operator.charges),
        charging=unlike(operator.charging, 0.2),
        quality=unlike(1, QUALITY),
    )


def bench(count: int, rng: np.random.Generator) -> Use:
    """Draw vehicles that a manufacturer tests: from a car to a lorry, from town to motorway."""

    def grown(small: float, large: float, share: Array) -> Array:
        scaled: Array = small * (large / small) ** share
        return scaled

    def between(low: float, high: float) -> Array:
        return rng.uniform(low, high, (count, 1))

    size, road = between(0, 1), between(0, 1)
    mass, drag, rolling = grown(1.8, 36, size), grown(0.7, 6, size), grown(0.010, 0.006, size)
    speed, stops, climb = grown(16, 75, road), grown(4, 0.05, road), grown(3, 40, between(0, 1))
    base_load, heating = grown(0.4, 3, size), grown(0.08, 0.4, size)
    climate = between(0, 30)
    distance = speed * between(12, 60)  # so many hours a week
    drawn, back = energy_per_km(
        mass, drag, rolling, speed, stops, climb, base_load + heating * np.abs(climate - COMFORT)
    )
    return Use(
        mass=mass,
        drag=drag,
        rolling=rolling,
        pack=(drawn - back) * distance / 7 / between(0.4, 1.5),  # built for so much of it a day
        distance=distance,
        speed=speed,
        stops=stops,
        climb=climb,
        base_load=base_load,
        heating=heating,
        climate=climate,
        swing=between(3, 10),
        birthday=between(0, 52),
        cooling=between(0.1, 0.6),
        ceiling=between(0.85, 1),
        charges=between(1, 2),
        charging=between(0.15, 1),
        quality=np.exp(QUALITY * rng.standard_normal((count, 1))),
    )

"""Made-up operators of electric vehicles: what they drive, where, and how they charge.

Every number here is an assumption of ours, of the order of magnitude of such vehicles and services,
and no measurement. An operator has vehicles of several kinds and few of each, so that it alone has
too little to learn from: that federation helps is built in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from tacit.domains.driving import COMFORT, Use
from tacit.domains.wear import Array, energy_per_km

ROUTES: Final = 3
"""Routes of an operator; a vehicle keeps to one."""
QUALITY: Final = 0.05
"""Spread of ageing among equal batteries in equal use: the cause is production (Baumhöfer et al.
2014, J. Power Sources 247, 332-338, with 48 cells of one line); its size for a pack is ours."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of vehicle, and how it is commonly driven; units as in `Use`."""

    mass: float
    drag: float
    rolling: float
    pack: float
    distance: float
    speed: float
    stops: float
    base_load: float
    heating: float
    cooling: float


# A rolling coefficient is about 0.006 for a truck's tyres and 0.010 for a car's; c_d A is 0.7 m²
# for a car, 2 for a van and 6 for a bus or lorry.
KINDS: Final = MappingProxyType(
    {
        "car": Kind(1.9, 0.7, 0.010, 60, 900, 32, 1.2, 0.4, 0.08, 0.5),
        "van": Kind(3.2, 2, 0.010, 75, 700, 28, 2, 0.6, 0.1, 0.3),
        "bus": Kind(15, 6, 0.008, 350, 1100, 22, 1.8, 3, 0.35, 0.6),
        "lorry": Kind(24, 5.5, 0.006, 550, 2000, 60, 0.2, 1.8, 0.1, 0.6),
    }
)


@dataclass(frozen=True, slots=True)
class Operator:
    """What an operator drives, where, and how it charges.

    `mix` is the share of each kind of vehicle; `hours`, `traffic` and `pace` multiply its distance,
    stops and speed; the other fields have the units of `Use`.
    """

    mix: Mapping[str, float]
    hours: float
    traffic: float
    pace: float
    climb: float
    climate: float
    swing: float
    ceiling: float
    charges: float
    charging: float


OPERATORS: Final = MappingProxyType(
    {
        # A city's transport: slow streets, buses above all, charged at night.
        "metro": Operator({"bus": 0.6, "van": 0.2, "car": 0.2}, 1, 1.3, 0.8, 5, 11, 9, 0.9, 1, 0.3),
        # Parcels: short days, always filled up.
        "parcel": Operator(
            {"van": 0.6, "lorry": 0.2, "car": 0.2}, 0.9, 1.3, 0.9, 6, 10, 8, 1, 1, 0.2
        ),
        # Taxis and minibuses of a warm town: long days, fast charging.
        "taxi": Operator({"car": 0.7, "van": 0.3}, 1.5, 1, 0.9, 5, 17, 7, 0.9, 2, 0.8),
        # Freight over land: lorries and the vans that feed them.
        "haul": Operator({"lorry": 0.6, "van": 0.4}, 1.2, 0.7, 1.1, 4, 9, 9, 0.95, 2, 0.7),
        # A mountain valley: climbs, long descents, cold.
        "alpine": Operator(
            {"bus": 0.4, "car": 0.3, "lorry": 0.3}, 0.9, 0.7, 1, 30, 4, 9, 0.85, 1.5, 0.4
        ),
        # A hot island: little use, full batteries in the sun.
        "island": Operator({"van": 0.4, "bus": 0.3, "car": 0.3}, 0.7, 0.7, 1, 15, 24, 3, 1, 1, 0.2),
        # Nurses who drive from door to door.
        "care": Operator({"car": 0.9, "van": 0.1}, 0.8, 1.5, 0.9, 8, 11, 8, 0.9, 1, 0.15),
        # Groceries and cold goods: heavy vans, two rounds a day.
        "grocer": Operator({"van": 0.7, "lorry": 0.3}, 1.1, 1.2, 0.9, 7, 12, 8, 0.95, 2, 0.4),
        # School and country buses.
        "school": Operator({"bus": 0.7, "van": 0.3}, 0.7, 0.8, 1.1, 10, 9, 9, 0.9, 1, 0.2),
        # A harbour: short heavy trips, slow and without end.
        "port": Operator({"lorry": 0.7, "car": 0.3}, 0.8, 2, 0.6, 2, 14, 6, 0.9, 2, 0.6),
        # Craftsmen in the north: loaded vans, cold winters.
        "craft": Operator({"van": 0.7, "car": 0.3}, 0.9, 0.9, 1, 9, 4, 11, 0.95, 1, 0.2),
        # Shuttles of an airport in the sun: flat, day and night.
        "airport": Operator(
            {"bus": 0.5, "van": 0.3, "car": 0.2}, 1.3, 0.8, 1.1, 2, 21, 6, 0.9, 2, 0.7
        ),
    }
)


def fleet(operator: Operator, count: int, rng: np.random.Generator) -> Use:
    """Draw an operator's routes, and `count` vehicles of its kinds that each keep to one."""
    lengths, stops, climbs, speeds = (
        np.exp(spread * rng.standard_normal(ROUTES)) for spread in (0.5, 0.4, 0.5, 0.2)
    )
    milder = 3 * rng.standard_normal(ROUTES)
    route = rng.integers(ROUTES, size=(count, 1))
    names = sorted(operator.mix)
    kind = rng.choice(len(names), size=(count, 1), p=[operator.mix[name] for name in names])

    def built(field: str) -> Array:
        return np.array([getattr(KINDS[name], field) for name in names], np.float64)[kind]

    def same(value: float) -> Array:
        return np.full((count, 1), value)

    def unlike(value: Array | float, spread: float) -> Array:
        return value * np.exp(spread * rng.standard_normal((count, 1)))

    return Use(
        mass=unlike(built("mass"), 0.1),
        drag=built("drag"),
        rolling=unlike(built("rolling"), 0.05),
        pack=built("pack"),
        distance=unlike(operator.hours * built("distance"), 0.3) * lengths[route],
        speed=operator.pace * built("speed") * speeds[route],
        stops=operator.traffic * built("stops") * stops[route],
        climb=operator.climb * climbs[route],
        base_load=built("base_load"),
        heating=built("heating"),
        climate=operator.climate + milder[route],
        swing=same(operator.swing),
        birthday=rng.uniform(0, 52, (count, 1)),
        cooling=built("cooling"),
        ceiling=np.clip(operator.ceiling + 0.03 * rng.standard_normal((count, 1)), 0.7, 1),
        charges=same(operator.charges),
        charging=unlike(operator.charging, 0.3),
        quality=unlike(1.0, QUALITY),
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

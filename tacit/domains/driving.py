"""Electric vehicles in service: week by week, what their use makes of their batteries.

The formulas are those of `tacit.domains.wear`. Every number here is an assumption of ours, of the
order of magnitude of such vehicles, and no measurement.
"""

from dataclasses import dataclass
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
DEEPEST: Final = 0.8
"""Share of a battery that is used between two charges at most: the rest is kept in reserve."""
HELD_AT: Final = 25.0
"""Temperature in °C towards which a battery is cooled or warmed."""


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
    # What a day takes and does not give back is charged again, in so many charges.
    reach = 7 * use.charges * DEEPEST * use.pack / (drawn - back)
    distance = np.minimum(distance, reach)
    used, recuperated = drawn * distance, back * distance
    depth = (used - recuperated) / 7 / (use.charges * use.pack)
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

"""Formulas of a traction battery's life: what driving asks of it, and how use and time wear it.

The law of ageing is that of Schmalstieg, Käbitz, Ecker and Sauer 2014 ("A holistic aging model for
Li(NiMnCo)O2 based 18650 lithium-ion batteries", J. Power Sources 257, 325-334), fitted to a 2.05 Ah
cell (Sanyo UR18650E) and applied here to each cell of a pack. It was fitted near 1 C and 35 °C for
cycling, and knows no knee: it serves down to the 80 % of capacity at which a traction battery is
commonly retired, not beyond. It is a consumer cell of
the early 2010s: packs of today should last longer.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CELL_CAPACITY: Final = 2.05
"""Nominal capacity in Ah of the cell that the law was fitted to."""
END_OF_LIFE: Final = 0.8
"""Share of the new capacity at which a battery is retired."""
GRAVITY: Final = 9.81
AIR: Final = 1.2
"""Density of air in kg/m³."""
DRIVE: Final = 0.85
"""Share of a battery's energy that reaches the wheels, and the other way (assumed)."""
RECOVERED: Final = 0.7
"""Share of braking and descending that the motor does and not the brakes (assumed)."""
CRUISE: Final = 1.3
"""Speed between stops, as a multiple of the mean speed (assumed)."""

_SOC: Final = np.linspace(0, 1, 11)
_VOLTS: Final = np.array([3.33, 3.49, 3.58, 3.63, 3.66, 3.70, 3.78, 3.89, 3.98, 4.07, 4.16])
"""Open-circuit voltage at every tenth of charge: figure 1 of Schmalstieg et al. 2014 (empty: Ecker
et al. 2014, J. Power Sources 248), as digitised in NREL's BLAST-Lite and rounded to 0.01 V."""


def voltage(charge: Array) -> Array:
    """Return a cell's open-circuit voltage in V at a state of charge from 0 to 1."""
    volts: Array = np.interp(charge, _SOC, _VOLTS)
    return volts


def calendar_rate(volts: Array, kelvin: Array) -> Array:
    """Return α, the capacity lost in a first day of rest; later days cost less, as days**0.75.

    Schmalstieg et al. 2014, calendar ageing: α = (7.543 V - 23.75) 10⁶ exp(-6976 / T).
    """
    rate: Array = (7.543 * volts - 23.75) * 1e6 * np.exp(-6976 / kelvin)
    return rate


def cycle_rate(volts: Array, depth: Array) -> Array:
    """Return β, the capacity lost in the first Ah through the cell; later ones cost less, as √Ah.

    Schmalstieg et al. 2014, cycle ageing: β = 7.348e-3 (V - 3.667)² + 7.6e-4 + 4.081e-3 ΔDOD, with
    the mean voltage V and the depth ΔDOD of a cycle from 0 to 1.
    """
    rate: Array = 7.348e-3 * (volts - 3.667) ** 2 + 7.6e-4 + 4.081e-3 * depth
    return rate


def capacity(alpha: Array, beta: Array, days: float, throughput: Array) -> Array:
    """Return the share of capacity left at the end of each of many periods.

    Schmalstieg et al. 2014 give C = 1 - α t^0.75 - β √Q for constant conditions. Where they change,
    each loss goes on from the time, or charge, that would have caused it under the new conditions,
    which is the sum below.

    Parameters
    ----------
    alpha, beta
        Rates [..., periods].
    days
        Length of a period.
    throughput
        Ah through a cell in each period, charged and discharged [..., periods].
    """
    calendar = np.cumsum(alpha ** (4 / 3) * days, axis=-1) ** 0.75
    cycles = np.sqrt(np.cumsum(beta**2 * throughput, axis=-1))
    left: Array = 1 - calendar - cycles
    return left


def energy_per_km(
    mass: Array,
    drag: Array,
    rolling: Array,
    speed: Array,
    stops: Array,
    climb: Array,
    auxiliary: Array,
) -> tuple[Array, Array]:
    """Return the energy that a battery gives, and gets back by recuperation, in kWh per km.

    The mean resistances of a vehicle (Guzzella and Sciarretta, "Vehicle Propulsion Systems",
    chapter 2): m g c_r + ½ ρ c_d A v² + m g (climb per distance) + ½ m v² (stops per distance).

    Parameters
    ----------
    mass
        In t, with load.
    drag
        c_d A in m².
    rolling
        Coefficient c_r of rolling resistance.
    speed
        Mean speed in km/h.
    stops, climb
        Stops, and metres of height gained and lost again, per km.
    auxiliary
        Power in kW of heating, cooling and the rest.
    """
    weight, cruise = 1000 * mass, CRUISE * speed / 3.6
    steady = weight * GRAVITY * rolling + AIR / 2 * drag * cruise**2
    to_and_fro = weight * GRAVITY * climb / 1000 + weight * cruise**2 / 2 * stops / 1000
    # A force of 1 N over 1 km is 1 kJ, and 3600 kJ are 1 kWh.
    drawn = (steady + to_and_fro) / DRIVE / 3600 + auxiliary / speed
    return drawn, RECOVERED * DRIVE * to_and_fro / 3600

"""A clipping norm that follows the clients' updates, at a cost that is counted.

Beside its update, in units of C, each client sends κ (b - ½), b being whether its update was not
clipped (Andrew et al. 2021, "Differentially Private Learning with Adaptive Clipping", arXiv
1905.03871, algorithm 1). Both are one vector of norm at most √(1 + κ²/4), to which noise is added
as to any: of deviation σ √(1 + κ²/4) on the update, and of that ÷ κ on the count. That is their
theorem 1, z_Δ^-2 + (2 σ_b)^-2 = σ^-2, with one noise for all coordinates.
"""

import math
from typing import Final

RATE: Final = 0.2
"""η_C: how fast C follows; their section 3."""
_COUNT_NOISE: Final = 1 / 20
"""σ_b relative to the clients of a round; their section 3."""
_LARGEST_STEP: Final = 1.0


def count_weight(noise_multiplier: float, clients: int) -> float:
    """Return κ, for a count with a deviation of a twentieth of the clients.

    With few clients the count has more noise, twice σ: it then costs the update 3 % more.

    Parameters
    ----------
    noise_multiplier
        σ, of noise on update and count together relative to the norm of both.
    clients
        Of a round.
    """
    count_noise = max(_COUNT_NOISE * clients, 2 * noise_multiplier)
    on_update = 1 / math.sqrt(noise_multiplier**-2 - (2 * count_noise) ** -2)
    return on_update / count_noise


def next_factor(factor: float, below: float, quantile: float) -> float:
    """Return by which C is multiplied in the next round.

    Parameters
    ----------
    factor
        Of this round.
    below
        Noised share of the updates that were not clipped; noise may take it out of [0, 1].
    quantile
        Which share should not be.
    """
    step = max(-_LARGEST_STEP, min(_LARGEST_STEP, RATE * (below - quantile)))
    # Six digits: the same in every place where it is written.
    return float(f"{factor * math.exp(-step):.6g}")

"""How the audit's chance of a false alarm, 5 %, is shared out among its tests, beforehand.

An honest run is contradicted by any of them with at most the sum of their levels. A test that looks
at several things (tensors, pairs of rounds) shares its level out among these. What needs no luck,
such as arithmetic, has none.
"""

from typing import Final

WHOLE: Final = 0.05

NOISE_AMOUNT: Final = 0.005
NOISE_OF_EACH_TENSOR: Final = 0.005
NOISE_BETWEEN_COORDINATES: Final = 0.005
NOISE_BETWEEN_RELEASES: Final = 0.005
COORDINATOR_NOISE: Final = 0.005
SAMPLED_RATE: Final = 0.005
SAMPLED_SPREAD: Final = 0.005
CANARY_PROFILE: Final = 0.004
CANARY_NOISE: Final = 0.002
CANARY_LIKENESS: Final = 0.002
MODEL_BOUND: Final = 0.0035
CLIENT_BOUND: Final = 0.003
MASKS: Final = 1e-6
"""Needs next to no luck: what is not masked is as near to zero by chance in no number of runs."""

TARGET_EPSILON: Final = 0.003
TARGET_CLIPPING: Final = 0.005
TARGET_DIVISOR: Final = 0.005
TARGET_ENTRIES: Final = 0.005

ALL: Final = (
    NOISE_AMOUNT,
    NOISE_OF_EACH_TENSOR,
    NOISE_BETWEEN_COORDINATES,
    NOISE_BETWEEN_RELEASES,
    COORDINATOR_NOISE,
    SAMPLED_RATE,
    SAMPLED_SPREAD,
    CANARY_PROFILE,
    CANARY_NOISE,
    CANARY_LIKENESS,
    MODEL_BOUND,
    CLIENT_BOUND,
    MASKS,
)
"""Of the audit of a run."""

OF_A_TARGET: Final = (
    NOISE_AMOUNT,
    NOISE_OF_EACH_TENSOR,
    NOISE_BETWEEN_COORDINATES,
    NOISE_BETWEEN_RELEASES,
    SAMPLED_RATE,
    SAMPLED_SPREAD,
    TARGET_EPSILON,
    TARGET_CLIPPING,
    TARGET_DIVISOR,
    TARGET_ENTRIES,
)
"""Of the audit of a client that is not ours."""

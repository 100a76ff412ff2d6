"""What is found of noise and of samples, in words; probes of a run and of a target share it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from audits import levels
from audits.noise import Numbers, most_alike, too_little, visible_deficit
from tacit.runs.audited import Finding

COLUMNS: Final = 60
"""Coordinates of which each pair is compared."""
_SIMULATED: Final = 4000


def deviation(values: Numbers) -> float:
    """Return the standard deviation of centred numbers."""
    return math.sqrt(float(np.square(values).mean()))


def amount(rows: Numbers, test: str = "amount of noise", where: str = "") -> Finding:
    """Whether there is as much noise as claimed, of which `rows` are in units."""
    ratio = deviation(rows)
    seen = visible_deficit(rows.size, levels.NOISE_AMOUNT)
    return Finding(
        test,
        f"{ratio:.4f} of what is claimed, over {rows.size} numbers{where}; a lack of "
        f"{100 * seen:.2g} % or more would be found in 99 of 100 tries",
        too_little(rows, 1.0, levels.NOISE_AMOUNT),
        {"ratio": ratio, "visible_deficit": seen},
    )


def each_tensor(
    scaled: Mapping[str, Sequence[Mapping[str, NDArray[Any]]]], names: Sequence[str]
) -> Finding:
    """Whether each tensor has as much noise as claimed; noise in units of it, by site and name."""
    wrong, seen = [], 0.0
    for name in names:
        values = np.array([r[name].ravel() for releases in scaled.values() for r in releases])
        level = levels.NOISE_OF_EACH_TENSOR / len(names)
        seen = max(seen, visible_deficit(values.size, level))
        if too_little(values, 1.0, level):
            wrong.append(f"{name} ({deviation(values):.3f})")
    return Finding(
        "noise of each tensor",
        f"too little on {', '.join(wrong[:3])} of what is claimed"
        if wrong
        else f"enough on each of {len(names)}; a lack of {100 * seen:.2g} % or more on any would "
        "be found in 99 of 100 tries",
        bool(wrong),
        {"visible_deficit": seen},
    )


def columns(rows: Numbers) -> Finding:
    """Whether coordinates of noise [m, d] are independent."""
    chosen = np.unique(np.linspace(0, rows.shape[1] - 1, COLUMNS).astype(int))
    if len(chosen) < 2:
        return Finding("noise of different coordinates", "there is one coordinate only")
    return likeness(
        "noise of different coordinates",
        f"of {len(chosen)} coordinates two have",
        rows[:, chosen].T,
        levels.NOISE_BETWEEN_COORDINATES,
    )


def likeness(test: str, which: str, rows: Numbers, level: float) -> Finding:
    """Whether two rows of noise [m, d] are more alike than chance has it; `which` begins it."""
    alike, chance = most_alike(rows)
    return Finding(
        test,
        f"{which} a correlation of {alike:.3f}; by chance as much with a probability of "
        f"{chance:.2g}",
        chance < level,
        {"largest_correlation": alike, "chance": chance},
    )


def rate(drawn: NDArray[Any], size: int, rate: float, what: str = "rows") -> Finding:
    """Whether batches of so many of `size` rows, or persons, were drawn at the accounted rate."""
    total, trials = int(drawn.sum()), size * len(drawn)
    chance = float(binomtest(min(total, trials), trials, rate).pvalue) if rate < 1 else 1.0
    if (rate == 1 and total != trials) or total > trials:
        chance = 0.0
    return Finding(
        "rate of sampling",
        f"{total} of {trials} {what} entered steps, a rate of {total / trials:.4g} where "
        f"{rate:.4g} is accounted; by chance as far with a probability of {chance:.2g}",
        chance < levels.SAMPLED_RATE,
        {"rate": total / trials, "chance": chance},
    )


def spread(drawn: NDArray[Any], size: int, rate: float) -> Finding:
    """Batches of Poisson sampling differ in size as binomial numbers do; shuffled ones hardly."""
    found = float(np.var(drawn))
    if rate == 1:
        return Finding("spread of samples", "every row is in every step: there is none")
    made = np.random.default_rng(0).binomial(size, rate, (_SIMULATED, len(drawn))).var(axis=1)
    low, high = (float((made <= found).mean()), float((made >= found).mean()))
    chance = min(1.0, 2 * (min(low, high) + 1 / _SIMULATED))
    return Finding(
        "spread of samples",
        f"batch sizes have a variance of {found:.3g}, and Poisson sampling gives "
        f"{size * rate * (1 - rate):.3g}; by chance as far with a probability of {chance:.2g}",
        chance < levels.SAMPLED_SPREAD,
        {"variance": found, "chance": chance},
    )

"""Whether what an attack sees goes together with a claim, at every ε of the claim's profile.

A record that is in and one that is not give outputs whose laws P and Q are close: of every set S of
outputs, P(S) ≤ e^ε Q(S) + δ(ε) and Q(S) ≤ e^ε P(S) + δ(ε), for every ε (Dwork and Roth 2014, "The
Algorithmic Foundations of Differential Privacy", definition 2.4). An attack's sets are scores above
or below thresholds; rates of true and false positives on canaries that are independent of each
other bound their probabilities by Clopper and Pearson. One ε at which a bound breaks is enough.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from audits.bounds import clopper_pearson

Scores = NDArray[np.float64]
Profile = Callable[[Sequence[float]], Sequence[float]]
"""Gives the δ that a claim has at each ε."""

EPSILONS: Final = tuple(float(e) for e in np.linspace(0.0, 10.0, 41))
"""At which a claim is held against what was seen: more than 10 no number of canaries shows."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attack saw of canaries.

    Parameters
    ----------
    present, absent
        Scores of those that took part [n], and of those that did not [m]; higher says 'present'.
    """

    present: Scores
    absent: Scores


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows for a claim.

    Parameters
    ----------
    broken
        The claim's ε at which it breaks most, and by how much; None where it stands.
    proved
        Below which ε a claim at the δ of the run would be contradicted; 0 where none would.
    ceiling
        What `proved` would be with every canary told right.
    """

    broken: tuple[float, float] | None
    proved: float
    ceiling: float


def judge(
    seen: Seen, thresholds: Sequence[float], profile: Profile, delta: float, level: float
) -> Verdict:
    """Hold a claim against scores.

    Parameters
    ----------
    seen
        The scores, at least one of each kind.
    thresholds
        Fixed before any score was seen.
    profile
        Of the claim.
    delta
        At which `proved` and `ceiling` are meant.
    level
        Chance that a claim which holds is said to be broken: shared out over all thresholds and
        both directions.
    """
    deltas = np.asarray(profile(EPSILONS))
    factors = np.exp(EPSILONS)
    confidence = 1 - level / (2 * len(thresholds))
    worst, at, proved = 0.0, 0.0, 0.0
    for threshold in thresholds:
        for least, most in _sets(seen, threshold, confidence):
            over = least - factors * most - deltas
            place = int(over.argmax())
            if over[place] > worst:
                worst, at = float(over[place]), EPSILONS[place]
            proved = max(proved, _epsilon(least, most, delta))
    few = len(seen.present), len(seen.absent)
    perfect = [(few[0], few[1]), (few[1], few[0])]
    ceiling = max(
        _epsilon(clopper_pearson(n, n, confidence)[0], clopper_pearson(0, m, confidence)[1], delta)
        for n, m in perfect
    )
    return Verdict((at, worst) if worst > 0 else None, proved, ceiling)


def _sets(seen: Seen, threshold: float, confidence: float) -> list[tuple[float, float]]:
    """Bound P(S) below and Q(S) above, for scores above a threshold, and the reverse below it."""
    true = int((seen.present > threshold).sum())
    false = int((seen.absent > threshold).sum())
    n, m = len(seen.present), len(seen.absent)
    return [
        (clopper_pearson(true, n, confidence)[0], clopper_pearson(false, m, confidence)[1]),
        (
            clopper_pearson(m - false, m, confidence)[0],
            clopper_pearson(n - true, n, confidence)[1],
        ),
    ]


def _epsilon(least: float, most: float, delta: float) -> float:
    """Return the ε at which ``least ≤ e^ε most + δ`` begins to hold."""
    if least <= delta:
        return 0.0
    return max(0.0, math.log((least - delta) / most))

"""Scores of canaries that lie on coordinates of their own, and how well they tell a bad claim.

What is heard of a canary in a step is Gaussian noise of deviation σ, in units of C, and 1 more
where the canary took part and was sampled. The best score is the logarithm of the likelihood ratio
(Neyman and Pearson 1933), which adds up over steps; it is taken for the noise that is claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from audits.claims import Profile, Scores, Seen, judge

DEFICIT: Final = 0.2
"""Share of the noise that is missing where power is stated."""
_TRIES: Final = (20, 200)
_NUMBERS: Final = 2e7
"""Numbers that are drawn for a statement of power: about a second."""
_DRAWN_FOR_THRESHOLDS: Final = 4000
_LACKS: Final = (0.0, 0.3, 0.7, 0.95)
"""Shares of the noise that are thought to be missing where thresholds are laid."""
_AWAY: Final = 2.0
"""Standard deviations of a score from its mean, at which a threshold lies."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What one canary's mechanism is said to be.

    Parameters
    ----------
    noise
        σ: deviation of the noise in units of C.
    rate
        Probability with which it is in a step.
    count
        How many steps there are.
    """

    noise: float
    rate: float
    count: int


def scores(heard: NDArray[np.floating], steps: Steps) -> Scores:
    """Return the logarithm of the likelihood ratio of each canary.

    Parameters
    ----------
    heard
        [steps, K] in units of C.
    steps
        As claimed.
    """
    shift = (2 * heard.astype(np.float64) - 1) / (2 * steps.noise**2)
    if steps.rate == 1:
        whole: Scores = shift.sum(0)
        return whole
    # log(1 - q + q e^x), without overflow of e^x.
    ratio = np.logaddexp(np.log1p(-steps.rate), np.log(steps.rate) + shift)
    summed: Scores = ratio.sum(0)
    return summed


def made_up(steps: Steps, count: int, random: np.random.Generator, true_noise: float) -> Seen:
    """Draw scores of `count` canaries of each kind, with noise that may differ from the claim."""
    if steps.rate == 1:
        # Their sum is all that counts.
        whole = random.normal(0, true_noise * np.sqrt(steps.count), (2, count))
        whole[0] += steps.count
        present, absent = (2 * whole - steps.count) / (2 * steps.noise**2)
        return Seen(present, absent)
    heard = random.normal(0, true_noise, (2, steps.count, count))
    heard[0] += random.random((steps.count, count)) < steps.rate
    return Seen(scores(heard[0], steps), scores(heard[1], steps))


def thresholds(steps: Steps) -> tuple[float, ...]:
    """Return where scores are cut: above most of the absent, and below most of the present.

    A lack of noise moves the scores, so that cuts are laid for the claim and for less noise.
    """
    cuts = []
    for lack in _LACKS:
        drawn = made_up(
            steps, _DRAWN_FOR_THRESHOLDS, np.random.default_rng(0), steps.noise * (1 - lack)
        )
        cuts.append(float(drawn.absent.mean() + _AWAY * drawn.absent.std()))
        cuts.append(float(drawn.present.mean() - _AWAY * drawn.present.std()))
    return tuple(cuts)


def power(
    steps: Steps,
    count: int,
    profile: Profile,
    level: float,
    deficit: float = DEFICIT,
    tries: int | None = None,
) -> tuple[int, int]:
    """Count in how many made-up runs, of how many, a lack of noise contradicts the claim.

    Parameters
    ----------
    steps
        As claimed.
    count
        Canaries of each kind.
    profile, level
        As in `judge`.
    deficit
        Share of the noise that is missing; 0 counts false alarms.
    tries
        How many runs; None for as many as a second allows.
    """
    numbers = 2 * count * (1 if steps.rate == 1 else steps.count)
    tries = tries or int(min(_TRIES[1], max(_TRIES[0], _NUMBERS // numbers)))
    cuts, random = thresholds(steps), np.random.default_rng(1)
    known = _once(profile)
    noise = steps.noise * (1 - deficit)
    found = sum(
        judge(made_up(steps, count, random, noise), cuts, known, 0.0, level).broken is not None
        for _ in range(tries)
    )
    return found, tries


def _once(profile: Profile) -> Profile:
    """Ask a profile once: it is the same at every try."""
    kept: dict[tuple[float, ...], Sequence[float]] = {}

    def asked(epsilons: Sequence[float]) -> Sequence[float]:
        key = tuple(epsilons)
        if key not in kept:
            kept[key] = profile(key)
        return kept[key]

    return asked

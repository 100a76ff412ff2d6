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


@dataclass(frozen=True, slots=True)
class Group:
    """Canaries of one mechanism: so many that take part, and as many that do not."""

    steps: Steps
    count: int


def made_up(groups: Sequence[Group], random: np.random.Generator, lack: float) -> Seen:
    """Draw scores of canaries, with a share of the claimed noise missing."""
    drawn = [_drawn(group, random, lack) for group in groups]
    return Seen(
        np.concatenate([each.present for each in drawn]),
        np.concatenate([each.absent for each in drawn]),
    )


def _drawn(group: Group, random: np.random.Generator, lack: float) -> Seen:
    steps, count = group.steps, group.count
    noise = steps.noise * (1 - lack)
    if steps.rate == 1:
        # Their sum is all that counts.
        whole = random.normal(0, noise * np.sqrt(steps.count), (2, count))
        whole[0] += steps.count
        present, absent = (2 * whole - steps.count) / (2 * steps.noise**2)
        return Seen(present, absent)
    heard = random.normal(0, noise, (2, steps.count, count))
    heard[0] += random.random((steps.count, count)) < steps.rate
    return Seen(scores(heard[0], steps), scores(heard[1], steps))


def thresholds(groups: Sequence[Group]) -> tuple[float, ...]:
    """Return where scores are cut: above most of the absent, and below most of the present.

    A lack of noise moves the scores, so that cuts are laid for the claim and for less noise.
    """
    whole = sum(group.count for group in groups)
    some = [
        Group(group.steps, -(-_DRAWN_FOR_THRESHOLDS * group.count // whole)) for group in groups
    ]
    cuts = []
    for lack in _LACKS:
        drawn = made_up(some, np.random.default_rng(0), lack)
        cuts.append(float(drawn.absent.mean() + _AWAY * drawn.absent.std()))
        cuts.append(float(drawn.present.mean() - _AWAY * drawn.present.std()))
    return tuple(cuts)


def power(
    groups: Sequence[Group],
    profile: Profile,
    level: float,
    deficit: float = DEFICIT,
    tries: int | None = None,
) -> tuple[int, int]:
    """Count in how many made-up runs, of how many, a lack of noise contradicts the claim.

    Parameters
    ----------
    groups
        The canaries, as claimed.
    profile, level
        As in `judge`.
    deficit
        Share of the noise that is missing; 0 counts false alarms.
    tries
        How many runs; None for as many as a second allows.
    """
    numbers = sum(2 * g.count * (1 if g.steps.rate == 1 else g.steps.count) for g in groups)
    tries = tries or int(min(_TRIES[1], max(_TRIES[0], _NUMBERS // numbers)))
    cuts, random = thresholds(groups), np.random.default_rng(1)
    known = _once(profile)
    found = sum(
        judge(made_up(groups, random, deficit), cuts, known, 0.0, level).broken is not None
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

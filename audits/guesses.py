"""What guesses about coins prove against a claim, whatever attack made them.

A fair coin put each of m canaries in or left it out; an attack scores all of them, and guesses
'in' for the highest and 'out' for the lowest. How many are guessed is fixed before any score is
seen; for each of these numbers there are two bounds, and the level is shared out among all::

    told = prove(scores, inside, Claim(epsilon, delta, events), levels.MODEL_BOUND)
    told.proved > claim.epsilon     # contradicted

Canaries of several trainings count together where each has noise and coins of its own: one coin
then moves one training, and all trainings together are as private towards it as that one.

References
----------
Steinke, Nasr and Jagielski 2023, arXiv 2305.08846, section 5 (guesses, of which the least sure are
left out) and theorem 5.2; Mahloujifar, Melis and Chaudhuri 2024, arXiv 2410.22235, algorithm 3.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from audits.bounds import TradeOff, epsilon_one_run, epsilon_one_run_f, f_dp_possible
from audits.curve import Coins, Curve, Scores, known
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import GaussianSteps, NoisedSteps
from tacit.privacy.profile import largest_profile
from tacit.runs.audited import Finding

SHARES: Final = (0.1, 0.3, 0.9)
"""Of all canaries: how many are guessed, in three ways. Of all of them never just half are in."""
_TESTS: Final = 2 * len(SHARES)
_EPSILONS: Final = tuple(float(e) for e in np.linspace(0.0, 12.0, 97))
_HALVINGS: Final = 8

Events = tuple[NoisedSteps, ...]
Counts = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run says of those whom the canaries stand for.

    Parameters
    ----------
    epsilon, delta
        As it stands in the report, of the one that is protected least.
    events
        What was done to each, by the plan, each kind once: they fix the whole privacy profile.
    """

    epsilon: float
    delta: float
    events: frozenset[Events]

    def bound(self, canaries: int, counts: Counts, missed: float) -> float:
        """Return an ε below which a claim is contradicted, or 0.

        Parameters
        ----------
        canaries
            How many there are.
        counts
            How many guesses are right, for each number of guesses that there are bounds for.
        missed
            Chance that one bound, for one number of guesses, is wrong.
        """
        plain = (
            epsilon_one_run(canaries, guesses, right, self.delta, 1 - missed)
            for guesses, right in counts.items()
        )
        return max(self._of_trade_offs(canaries, counts, missed), *plain)

    def _of_trade_offs(self, canaries: int, counts: Counts, missed: float) -> float:
        """Bound ε among mechanisms that differ from the claim's only in how much noise there is.

        Where all steps are full-batch Gaussian, that is `epsilon_one_run_f`.
        """
        each = [event for events in self.events for event in events]
        if all(isinstance(event, GaussianSteps) and event.sampling_rate == 1 for event in each):
            return max(
                epsilon_one_run_f(canaries, guesses, right, self.delta, 1 - missed)
                for guesses, right in counts.items()
            )

        def rejected(factor: float) -> bool:
            inverse = trade_off(_with_noise(self.events, factor))
            return not all(
                f_dp_possible(canaries, guesses, right, inverse, missed)
                for guesses, right in counts.items()
            )

        factor = _least(rejected)
        if math.isinf(factor):
            return 0.0
        return max(epsilon(events, self.delta) for events in _with_noise(self.events, factor))


@dataclass(frozen=True, slots=True)
class Proof:
    """What guesses prove.

    Parameters
    ----------
    proved
        Below which ε a claim would be contradicted; 0 where none would.
    ceiling
        What `proved` would be with every guess right.
    """

    proved: float
    ceiling: float


def prove(scores: Scores, inside: Coins, claim: Claim, level: float) -> Proof:
    """Hold scores against a claim.

    Parameters
    ----------
    scores
        Of m canaries [m]; higher says 'in'.
    inside
        The coins [m]: independent, fair, and unknown to whatever made the scores.
    claim
        Whose δ and kind of mechanism the bounds are for.
    level
        Chance with which a claim that holds is contradicted, at most.
    """
    count, missed = len(scores), level / _TESTS
    numbers = [2 * round(share * count / 2) for share in SHARES]
    right = {guesses: right_guesses(scores, inside, guesses) for guesses in numbers}
    return Proof(
        claim.bound(count, right, missed),
        claim.bound(count, dict(zip(numbers, numbers, strict=True)), missed),
    )


def right_guesses(scores: Scores, inside: Coins, guesses: int) -> int:
    """Count the right ones of so many guesses: half of them 'in', for the highest scores."""
    order = np.argsort(known(scores), kind="stable")
    half = guesses // 2
    return int(inside[order[len(order) - half :]].sum() + (~inside[order[:half]]).sum())


@lru_cache(maxsize=256)
def trade_off(events: frozenset[Events]) -> TradeOff:
    """Return x → f(1 - x) for a trade-off function f that none of several events go below.

    The largest that (ε, δ) at points of their profile give: Dong, Roth and Su 2019, arXiv
    1905.02383, proposition 2.5. f is its own inverse, and f(1 - x) is what Mahloujifar et al. call
    the inverse of the blow-up function.
    """
    deltas = np.array(largest_profile(events, _EPSILONS))
    growth = np.exp(_EPSILONS)

    def inverse(x: float) -> float:
        steep, flat = 1 - deltas - growth * (1 - x), (x - deltas) / growth
        return max(0.0, float(steep.max()), float(flat.max()))

    return inverse


def finding(
    test: str,
    scores: Scores,
    inside: Coins,
    claim: Claim,
    level: float,
    where: str,
    figures: Mapping[str, float],
) -> Finding:
    """Say what scores say of a claim, and how well canaries were recognised.

    Parameters
    ----------
    test
        Its name.
    scores, inside, claim, level
        As for `prove`.
    where
        Which canaries, in a few words.
    figures
        More numbers.
    """
    told = prove(scores, inside, claim, level)
    broken = told.proved > claim.epsilon
    below = (
        f"a claim below {told.proved:.2f} would have been"
        if told.proved
        else "no claim, however small, would have been"
    )
    reach = (
        f"with every guess right a claim below {told.ceiling:.2f} would be"
        if told.ceiling > claim.epsilon
        else f"with every guess right it would be one below {told.ceiling:.2f}: so few canaries "
        "cannot contradict this claim"
    )
    verdict = (
        f"they contradict a claim below {told.proved:.2f}, and ε = {claim.epsilon:.2f} is claimed"
        if broken
        else f"not contradicted at 95 %; {below}; {reach}"
    )
    curve = Curve.of(scores, inside)
    return Finding(
        test,
        f"{where}: {verdict}. {curve.said()}",
        broken,
        {
            "epsilon_claimed": claim.epsilon,
            "delta": claim.delta,
            "epsilon_proved": told.proved,
            "epsilon_ceiling": told.ceiling,
            "confidence": 100 * (1 - level),
            "canaries": float(len(scores)),
            **figures,
            **curve.figures(),
        },
        curve.series(),
    )


def _with_noise(events: frozenset[Events], factor: float) -> frozenset[Events]:
    """Return events with so many times the noise."""

    def louder(event: NoisedSteps) -> NoisedSteps:
        if isinstance(event, GaussianSteps):
            return replace(event, noise_multiplier=factor * event.noise_multiplier)
        return replace(event, variance=factor**2 * event.variance)

    return frozenset(tuple(louder(event) for event in each) for each in events)


def _least(rejected: Callable[[float], bool]) -> float:
    """Return the least noise that is rejected, rounded up; infinite where none is.

    Between an eighth and 128 times that of the claim; more noise is rejected the sooner.
    """
    low, high = -3.0, 7.0
    if not rejected(math.exp2(high)):
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rejected(math.exp2(middle)) else (middle, high)
    return math.exp2(high)

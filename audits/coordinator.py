"""What a coordinator that adds the noise really added, in a run that was made again.

Whoever listens to its messages knows it: a round's model, less the one before and less the clipped
updates of those who replied, is the noise on their mean, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audits import findings, levels
from audits.stranger import Stranger
from strategies.mean import FedAvg
from tacit.models.trainable import Weights
from tacit.plans import cohort_size
from tacit.privacy_settings import ClientPrivacy
from tacit.runs.audited import Finding


@dataclass(frozen=True, slots=True)
class Round:
    """A round as it was seen: the model that was sent, and all that came back."""

    start: Weights
    replies: tuple[Weights, ...]


def shows_its_noise(stranger: Stranger) -> bool:
    """Tell whether messages show the coordinator's noise: not behind sums, nor other strategies."""
    settings, privacy = stranger.settings, stranger.settings.privacy
    return (
        isinstance(privacy, ClientPrivacy)
        and not privacy.in_shares
        and not privacy.sums
        and stranger.results.secure_sum is None
        and settings.strategy.target == f"{FedAvg.__module__}.{FedAvg.__qualname__}"
    )


def added_noise(stranger: Stranger, rounds: Sequence[Round], ended: Weights) -> list[Finding]:
    """Hold the noise of every round against what is claimed.

    Parameters
    ----------
    stranger
        A run that `shows_its_noise`.
    rounds
        All of its rounds, in their order.
    ended
        The final model.
    """
    privacy, settings = stranger.results.privacy, stranger.settings
    if privacy is None or len(rounds) != stranger.results.rounds:
        why = f"{len(rounds)} requests to train went out for {stranger.results.rounds} rounds"
        return [Finding("noise of the coordinator in the run", why, tested=False)]
    claims = privacy.guarantees[0].sites.values()
    clip = max(each.clipping_norm for each in claims)
    deviation = clip * max(each.noise_multiplier for each in claims)
    divisor = cohort_size(settings.training, len(stranger.declared_sizes))
    after = [*(each.start for each in rounds[1:]), ended]
    rows = np.array(
        [
            (divisor * _moved(found, seen.start) - _clipped(seen, clip)) / deviation
            for seen, found in zip(rounds, after, strict=True)
        ]
    )
    amount = findings.amount(rows, "noise of the coordinator in the run", f" of {len(rows)} rounds")
    if min(rows.shape) < 2:
        return [amount]
    return [
        amount,
        findings.likeness(
            "noise of the coordinator in different rounds",
            f"of {len(rows)} rounds two have noise with",
            rows,
            levels.NOISE_BETWEEN_RELEASES,
        ),
    ]


def _moved(weights: Weights, start: Weights) -> NDArray[np.float64]:
    return np.concatenate(
        [(weights[name].astype(np.float64) - start[name]).ravel() for name in sorted(start)]
    )


def _clipped(seen: Round, clip: float) -> NDArray[np.float64]:
    """Sum what came back, each within C, as the guarantee has it."""
    total = np.zeros(sum(array.size for array in seen.start.values()))
    for reply in seen.replies:
        update = _moved(reply, seen.start)
        total += update * min(1.0, clip / max(float(np.linalg.norm(update)), 1e-300))
    return total

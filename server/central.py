"""Privacy of whole clients: the coordinator clips their updates, sums them and adds the noise.

The coordinator sees each client's update and is trusted with it; whoever gets a round's model, the
other clients among them, learns of one client what the noise lets through.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tacit.learning.update import clipped_update, moved
from tacit.models.trainable import Weights
from tacit.privacy.randomness import Stream


@dataclass(frozen=True, slots=True)
class CentralNoise:
    """How the sum of a round's updates is made private.

    Parameters
    ----------
    clipping_norm
        Largest L2 norm C of one client's update.
    noise_multiplier
        σ: the noise on the sum has standard deviation σC.
    clients
        By what the sum is divided: how many a round asks, never how many replied.
    """

    clipping_norm: float
    noise_multiplier: float
    clients: int


def noised_mean(
    answers: Iterable[Weights], start: Weights, how: CentralNoise, noise: Stream
) -> Weights:
    """Return start + (Σ clipped updates + σC · N(0, I)) / clients.

    Every client counts alike, and one that did not reply as an update of zero: the sum's
    sensitivity to one client is C whoever replies (McMahan et al. 2018, arXiv 1710.06963,
    section 3, with the fixed denominator of its equation 1).

    Parameters
    ----------
    answers
        What clients sent, in a fixed order: weights of the names and shapes of `start`, finite.
    start
        The weights that they began from.
    noise
        Used for this sum and nothing else.
    """
    total = {name: np.zeros(array.shape) for name, array in start.items()}
    for weights in answers:
        for name, part in clipped_update(weights, start, how.clipping_norm).items():
            total[name] += part
    deviation = how.noise_multiplier * how.clipping_norm
    for part in total.values():
        part += deviation * noise.normals(part.size).numpy().reshape(part.shape)
        part /= how.clients
    return moved(start, total)

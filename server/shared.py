"""A gradient step from the sum of what sites sent: nothing else is done with any part of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tacit.errors import ConfigurationError
from tacit.learning.plan import LocalOptimizer, RoundPlan, Share
from tacit.learning.shared import unflattened
from tacit.learning.update import moved
from tacit.messages import SUM
from tacit.models.trainable import Weights
from tacit.privacy.shares import Terms, shared_noise
from tacit.settings import SharedNoisePrivacy, Training


@dataclass(frozen=True, slots=True)
class SharedStep:
    """How a sum becomes a step.

    Parameters
    ----------
    shares
        Of each site: one grid, each its own weight.
    learning_rate
        Step size.
    """

    shares: Mapping[str, Share]
    learning_rate: float

    @classmethod
    def of(cls, sites: Mapping[str, RoundPlan]) -> "SharedStep | None":
        """Return the step that sites' plans are for; None where they are for none."""
        shares = {site: plan.share for site, plan in sites.items() if plan.share is not None}
        if not shares:
            return None
        return cls(shares, next(iter(sites.values())).learning_rate)

    def like(self) -> dict[str, Any]:
        """Return an array of the type and shape of every site's part."""
        share = next(iter(self.shares.values()))
        return {SUM: np.zeros(share.dimension, np.uint16 if share.bits == 16 else np.uint32)}

    def weights(self, parts: Mapping[str, Mapping[str, Any]], start: Weights) -> Weights:
        """Return start - η Σ parts / Σ weights of who sent them; both sums are public then.

        Parameters
        ----------
        parts
            What each site sent, as `like` says.
        """
        total = np.zeros_like(self.like()[SUM])
        for part in parts.values():
            total += part[SUM]
        grid = next(iter(self.shares.values())).grid()
        gradient = grid.values(total).numpy() / sum(self.shares[site].weight for site in parts)
        shapes = {name: array.shape for name, array in start.items()}
        return moved(start, unflattened(-self.learning_rate * gradient, shapes))


def in_shares(
    plans: Mapping[str, RoundPlan],
    sizes: Mapping[str, int],
    privacy: SharedNoisePrivacy,
    training: Training,
    fewest: int,
    dimension: int,
) -> dict[str, RoundPlan]:
    """Give every site its share of the noise on the sums of a run.

    Parameters
    ----------
    plans
        Steps without privacy.
    sizes
        Declared size of each site: its weight, and how many rows one of its sums is made for.
    fewest
        Replies with which a round counts.
    dimension
        How many weights are trained.

    Raises
    ------
    ConfigurationError
        One gradient step is not one sum, or no noise can be shared so.
    """
    for wrong, key in (
        (training.local_steps != 1, f"training.local_steps={training.local_steps}"),
        (training.optimizer is not LocalOptimizer.SGD, f"training.optimizer={training.optimizer}"),
        (training.cohort != "all", f"training.cohort={training.cohort}"),
    ):
        if wrong:
            raise ConfigurationError(
                f"{key}: with privacy=shared_noise a round is one gradient step of all sites, of "
                "which only the sum is seen: use training.local_steps=1 training.optimizer=sgd "
                "training.cohort=all; momentum and Adam are strategies then (fedavgm, fedadam)"
            )
    whole = sum(sizes[site] for site in plans)
    weights = {site: sizes[site] / whole for site in plans}
    noise = shared_noise(
        {
            site: Terms(
                weights[site] * privacy.clipping_norm / plan.divisor,
                sizes[site],
                plan.sampling_rate,
            )
            for site, plan in plans.items()
        },
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        steps=training.rounds,
        dimension=dimension,
        fewest=fewest,
        colluders=privacy.colluders,
        bits=privacy.bits,
    )
    grid = noise.grid
    return {
        site: replace(
            plan,
            clipping_norm=privacy.clipping_norm,
            share=Share(
                grid.bits,
                grid.spacing,
                grid.dimension,
                grid.sites,
                grid.largest,
                noise.variance,
                noise.honest,
                weights[site],
            ),
        )
        for site, plan in plans.items()
    }

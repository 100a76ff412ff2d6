"""A site's part in a round as learning sees it: no ledger, no policy and no message."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.canaries import CanaryRound
from tacit.learning.local import Compute, train_round
from tacit.learning.parts import update_part
from tacit.learning.plan import RoundPlan
from tacit.learning.shared import noised_sum
from tacit.learning.update import clipped_update, moved
from tacit.messages import SUM
from tacit.models.trainable import Weights, load_trainable, trainable_weights
from tacit.privacy.randomness import Streams


@dataclass(frozen=True, slots=True)
class Task:
    """What one site is to compute in one round.

    Parameters
    ----------
    site
        Its name.
    data
        Its training rows.
    streams
        Where noise, Poisson coins and the choice of a person's rows come from.
    round
        Number of the round.
    plan
        What to compute.
    weights
        Where to begin.
    canaries
        Records of an audit that takes part; None elsewhere.
    """

    site: str
    data: Examples
    streams: Streams
    round: int
    plan: RoundPlan
    weights: Weights
    canaries: CanaryRound | None = None


def train_alone(
    model: nn.Module,
    task: Task,
    compute: Compute,
    on_step: Callable[[int], None] = lambda begun: None,
) -> Weights:
    """Train a model for one site and return its trainable weights, or its part of a sum.

    Parameters
    ----------
    on_step
        Called with the number of steps begun, before each step touches data.
    """
    load_trainable(model, task.weights)
    plan = task.plan
    choice = None if plan.persons is None else task.streams(task.round, "rows")
    if plan.sums_gradients and plan.part is not None and plan.share is not None:
        part = noised_sum(
            model,
            task.data,
            plan,
            plan.part,
            plan.share,
            coins=task.streams(task.round, "coins"),
            noise=task.streams(task.round, "noise"),
            rounding=task.streams(task.round, "rounding"),
            layers=task.streams(task.round, "layers"),
            compute=compute,
            choice=choice,
            on_step=on_step,
            canaries=task.canaries,
        )
        return {SUM: part}
    train_round(
        model,
        task.data,
        plan,
        coins=task.streams(task.round, "coins"),
        noise=task.streams(task.round, "noise"),
        layers=task.streams(task.round, "layers"),
        compute=compute,
        choice=choice,
        on_step=on_step,
        canaries=task.canaries,
    )
    return trainable_weights(model)


def released(task: Task, learnt: Weights) -> Weights:
    """Return what may leave of what was learnt, before any masks.

    Where the client is the unit that is a clipped update; where the round is summed, the site's
    part of the sum.
    """
    plan, start = task.plan, task.weights
    if plan.part is None:
        if not plan.clips_update:
            return learnt
        return moved(start, clipped_update(learnt, start, plan.clip))
    if plan.sums_gradients:
        return learnt
    part = update_part(
        learnt,
        start,
        plan,
        plan.part,
        rounding=task.streams(task.round, "rounding"),
        noise=task.streams(task.round, "noise"),
    )
    return {SUM: part}

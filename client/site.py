"""One site: what it holds, and the functions on the way of a run.

``introduce`` and ``reserve`` once, then for each round ``admit`` (policy and durable charge) →
``learn`` → ``release`` (through the door); ``end`` gives back what was reserved and never began.
Where the server is to see a sum only, ``secure`` does the stages before and after.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from torch import nn

from client import door
from client.allowed import Allowed
from client.arrived import Arrived, arrived, needed
from client.secure import SecureSums
from client.task import Task, released, train_alone
from strategies.records import record_in
from tacit.domains.domain import Examples
from tacit.errors import ConfigurationError, ModelError, RefusedError, SecureSumError
from tacit.learning.canaries import Canaries, CanaryRound
from tacit.learning.local import Compute
from tacit.learning.plan import RoundPlan
from tacit.messages import (
    CONFIG,
    SECURE,
    SUM,
    Limits,
    RunRequest,
    SecureRequest,
    Terms,
    TrainRequest,
)
from tacit.models.trainable import Weights
from tacit.privacy.book import Charge
from tacit.privacy.events import ExactRelease
from tacit.privacy.policy import Plan, Policy, Reason, steps_of
from tacit.privacy.randomness import Stream, Streams
from tacit.privacy.spending import Spending


@dataclass(frozen=True, slots=True)
class Site:
    """What one site holds.

    Parameters
    ----------
    name
        The site's name.
    data
        Its training rows.
    model
        A resident model on the site's device, its trainable weights chosen.
    allowed
        What runs may be about.
    ledger, policy
        What was spent and what may be.
    streams
        Where noise and Poisson coins come from.
    predictable
        Whether somebody could compute them: then no ε is finite in truth.
    compute
        Device, precision and microbatches.
    sums
        Its secure sums; None where it takes part in none.
    canaries
        Records of an audit that takes part in a simulated run; None elsewhere.
    """

    name: str
    data: Examples
    model: nn.Module
    allowed: Allowed
    ledger: Spending
    policy: Policy
    streams: Streams
    predictable: bool
    compute: Compute
    sums: SecureSums | None = None
    canaries: Canaries | None = None

    def secure_sums(self) -> SecureSums:
        """Return its secure sums, or refuse."""
        if self.sums is None:
            raise SecureSumError(f"site {self.name}: takes part in no secure sum")
        return self.sums


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that the site has charged for; `dealt` is the secure sum's, where there is one."""

    request: TrainRequest
    weights: Weights
    charge: Charge
    dealt: bytes = b""


def introduce(site: Site, message: Message) -> Message:
    """Say who is there and under which limits.

    Raises
    ------
    RefusedError
        The coordinator says what the run is about, and this site does not take part in such.
    """
    if (config := record_in(message.content, CONFIG, ConfigRecord)) is not None:
        try:
            terms = Terms.from_config(dict(config))
        except ConfigurationError as error:
            raise RefusedError(Reason.PLAN_DIFFERS, f"site {site.name}: {error}") from error
        site.allowed.check(terms)
    limits = stated_limits(site.policy, predictable=site.predictable)
    return door.introduce(message, site.name, limits)


def stated_limits(policy: Policy, *, predictable: bool) -> Limits:
    """Return what a site states of its policy."""
    return Limits(
        policy.epsilon_per_run,
        policy.delta_per_run,
        policy.least_noise_multiplier,
        policy.most_rounds or 0,
        predictable,
    )


def end(site: Site, message: Message) -> Message:
    """Close a run: what was reserved for it and never charged is free again.

    It costs the coordinator's own run alone, and the site nothing, so its word is enough.

    Raises
    ------
    RefusedError
        The run is not reserved here.
    """
    config = record_in(message.content, CONFIG, ConfigRecord)
    run = None if config is None else config.get("run")
    if not isinstance(run, str):
        raise RefusedError(Reason.PLAN_DIFFERS, f"site {site.name}: a request to end names no run")
    site.ledger.close_run(run)
    if site.sums is not None:
        site.sums.forget(run)
    return door.confirm(message, site.ledger.receipt())


def reserve(site: Site, message: Message) -> Message:
    """Set a run's whole budget aside before its first round.

    Raises
    ------
    RefusedError
        With a reason from the closed list; nothing was set aside.
    """
    try:
        request = RunRequest.from_config(dict(needed(message.content, CONFIG, ConfigRecord)))
        event = request.plan.event()
        plan = Plan(
            run=request.run,
            event=event,
            rounds=request.rounds,
            epsilon=request.epsilon,
            delta=request.delta,
            predictable=site.predictable and not isinstance(event, ExactRelease),
        )
    except (ConfigurationError, KeyError, ValueError) as error:
        raise RefusedError(Reason.PLAN_DIFFERS, f"site {site.name}: {error}") from error
    site.allowed.check(request.terms)
    site.allowed.check_plan(request.terms, request.plan)
    trained = sum(p.numel() for p in site.model.parameters() if p.requires_grad)
    _check_part(site, request.plan, trained)
    site.ledger.reserve(plan, site.policy)
    return door.confirm(message, site.ledger.receipt())


def secure(site: Site, message: Message) -> Message:
    """Do a stage of a secure sum.

    Raises
    ------
    RefusedError
        With a reason from the closed list.
    """
    try:
        config = needed(message.content, SECURE, ConfigRecord)
        request = SecureRequest.from_config(dict(config))
    except (ConfigurationError, KeyError) as error:
        raise RefusedError(Reason.PLAN_DIFFERS, f"site {site.name}: {error}") from error
    return door.secure(message, site.secure_sums().answer(request, site.allowed))


def admit(
    site: Site, message: Message, read: Callable[[RecordDict], Arrived] = arrived
) -> Admitted | Message:
    """Check a request against model, policy and ledger, and charge for it.

    Parameters
    ----------
    site, message
        Who is asked, and for what.
    read
        Reads what came; sites that were sent the same can have it read once.

    Returns
    -------
    Admitted or Message
        The charge is on disk; or, for a repeated request, the stored reply.

    Raises
    ------
    RefusedError
        With a reason from the closed list; nothing was spent.
    """
    try:
        came = read(message.content)
    except (ConfigurationError, KeyError, ValueError, TypeError) as error:
        raise RefusedError(Reason.PLAN_DIFFERS, f"site {site.name}: {error}") from error
    request = came.request
    site.allowed.check_model(request.model)
    site.ledger.check_receipt(request.receipt)
    if (stored := site.ledger.stored_reply(request.run, came.key)) is not None:
        return door.replay(message, stored)
    try:
        came.arrays.check(site.model)
    except ModelError as error:
        raise RefusedError(Reason.MODEL_DIFFERS, f"site {site.name}: {error}") from error
    _check_part(site, request.plan, came.arrays.size)
    if request.secure:
        site.secure_sums().ready(request, came.arrays.sha256, came.dealt, site.allowed)
    else:
        site.allowed.check_seen(request.plan)
    site.ledger.check_room(came.arrays.nbytes)
    charge = site.ledger.charge(request.run, came.key, came.event, site.policy)
    return Admitted(request, came.arrays.weights, charge, came.dealt)


def _check_part(site: Site, plan: RoundPlan, trained: int) -> None:
    """Refuse a part of a sum that is not of this model's weights."""
    numbers = trained + bool(plan.count_weight)
    if plan.part is not None and plan.part.dimension != numbers:
        raise RefusedError(
            Reason.MODEL_DIFFERS,
            f"site {site.name}: a part of {plan.part.dimension} numbers is asked for, and the "
            f"model has {numbers}",
        )


def learn(site: Site, admitted: Admitted) -> Weights:
    """Train the site's model for one round and return what may leave of it.

    A stop from outside (Ctrl-C, SIGTERM) settles the charge down to the steps that had begun:
    nothing was handed to the transport, and the cause is public.
    """
    begun = 0

    def count(steps: int) -> None:
        nonlocal begun
        begun = steps

    try:
        task = task_of(site, admitted, canaries_of(site, admitted))
        learnt = train_alone(site.model, task, site.compute, count)
        return leaving(site, admitted, learnt)
    except (KeyboardInterrupt, SystemExit):
        settle(site, admitted, begun)
        raise


def leaving(site: Site, admitted: Admitted, learnt: Weights) -> Weights:
    """Return what may leave of what was learnt: in a secure sum it is under its masks."""
    request = admitted.request
    found = released(task_of(site, admitted), learnt)
    if not request.secure:
        return found
    masked = site.secure_sums().masked(request, admitted.dealt, found[SUM])
    return {SUM: np.frombuffer(masked, np.uint8)}


def canaries_of(site: Site, admitted: Admitted) -> CanaryRound | None:
    """Return the records of an audit that take part at a site; in a deployment there are none."""
    if site.canaries is None:
        return None
    return site.canaries.at(site.name, admitted.request.round, site.streams)


def task_of(site: Site, admitted: Admitted, canaries: CanaryRound | None = None) -> Task:
    """Return what learning needs of a site and of what it has charged for."""
    request = admitted.request
    return Task(
        site.name,
        site.data,
        site.streams,
        request.round,
        request.plan,
        admitted.weights,
        canaries,
    )


def settle(site: Site, admitted: Admitted, begun: int) -> None:
    """Give back the steps of a round that never began, because of a stop from outside."""
    spent = min(begun, steps_of(admitted.charge.event))
    if spent < steps_of(admitted.charge.event):
        site.ledger.settle(admitted.charge, spent)


def release(site: Site, message: Message, admitted: Admitted, weights: Weights) -> Message:
    """Hand the weights to the door with the charge that pays for them."""
    leaving = door.Release(weights, admitted.charge, site.ledger.receipt())
    return door.release(site.ledger, message, leaving)


def seeded_streams(seed: int, site: str) -> Streams:
    """Streams that anyone with the seed can recompute: simulation only."""
    return partial(Stream.seeded, seed, site)


def system_streams() -> Streams:
    """Streams keyed by the operating system: nobody can recompute them."""
    return lambda round_number, purpose: Stream.from_system()

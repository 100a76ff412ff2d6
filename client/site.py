"""One site: what it holds, and the functions on the way of a run.

``introduce`` and ``reserve`` once, then for each round ``admit`` (policy and durable charge) →
``learn`` → ``release`` (through the door); ``end`` gives back what was reserved and never began.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from torch import nn

from client import door
from client.allowed import Allowed
from client.task import Streams, Task, train_alone
from strategies.records import Record, from_record, record_in
from tacit.domains.domain import Examples
from tacit.errors import ConfigurationError, ModelError, RefusedError
from tacit.learning.local import Compute
from tacit.learning.update import clipped_update, moved
from tacit.messages import (
    ARRAYS,
    CONFIG,
    Limits,
    RunRequest,
    Terms,
    TrainRequest,
    request_hash,
)
from tacit.models.trainable import Weights, check_trainable, sha256_of
from tacit.privacy.book import Charge
from tacit.privacy.events import Event, ExactRelease
from tacit.privacy.policy import Plan, Policy, Reason, steps_of
from tacit.privacy.randomness import Stream
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


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that the site has charged for."""

    request: TrainRequest
    weights: Weights
    charge: Charge


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
    policy = site.policy
    limits = Limits(
        policy.epsilon_per_run,
        policy.delta_per_run,
        policy.least_noise_multiplier,
        policy.most_rounds or 0,
        site.predictable,
    )
    return door.introduce(message, site.name, limits)


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
    return door.confirm(message, site.ledger.receipt())


def reserve(site: Site, message: Message) -> Message:
    """Set a run's whole budget aside before its first round.

    Raises
    ------
    RefusedError
        With a reason from the closed list; nothing was set aside.
    """
    try:
        request = RunRequest.from_config(dict(_there(message.content, CONFIG, ConfigRecord)))
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
    site.ledger.reserve(plan, site.policy)
    return door.confirm(message, site.ledger.receipt())


class Arrays:
    """Weights as they came: read, hashed and held against a model once.

    Parameters
    ----------
    record
        Of the message.

    Raises
    ------
    ValueError, TypeError
        It cannot be read.
    """

    def __init__(self, record: ArrayRecord) -> None:
        self.weights = from_record(record)
        self.sha256 = sha256_of(self.weights)
        self.nbytes = sum(array.nbytes for array in self.weights.values())
        self._fits: nn.Module | None = None

    def check(self, model: nn.Module) -> None:
        """Refuse weights that are not this model's; ModelError says why."""
        if model is not self._fits:
            check_trainable(model, self.weights)
            self._fits = model


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came.

    `key` is the hash of all it asks and of the weights it came with: a repeated request has the
    same.
    """

    request: TrainRequest
    event: Event
    key: str
    arrays: Arrays


def arrived(content: RecordDict, read: Callable[[ArrayRecord], Arrays] = Arrays) -> Arrived:
    """Read a request.

    Raises
    ------
    ConfigurationError, KeyError, ValueError, TypeError
        It cannot be read.
    """
    config = _there(content, CONFIG, ConfigRecord)
    request = TrainRequest.from_config(dict(config))
    arrays = read(_there(content, ARRAYS, ArrayRecord))
    return Arrived(request, request.plan.event(), request_hash(config, arrays.sha256), arrays)


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
    site.ledger.check_room(came.arrays.nbytes)
    charge = site.ledger.charge(request.run, came.key, came.event, site.policy)
    return Admitted(request, came.arrays.weights, charge)


def learn(site: Site, admitted: Admitted) -> Weights:
    """Train the site's model for one round and return its trainable weights.

    A stop from outside (Ctrl-C, SIGTERM) settles the charge down to the steps that had begun:
    nothing was handed to the transport, and the cause is public.
    """
    begun = 0

    def count(steps: int) -> None:
        nonlocal begun
        begun = steps

    try:
        learnt = train_alone(site.model, task_of(site, admitted), site.compute, count)
        return bounded(admitted, learnt)
    except (KeyboardInterrupt, SystemExit):
        settle(site, admitted, begun)
        raise


def bounded(admitted: Admitted, learnt: Weights) -> Weights:
    """Return what may leave of what was learnt: where the client is the unit, a clipped update."""
    plan = admitted.request.plan
    if not plan.clips_update or plan.clipping_norm is None:
        return learnt
    start = admitted.weights
    return moved(start, clipped_update(learnt, start, plan.clipping_norm))


def task_of(site: Site, admitted: Admitted) -> Task:
    """Return what learning needs of a site and of what it has charged for."""
    request = admitted.request
    return Task(site.name, site.data, site.streams, request.round, request.plan, admitted.weights)


def settle(site: Site, admitted: Admitted, begun: int) -> None:
    """Give back the steps of a round that never began, because of a stop from outside."""
    spent = min(begun, steps_of(admitted.charge.event))
    if spent < steps_of(admitted.charge.event):
        site.ledger.settle(admitted.charge, spent)


def release(site: Site, message: Message, admitted: Admitted, weights: Weights) -> Message:
    """Hand the weights to the door with the charge that pays for them."""
    leaving = door.Release(weights, admitted.charge, site.ledger.receipt())
    return door.release(site.ledger, message, leaving)


def _there(content: RecordDict, key: str, kind: type[Record]) -> Record:
    found = record_in(content, key, kind)
    if found is None:
        raise KeyError(f"a request has no {key}")
    return found


def seeded_streams(seed: int, site: str) -> Streams:
    """Streams that anyone with the seed can recompute: simulation only."""
    return partial(Stream.seeded, seed, site)


def system_streams() -> Streams:
    """Streams keyed by the operating system: nobody can recompute them."""
    return lambda round_number, purpose: Stream.from_system()

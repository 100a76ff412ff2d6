"""A site's part in the secure sums of runs: what it is told is held against what it pinned.

A site is in one sum of a run at a time, and in each once. Keys are of one sum and only in memory:
with them gone, in a process that begins anew say, it helps to open no sum that it was in.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from client.allowed import Allowed
from tacit.errors import (
    ConfigurationError,
    RefusedError,
    SecureSumError,
    TrustError,
    WrongMessageError,
)
from tacit.joint_plan import JointPlan
from tacit.logs import one_line
from tacit.messages import SecureRequest, SecureStage, TrainRequest
from tacit.plan_fields import first
from tacit.plans import LEAST_SITES
from tacit.privacy.policy import Reason
from tacit.secagg.assumptions import colluders_borne
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.site import Site

log = logging.getLogger(__name__)

MOST_RUNS = 4
"""Runs whose latest sum is known: of more, the one that began one longest ago is forgotten."""
_WHY_SHOWN = 200


@dataclass(slots=True)
class _Sum:
    number: int
    joint: JointPlan
    weights: str
    machine: Site | None


class SecureSums:
    """The secure sums of one site.

    Parameters
    ----------
    name
        The site's name.
    identity
        Its Ed25519 key.
    roster
        The Ed25519 public keys of all sites, as `tacit.trust.keys.public_bytes`, as the site has
        pinned them: nobody else's word is taken for whose key is whose.
    declared_sizes
        Public number of rows of sites, as this one knows them: weights follow from these.
    """

    def __init__(
        self,
        name: str,
        identity: Ed25519PrivateKey,
        roster: Mapping[str, bytes],
        declared_sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._name = name
        self._identity = identity
        self._roster = roster
        self._declared_sizes = declared_sizes
        self._latest: dict[str, _Sum] = {}

    def forget(self, run: str) -> None:
        """Drop what is kept of a run that is over."""
        self._latest.pop(run, None)

    def answer(self, request: SecureRequest, allowed: Allowed) -> bytes:
        """Do a stage of a sum and return what the coordinator is to get.

        Raises
        ------
        RefusedError
            It is not what this site takes part in, or something is wrong with it. A wrong message
            of the sum's own ends it here; another request does not.
        """
        if request.stage is SecureStage.ADVERTISE:
            return self._begin(request, allowed)
        if request.stage is SecureStage.GIVEN_UP:
            return self._give_up(request)
        machine = self._machine(request.run, request.number)
        try:
            match request.stage:
                case SecureStage.SHARE:
                    return machine.share(request.content)
                case SecureStage.AGREE:
                    return machine.agree(request.content)
                case _:
                    revealed = machine.reveal(request.content)
                    log.info("the secure sum is opened with this site's help")
                    return revealed
        except WrongMessageError as error:
            raise SecureSumError(str(error)) from error

    def ready(self, request: TrainRequest, weights: str, dealt: bytes, allowed: Allowed) -> None:
        """Refuse to train for a sum that this request does not belong to; nothing is spent yet.

        Parameters
        ----------
        request
            What is asked.
        weights
            SHA-256 of the global weights that came with it.
        dealt
            What the coordinator passes on of the others' shares.
        allowed
            What this site takes part in.

        Raises
        ------
        RefusedError
            It is another model, plan or sum than all sites were told of.
        """
        machine = self._machine(request.run, request.secure)
        known = self._latest[request.run]
        if weights != known.weights or request.model != known.joint.terms.model:
            raise SecureSumError(f"{self._name}: the model is not the one that the sum is about")
        allowed.check_plan(known.joint.terms, request.plan)
        try:
            known.joint.check(self._name, request.run, request.rounds, request.plan)
            machine.ready(dealt)
        except (ConfigurationError, WrongMessageError) as error:
            raise SecureSumError(str(error)) from error

    def masked(self, request: TrainRequest, dealt: bytes, vector: NDArray[Any]) -> bytes:
        """Return the site's part of a sum under its masks, `dealt` being as at `ready`.

        Raises
        ------
        RefusedError
            The sum is over here.
        """
        machine = self._machine(request.run, request.secure)
        try:
            return machine.mask(dealt, vector)
        except WrongMessageError as error:
            raise SecureSumError(str(error)) from error

    def _begin(self, request: SecureRequest, allowed: Allowed) -> bytes:
        known = self._latest.get(request.run)
        try:
            joint = JointPlan.parse(request.content)
            if known is not None and request.number == known.number:
                if (joint, request.weights) != (known.joint, known.weights):
                    raise SecureSumError(f"{self._name}: sum {known.number} was about another plan")
                return self._machine(request.run, request.number).advertise()
            if known is not None and request.number < known.number:
                raise SecureSumError(
                    f"{self._name}: sum {request.number} is over: sum {known.number} came after it"
                )
            allowed.check(joint.terms)
            self._check(joint, allowed)
            machine = Site(
                self._context(request, joint),
                self._name,
                self._identity,
                least_sites=max(LEAST_SITES, joint.fewest),
            )
        except (ConfigurationError, TypeError, ValueError) as error:
            raise RefusedError(Reason.PLAN_DIFFERS, f"site {self._name}: {error}") from error
        except TrustError as error:
            raise SecureSumError(str(error)) from error
        self._latest.pop(request.run, None)
        self._latest[request.run] = _Sum(request.number, joint, request.weights, machine)
        if len(self._latest) > MOST_RUNS:
            del self._latest[next(iter(self._latest))]
        return machine.advertise()

    def _check(self, joint: JointPlan, allowed: Allowed) -> None:
        """Refuse what sums too few, or shows one of them to more colluders than are assumed."""
        if len(joint.sites) < LEAST_SITES:
            raise SecureSumError(
                f"a sum of {len(joint.sites)} sites shows too much of each: {self._name} is in "
                f"none of fewer than {LEAST_SITES}"
            )
        if joint.fewest > len(joint.sites):
            raise SecureSumError(
                f"a sum of at least {joint.fewest} of {len(joint.sites)} sites would be charged "
                "for and never opened"
            )
        borne = colluders_borne(len(joint.sites), joint.fewest)
        if joint.in_shares and allowed.colluders > borne:
            raise SecureSumError(
                f"limits.colluders={allowed.colluders}: a sum of {joint.fewest} or more of "
                f"{len(joint.sites)} sites keeps a share of noise from {borne} that collude"
            )
        joint.check_sizes(self._declared_sizes)

    def _context(self, request: SecureRequest, joint: JointPlan) -> Context:
        strangers = sorted(joint.sites.keys() - self._roster.keys())
        if strangers:
            raise SecureSumError(
                f"{first(strangers)}: not in the roster that {self._name} has pinned, or not valid "
                "now: whoever provisions has a newer roster"
            )
        return Context(
            run=request.run,
            round=request.number,
            cohort=Cohort({site: self._roster[site] for site in joint.sites}),
            modulus=Modulus(joint.bits),
            length=joint.dimension,
            weights_hash=_hash(request.weights),
            configuration_hash=joint.digest(),
        )

    def _give_up(self, request: SecureRequest) -> bytes:
        known = self._latest.get(request.run)
        if known is not None and known.number == request.number:
            known.machine = None
            why = one_line(request.content[:_WHY_SHOWN].decode("utf-8", "replace"))
            log.warning("the coordinator gives up sum %d: %s", request.number, why)
        return b""

    def _machine(self, run: str, number: int) -> Site:
        known = self._latest.get(run)
        if known is None or known.number != number or known.machine is None:
            raise SecureSumError(
                f"{self._name}: sum {number} did not begin here, or is over: was this process "
                "started again?"
            )
        return known.machine


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ConfigurationError(f"{text[:80]!r} is no hash of weights") from error

"""What a site allows: a plan is admitted whole before its first round, or refused with a reason.

Everything here depends on the request, the policy and the ledger, never on data, so that a refusal
tells nobody anything about the data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tacit.errors import ConfigurationError, RefusedError
from tacit.privacy.events import (
    Event,
    ExactRelease,
    NoisedSteps,
    SkellamSteps,
    from_json,
    to_json,
)
from tacit.privacy.ledger_filter import renyi_budget

SLACK = 1e-9
"""Rounding that an ε computed twice may show; no budget is set to nine digits."""


class Reason(StrEnum):
    """Why a site refuses: the closed list that may leave it."""

    BUDGET = "budget"
    NOT_RESERVED = "not_reserved"
    PLAN_DIFFERS = "plan_differs"
    NOISE_TOO_LOW = "noise_too_low"
    TOO_MANY_ROUNDS = "too_many_rounds"
    UNIT_DIFFERS = "unit_differs"
    RELATION_DIFFERS = "relation_differs"
    LEDGER_DAMAGED = "ledger_damaged"
    PRIVACY_REQUIRED = "privacy_required"
    DATA_NOT_TEST = "data_not_test"
    MODEL_DIFFERS = "model_differs"
    DOMAIN_DIFFERS = "domain_differs"
    STRATEGY_NOT_ALLOWED = "strategy_not_allowed"
    SECURE_AGGREGATION_REQUIRED = "secure_aggregation_required"
    SECURE_SUM = "secure_sum"
    NOT_AVAILABLE = "not_available"
    """Whatever depends on data."""


def steps_of(event: Event) -> int:
    """Count the releases in an event; an exact release is one."""
    return event.steps if isinstance(event, NoisedSteps) else 1


def with_steps(event: Event, steps: int) -> list[Event]:
    """Write `steps` releases of the mechanism of `event`; no event where there are none."""
    if steps == 0:
        return []
    return [replace(event, steps=steps) if isinstance(event, NoisedSteps) else event]


def in_rounds(event: Event, rounds: int) -> list[Event]:
    """Write so many rounds of an event as one; no event where there are none."""
    return with_steps(event, rounds * steps_of(event))


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it is fixed before its first round.

    Parameters
    ----------
    run
        Name of the run.
    event
        The most that one round may release.
    rounds
        How many rounds there may be, at least 1.
    epsilon, delta
        Budget of the run. For an exact release ε is infinite and δ is not looked at.
    predictable
        Whether noise or sampling is seeded, so that whoever knows the seed can take the noise off
        again: simulation only.

    Raises
    ------
    ConfigurationError
        A value is out of range.
    """

    run: str
    event: Event
    rounds: int
    epsilon: float
    delta: float
    predictable: bool = False

    def __post_init__(self) -> None:
        if not self.run:
            raise ConfigurationError("run='' has no name: name the run")
        if self.rounds < 1:
            raise ConfigurationError(f"rounds={self.rounds} must be at least 1")
        if steps_of(self.event) < 1:
            raise ConfigurationError("steps=0 in a round releases nothing: use at least 1")
        if isinstance(self.event, ExactRelease):
            if self.epsilon != math.inf:
                raise ConfigurationError(
                    f"epsilon={self.epsilon} cannot hold for an exact release: it is infinite"
                )
            return
        _check_budget("epsilon", self.epsilon, "delta", self.delta)

    @property
    def private(self) -> bool:
        """Whether the plan has a finite ε in truth, and not only on paper."""
        return isinstance(self.event, NoisedSteps) and not self.predictable

    def events(self) -> list[Event]:
        """Everything the run may release."""
        return in_rounds(self.event, self.rounds)

    def check_event(self, event: Event) -> None:
        """Refuse a round that is not the plan's: only its steps may differ, and only downward."""
        steps = steps_of(event)
        same = with_steps(event, 1) == with_steps(self.event, 1)
        if not (same and 1 <= steps <= steps_of(self.event)):
            raise RefusedError(
                Reason.PLAN_DIFFERS, f"run {self.run!r} reserved {self.event}, not {event}"
            )

    def to_fields(self) -> dict[str, object]:
        """Write as JSON values, the form that a ledger keeps."""
        return {
            "run": self.run,
            "event": to_json(self.event),
            "rounds": self.rounds,
            "epsilon": None if self.epsilon == math.inf else self.epsilon,
            "delta": self.delta,
            "predictable": self.predictable,
        }

    @staticmethod
    def from_fields(fields: Mapping[str, object]) -> "Plan":
        """Read what `to_fields` wrote."""
        epsilon = fields["epsilon"]
        return Plan(
            run=str(fields["run"]),
            event=from_json(str(fields["event"])),
            rounds=int(str(fields["rounds"])),
            epsilon=math.inf if epsilon is None else float(str(epsilon)),
            delta=float(str(fields["delta"])),
            predictable=fields["predictable"] is True,
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site is ready to spend, and under which conditions.

    Parameters
    ----------
    epsilon_per_run, delta_per_run
        The most one run may cost: ε at the run's own δ, and that δ.
    lifetime_epsilon
        The most that everything ever released from the data set may cost, at the ledger's δ.
    least_noise_multiplier
        Smallest σ of any mechanism.
    most_rounds
        Most rounds of a run; None for any number.
    require_privacy
        Whether exact releases are refused.
    test_data
        Whether the data set is marked as test data, whose privacy nobody needs: only then may
        noise be seeded or left out.
    epsilon_alone
        The most that one run may cost at its own δ should all other sites give their shares of
        noise away; 0 where no noise is shared.

    Raises
    ------
    ConfigurationError
        A value is out of range.
    """

    epsilon_per_run: float
    lifetime_epsilon: float
    delta_per_run: float
    least_noise_multiplier: float = 0.0
    most_rounds: int | None = None
    require_privacy: bool = True
    test_data: bool = False
    epsilon_alone: float = 0.0

    def __post_init__(self) -> None:
        if not self.epsilon_alone >= 0:
            raise ConfigurationError(f"epsilon_alone={self.epsilon_alone} must be 0 or more")
        _check_budget("epsilon_per_run", self.epsilon_per_run, "delta_per_run", self.delta_per_run)
        _check_budget(
            "lifetime_epsilon", self.lifetime_epsilon, "delta_per_run", self.delta_per_run
        )
        if not (math.isfinite(self.least_noise_multiplier) and self.least_noise_multiplier >= 0):
            raise ConfigurationError(
                f"least_noise_multiplier={self.least_noise_multiplier} must be 0 or more"
            )
        if self.most_rounds is not None and self.most_rounds < 1:
            raise ConfigurationError(f"most_rounds={self.most_rounds} must be at least 1, or null")

    def check_plan(self, plan: Plan) -> None:
        """Refuse a plan that breaks a condition; its cost is `check_cost`'s and `check_lifetime`'s.

        Raises
        ------
        RefusedError
            With the reason.
        """
        if isinstance(plan.event, ExactRelease):
            if self.require_privacy:
                raise RefusedError(
                    Reason.PRIVACY_REQUIRED,
                    f"run {plan.run!r} has no privacy and this site requires it",
                )
        elif plan.event.noise_multiplier < self.least_noise_multiplier:
            raise RefusedError(
                Reason.NOISE_TOO_LOW,
                f"noise_multiplier={plan.event.noise_multiplier} is below this site's least, "
                f"{self.least_noise_multiplier}: add noise and lower rounds or rate instead",
            )
        if not plan.private and not self.test_data:
            raise RefusedError(
                Reason.DATA_NOT_TEST,
                f"run {plan.run!r} has noise that can be predicted or none, and the data set is "
                "not marked as test data: use noise from the operating system",
            )
        if self.most_rounds is not None and plan.rounds > self.most_rounds:
            raise RefusedError(
                Reason.TOO_MANY_ROUNDS, f"rounds={plan.rounds} is over {self.most_rounds}"
            )
        if isinstance(plan.event, NoisedSteps):
            self._check_run_budget(plan)

    def check_cost(self, plan: Plan) -> None:
        """Refuse a plan whose cost, by PLD at its own δ, is over the budget that it declares.

        PLD holds for a run because its parameters are fixed before its first output. Skellam noise
        has no PLD and is counted by RDP, here and in `check_lifetime`. A plan with predictable
        noise is held to the ε that a deployment of it would have.

        Raises
        ------
        RefusedError
            With `Reason.BUDGET`.
        """
        from tacit.privacy.accounting import Accountant, epsilon

        if isinstance(plan.event, ExactRelease):
            return
        cost = epsilon(plan.events(), plan.delta, Accountant.PLD)
        if not cost <= plan.epsilon + SLACK:
            raise RefusedError(
                Reason.BUDGET,
                f"run {plan.run!r} costs ε = {cost:.6g} at δ = {plan.delta:g} and declares "
                f"{plan.epsilon:g}: add noise or take fewer rounds",
            )
        if isinstance(plan.event, SkellamSteps) and plan.event.shares > 1:
            self._check_alone(plan, plan.event)

    def check_lifetime(self, plan: Plan, others: Sequence[Event], delta: float, order: int) -> None:
        """Refuse a plan that, after everything else, would cost more than the lifetime's ε.

        Alone in its ledger a plan costs what PLD says. After other runs, on whose outputs its
        parameters may depend, or beside them, the Rényi filter of `tacit.privacy.ledger_filter`
        decides.

        Parameters
        ----------
        others
            All that other runs released or may still release, with a finite ε.
        delta
            The ledger's lifetime δ.
        order
            The ledger's Rényi order.

        Raises
        ------
        RefusedError
            With `Reason.BUDGET`.
        """
        from tacit.privacy.accounting import Accountant, epsilon, renyi_divergence

        if not others:
            cost = epsilon(plan.events(), delta, Accountant.PLD)
            if not cost <= self.lifetime_epsilon + SLACK:
                raise RefusedError(
                    Reason.BUDGET,
                    f"run {plan.run!r} would cost ε = {cost:.6g} at the lifetime's δ = {delta:g}; "
                    f"this site allows {self.lifetime_epsilon:g} over the data set's life",
                )
            return
        divergence = renyi_divergence([*others, *plan.events()], order)
        budget = renyi_budget(self.lifetime_epsilon, delta, order)
        if not divergence <= budget:
            raise RefusedError(
                Reason.BUDGET,
                f"with run {plan.run!r} the data set would have spent a Rényi divergence of "
                f"{divergence:.6g} at order {order}; ε = {self.lifetime_epsilon:g} at "
                f"δ = {delta:g} over its life allows {budget:.6g}",
            )

    def _check_alone(self, plan: Plan, event: SkellamSteps) -> None:
        """Refuse where the own share of the noise protects less than this site wants by itself."""
        from tacit.privacy.accounting import epsilon

        own = in_rounds(replace(event, shares=1), plan.rounds)
        cost = epsilon(own, plan.delta)
        if not cost <= self.epsilon_alone + SLACK:
            raise RefusedError(
                Reason.BUDGET,
                f"run {plan.run!r} would cost ε = {cost:.6g} by this site's own share of the noise "
                f"alone, and epsilon_alone={self.epsilon_alone:g} here: allow more, or let each "
                "site add all of its noise (privacy=record)",
            )

    def _check_run_budget(self, plan: Plan) -> None:
        if plan.epsilon > self.epsilon_per_run + SLACK:
            raise RefusedError(
                Reason.BUDGET,
                f"epsilon={plan.epsilon:g} is over this site's most per run, "
                f"{self.epsilon_per_run:g}",
            )
        # A larger δ makes any ε smaller: without a limit a server could buy noise with δ.
        if plan.delta > self.delta_per_run:
            raise RefusedError(
                Reason.BUDGET,
                f"delta={plan.delta:g} is over this site's most per run, {self.delta_per_run:g}",
            )


def _check_budget(epsilon_key: str, epsilon: float, delta_key: str, delta: float) -> None:
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigurationError(f"{epsilon_key}={epsilon} must be positive and finite")
    if not 0 < delta < 1:
        raise ConfigurationError(f"{delta_key}={delta} must be between 0 and 1")

"""What the rows of a ledger say: the runs, their charges, and what became of them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.errors import RefusedError, TacitError
from tacit.privacy.chain import Row
from tacit.privacy.events import Event, Relation, Unit, from_json
from tacit.privacy.ledger_filter import LEAST_ORDER
from tacit.privacy.policy import Plan, Reason, steps_of, with_steps

OPENED = "opened/2"
"""Kind of the first row, and so the format of a whole ledger. Since 2, the reservation of a private
run says at which Rényi order and under which lifetime ε it was admitted."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What the first row fixes for good: see `tacit.privacy.ledger_view.LedgerView`."""

    data_set: str
    unit: Unit
    relation: Relation
    delta: float

    def to_fields(self) -> dict[str, object]:
        """Write as JSON values, the form that a ledger keeps."""
        return {
            "data_set": self.data_set,
            "unit": str(self.unit),
            "relation": str(self.relation),
            "delta": self.delta,
        }

    @classmethod
    def from_row(cls, row: Row) -> "Fixed":
        """Read the first row.

        Raises
        ------
        TacitError
            It opens no ledger of this format.
        ValueError, KeyError
            A field is missing or out of range.
        """
        fields = json.loads(row.body)
        if fields["kind"] != OPENED:
            raise TacitError(
                f"it begins with {fields['kind']!r}, not {OPENED!r}: another version of Tacit "
                "wrote this ledger"
            )
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Fixed":
        """Read what `to_fields` wrote.

        Raises
        ------
        ValueError, KeyError
            A field is missing or out of range.
        """
        return cls(
            str(fields["data_set"]),
            Unit(fields["unit"]),
            Relation(fields["relation"]),
            float(fields["delta"]),
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """Under what a private run was admitted.

    Parameters
    ----------
    order
        The ledger's Rényi order: the same in every reservation.
    lifetime_epsilon
        The most that the site allowed the data set to cost over its life at that time.
    """

    order: int
    lifetime_epsilon: float

    def __post_init__(self) -> None:
        if self.order < LEAST_ORDER:
            raise TacitError(f"order={self.order} of the filter must be at least {LEAST_ORDER}")
        if not (math.isfinite(self.lifetime_epsilon) and self.lifetime_epsilon > 0):
            raise TacitError(f"lifetime_epsilon={self.lifetime_epsilon} must be positive")

    @staticmethod
    def from_fields(fields: Mapping[str, object]) -> "Filter":
        """Read what `asdict` wrote."""
        return Filter(int(str(fields["order"])), float(str(fields["lifetime_epsilon"])))


@dataclass(frozen=True, slots=True)
class Charge:
    """What one round may cost, as row `number` of a ledger.

    `repeat` marks a request that was charged before in a plan with predictable noise: see
    `Ledger.charge`.
    """

    number: int
    run: str
    request: str
    event: Event
    repeat: bool


@dataclass(slots=True)
class Charged:
    """A charge, and what became of it."""

    charge: Charge
    steps: int
    settled: bool = False
    reply: str | None = None


@dataclass(slots=True)
class Run:
    """What stands for one run: net steps are those charged less those settled."""

    plan: Plan
    filter: Filter | None = None
    """None where no ε is finite."""
    closed: bool = False
    requests: dict[str, list[Charged]] = field(default_factory=dict)
    rounds: int = 0
    steps: int = 0
    latest: Charged | None = None
    """The charge whose reply is kept."""

    def spent(self) -> list[Event]:
        """Give all it was charged, net."""
        return with_steps(self.plan.event, self.steps)

    def committed(self) -> list[Event]:
        """Give all it was charged, and while it is open all it may still be."""
        return self.spent() if self.closed else self.plan.events()

    def counted(self, budget: float) -> list[Event]:
        """Give what the filter counts: all of the run, once it cost more than fits the filter.

        Such a run was alone and admitted by PLD. That holds while nothing else follows, whatever
        its outputs: were its unused rounds given back when it ends early, other runs would follow
        or not as its outputs fall, and neither PLD nor the filter would hold over both.

        Parameters
        ----------
        budget
            The Rényi divergence that the largest limit ever in force allows.
        """
        from tacit.privacy.accounting import renyi_divergence

        whole = self.plan.events()
        alone = self.filter is not None and renyi_divergence(whole, self.filter.order) > budget
        return whole if alone and self.spent() else self.committed()

    def repeats(self, request: str) -> bool:
        """Tell whether a request would compute again what stands charged already."""
        return self.plan.predictable and any(one.steps for one in self.requests.get(request, ()))

    def set_steps(self, charged: Charged, steps: int) -> None:
        """Set the net steps of a charge, and the sums over the run with them."""
        same = self.requests[charged.charge.request]
        rounds, total = self._cost(same)
        charged.steps = steps
        rounds_now, total_now = self._cost(same)
        self.rounds += rounds_now - rounds
        self.steps += total_now - total

    def _cost(self, same: list[Charged]) -> tuple[int, int]:
        steps = [charged.steps for charged in same if charged.steps]
        if self.plan.predictable:
            # Repeats compute the same bits: the longest of them holds all the others.
            return min(len(steps), 1), max(steps, default=0)
        return len(steps), sum(steps)


class Book:
    """What the rows say so far; a row that could not have come about is refused.

    The same rules stand at writing and at reading: a row that breaks one is neither written nor,
    had another hand written it, believed.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.runs: dict[str, Run] = {}
        self.charges: dict[int, Charged] = {}
        self.order: int | None = None
        """The Rényi order of the first private reservation, and so of all."""
        self.largest_limit = 0.0
        """The largest lifetime ε under which a private run was admitted."""

    def enter(self, row: Row) -> None:
        """Take a row in; where one is refused nothing has changed."""
        fields = json.loads(row.body)
        kind = fields["kind"]
        if row.number == 1:
            Fixed.from_row(row)
        elif kind == "reserved/1":
            under = fields["filter"]
            self.reserve(Plan.from_fields(fields["plan"]), under and Filter.from_fields(under))
        elif kind == "charged/1":
            event = from_json(fields["event"])
            self.charge(
                Charge(row.number, fields["run"], fields["request"], event, fields["repeat"])
            )
        elif kind == "settled/1":
            self.settle(self.charges[fields["charge"]], fields["steps_begun"])
        elif kind == "replied/1":
            self._reply(self.charges[fields["charge"]], fields["sha256"])
        elif kind == "closed/1":
            self.close(fields["run"])
        else:
            raise TacitError(f"unknown kind of row {kind!r}: written by a newer version of Tacit?")
        self.rows.append(row)

    def open_run(self, name: str) -> Run:
        """Find a run that may still be charged."""
        run = self.runs.get(name)
        if run is None or run.closed:
            state = "was closed: use another name" if run else "is not reserved: reserve it first"
            raise RefusedError(Reason.NOT_RESERVED, f"run {name!r} {state}")
        return run

    def number(self, charge: Charge) -> int:
        """Find a charge."""
        known = self.charges.get(charge.number)
        if known is None or known.charge != charge:
            raise TacitError(f"{charge} is not of this ledger")
        return charge.number

    def reserve(self, plan: Plan, under: Filter | None) -> None:
        """Take a reservation in."""
        if plan.run in self.runs:
            known = self.open_run(plan.run).plan
            raise RefusedError(
                Reason.PLAN_DIFFERS, f"run {plan.run!r} reserved {known}, not {plan}"
            )
        if plan.private != (under is not None):
            raise TacitError(f"run {plan.run!r} has a filter exactly where its ε is finite")
        if under is not None:
            if self.order not in (None, under.order):
                raise TacitError(
                    f"run {plan.run!r} was admitted at order {under.order}, but this ledger's "
                    f"order is {self.order} for good"
                )
            self.order = under.order
            self.largest_limit = max(self.largest_limit, under.lifetime_epsilon)
        self.runs[plan.run] = Run(plan, under)

    def charge(self, charge: Charge) -> None:
        """Take a charge in."""
        run = self.open_run(charge.run)
        run.plan.check_event(charge.event)
        if run.latest is not None and run.latest.charge.request == charge.request:
            raise TacitError(f"request {charge.request!r} has a reply: send that, charge nothing")
        if charge.repeat != run.repeats(charge.request):
            raise TacitError(f"{charge} is not marked as the repeat that it is, or is none")
        if not charge.repeat and run.rounds >= run.plan.rounds:
            raise RefusedError(
                Reason.TOO_MANY_ROUNDS,
                f"run {charge.run!r} has used all of its {run.plan.rounds} rounds",
            )
        charged = Charged(charge, 0)
        run.requests.setdefault(charge.request, []).append(charged)
        run.set_steps(charged, steps_of(charge.event))
        self.charges[charge.number] = charged

    def settle(self, charged: Charged, steps_begun: int) -> None:
        """Lower a charge."""
        run = self.open_run(charged.charge.run)
        if charged.reply is not None or charged.settled:
            raise TacitError(f"{charged.charge} was settled or replied to before: it stands")
        if not 0 <= steps_begun < charged.steps:
            raise TacitError(
                f"steps_begun={steps_begun} must be 0 to {charged.steps - 1}: a charge only sinks"
            )
        charged.settled = True
        run.set_steps(charged, steps_begun)

    def close(self, name: str) -> None:
        """End a run for good."""
        run = self.open_run(name)
        run.closed, run.latest = True, None

    def _reply(self, charged: Charged, digest: str) -> None:
        run = self.open_run(charged.charge.run)
        if charged.reply is not None or charged.steps == 0:
            raise TacitError(f"{charged.charge} has a reply or was settled to nothing: charge anew")
        charged.reply = digest
        run.latest = charged

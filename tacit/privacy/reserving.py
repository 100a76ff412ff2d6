"""Whether a run may be reserved beside what a ledger holds already."""

from tacit.errors import RefusedError
from tacit.privacy.book import Book, Filter, Fixed
from tacit.privacy.ledger_filter import filter_order, renyi_budget
from tacit.privacy.policy import Plan, Policy, Reason


def reservation(
    plan: Plan, policy: Policy, book: Book, fixed: Fixed
) -> tuple[Plan, Filter | None] | None:
    """Return what a run's reservation says, or None where the same plan stands reserved.

    `Policy.check_plan` and `Policy.check_cost` need no ledger and may take seconds: they come
    before, while no ledger is held.

    Runs whose ε is infinite (exact releases, predictable noise) need test data and stand only
    beside their like: ε of such a ledger is infinite already, and one that anybody may rely on is
    never made so.

    Raises
    ------
    RefusedError
        The budget says no, with the reason.
    """
    under = None
    if plan.private:
        # The first private run fixes the order.
        order = book.order or filter_order(policy.lifetime_epsilon, fixed.delta)
        under = Filter(order, policy.lifetime_epsilon)
    _check_lifetime(plan, policy, book, fixed, under)
    known = book.runs.get(plan.run)
    if known is not None and not known.closed and known.plan == plan:
        return None
    return plan, under


def _check_lifetime(
    plan: Plan, policy: Policy, book: Book, fixed: Fixed, under: Filter | None
) -> None:
    for event in plan.events():
        if event.unit != fixed.unit:
            raise RefusedError(
                Reason.UNIT_DIFFERS, f"unit={event.unit} is not the data set's, {fixed.unit}"
            )
        if event.relation != fixed.relation:
            raise RefusedError(
                Reason.RELATION_DIFFERS,
                f"relation={event.relation} is not the data set's, {fixed.relation}",
            )
    others = [run for name, run in book.runs.items() if name != plan.run and run.committed()]
    if any(run.plan.private != plan.private for run in others):
        raise RefusedError(
            Reason.BUDGET,
            f"run {plan.run!r} and the runs before it do not go together: some have a finite ε "
            "and some have none (exact releases, predictable noise); use another ledger",
        )
    if under is not None:
        largest = max(under.lifetime_epsilon, book.largest_limit)
        budget = renyi_budget(largest, fixed.delta, under.order)
        counted = [event for run in others for event in run.counted(budget)]
        policy.check_lifetime(plan, counted, fixed.delta, under.order)

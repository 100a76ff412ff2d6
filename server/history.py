"""What the rounds of a run come to: ε along the way, who was missing, how long it took."""

import statistics
from collections import Counter
from typing import Final

from server.run_plan import RunPlan
from tacit.learning.plan import RoundPlan
from tacit.privacy.accounting import epsilon, epsilon_by_steps
from tacit.privacy.events import Event, ExactRelease
from tacit.privacy.policy import in_rounds
from tacit.runs.results import Round, Timing

NAMED: Final = 40
"""Missing replies that are still named one by one."""


def epsilon_tables(plan: RunPlan, delta: float) -> dict[str, list[float]]:
    """Return ε at δ after 0, 1, … steps of the plan, for each site with noise."""
    tables = {each: _table(each, plan.rounds_of_a_site, delta) for each in set(plan.sites.values())}
    return {site: table for site, each in plan.sites.items() if (table := tables[each]) is not None}


def _table(each: RoundPlan, rounds: int, delta: float) -> list[float] | None:
    (event,) = in_rounds(each.event(), rounds)
    if isinstance(event, ExactRelease):
        return None
    return epsilon_by_steps(event, range(event.steps + 1), delta)


def epsilon_after(plan: RunPlan, rounds: int, delta: float) -> dict[str, float]:
    """Return ε at δ after so many rounds, at most those of the plan, for each site with noise.

    Sites may come while a run goes on, so that there is no table to look it up in, and a table of a
    long run takes seconds.
    """
    known: dict[Event, float] = {}
    found = {}
    for site, each in plan.sites.items():
        (event,) = in_rounds(each.event(), min(rounds, plan.rounds))
        if isinstance(event, ExactRelease):
            continue
        if event not in known:
            known[event] = epsilon([event], delta)
        found[site] = known[event]
    return found


def missing(history: tuple[Round, ...]) -> list[str]:
    """Say who did not take part in a round; where very many did not, how many."""
    away = [(line.round, site, why) for line in history for site, why in line.failed.items()]
    if len(away) <= NAMED:
        return [f"round {number}: {site} did not take part ({why})" for number, site, why in away]
    reasons = Counter(why for _, _, why in away)
    said = ", ".join(f"{why}: {count}" for why, count in sorted(reasons.items()))
    return [
        f"{len(away)} replies of {sum(len(line.replied) for line in history) + len(away)} are "
        f"missing ({said}); history.jsonl names them"
    ]


def timing(seconds: float, history: tuple[Round, ...]) -> Timing:
    """Summarise how long a run took: medians over the rounds after the first."""
    later = [line for line in history if line.round > 1]
    if not later:
        return Timing(seconds, None, None, None)
    each = statistics.median(line.seconds for line in later)
    return Timing(
        seconds=seconds,
        seconds_per_round=each,
        cpu_seconds_per_round=statistics.median(line.cpu_seconds for line in later),
        clients_per_second=statistics.median(len(line.replied) for line in later) / each,
    )

"""What the rounds of a run come to: ε along the way, who was missing, how long it took."""

import statistics

from server.rounds import RunPlan
from tacit.privacy.accounting import epsilon, epsilon_by_steps
from tacit.privacy.events import Event, GaussianSteps
from tacit.privacy.policy import with_steps
from tacit.runs.results import Round, Timing


def epsilon_tables(plan: RunPlan, delta: float) -> dict[str, list[float]]:
    """Return ε at δ after 0, 1, … steps of the plan, for each site with noise."""
    tables: dict[GaussianSteps, list[float]] = {}
    found = {}
    for site, each in plan.sites.items():
        (event,) = with_steps(each.event(), plan.rounds * each.steps)
        if not isinstance(event, GaussianSteps):
            continue
        if event not in tables:
            tables[event] = epsilon_by_steps(event, range(event.steps + 1), delta)
        found[site] = tables[event]
    return found


def epsilon_after(plan: RunPlan, rounds: int, delta: float) -> dict[str, float]:
    """Return ε at δ after so many rounds, at most those of the plan, for each site with noise.

    Sites may come while a run goes on, so that there is no table to look it up in, and a table of a
    long run takes seconds.
    """
    known: dict[Event, float] = {}
    found = {}
    for site, each in plan.sites.items():
        (event,) = with_steps(each.event(), min(rounds, plan.rounds) * each.steps)
        if not isinstance(event, GaussianSteps):
            continue
        if event not in known:
            known[event] = epsilon([event], delta)
        found[site] = known[event]
    return found


def missing(history: tuple[Round, ...]) -> list[str]:
    """Say who did not take part in a round."""
    return [
        f"round {line.round}: {site} did not take part ({reason})"
        for line in history
        for site, reason in line.failed.items()
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

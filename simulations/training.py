"""One training: the sites set the run aside, then both Flower apps do the rounds that are left."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from server.app import build_server_app
from server.checkpoint import load_checkpoint
from server.enrolment import reserve
from server.run_plan import RoundOutcome, RunPlan, State
from server.secure import Secured
from simulations.cohort import Cohort, streams_of
from simulations.draw import Draw
from simulations.experiment import Arm, Experiment, strategy_of
from simulations.flower import server_context
from strategies.build import build_strategy
from tacit.errors import ModelError, TooFewSitesError

OnRound = Callable[[State, RoundOutcome], None]

COORDINATOR: Final = "//coordinator"
"""Whose streams its noise comes from: no site's name has a slash."""


def train_out(
    arm: Arm,
    experiment: Experiment,
    plan: RunPlan,
    start: State,
    cohort: Cohort,
    on_round: OnRound,
) -> str | None:
    """Train to the end, as `train`; a lost round may leave no budget for the last ones.

    Returns
    -------
    str or None
        A sentence that says so; None where every round was made.
    """
    done = start.round

    def counted(state: State, outcome: RoundOutcome) -> None:
        nonlocal done
        on_round(state, outcome)
        done = state.round

    try:
        train(arm, experiment, plan, start, cohort, counted)
    except TooFewSitesError as error:
        if done == 0 or not plan.used_up(error.reasons):
            raise
        return (
            f"the run ends after round {done} of {plan.rounds}: a round that was charged was lost "
            f"in a stop, and its budget is not given back"
        )
    return None


def resumable(folder: Path, experiment: Experiment) -> tuple[str, State]:
    """Load a training's checkpoint: the run's identity and its last complete state.

    Raises
    ------
    RunDirectoryError
        There is none, or it is damaged.
    ModelError
        It belongs to another model.
    """
    run, state = load_checkpoint(folder)
    if state.model != experiment.model_sha256:
        raise ModelError(
            f"{folder}: the run was made with model {state.model[:12]}… and this is "
            f"{experiment.model_sha256[:12]}…: were its pretrained weights exchanged?"
        )
    return run, state


def train(
    arm: Arm,
    experiment: Experiment,
    plan: RunPlan,
    start: State,
    cohort: Cohort,
    on_round: OnRound,
) -> None:
    """Have every site set the whole run aside, then run the rounds that are left.

    Raises
    ------
    RefusedError
        A site's policy or ledger refuses the plan; nothing was spent.
    TooFewSitesError
        Too few sites take part, or a round had too few replies.
    """
    who = None
    if plan.asks_everybody:
        reserve(cohort.grid, plan, cohort.names)
    if plan.cohort is not None:
        who = _Drawn(plan, cohort, experiment.settings.seed)
    strategy = build_strategy(strategy_of(arm, experiment))
    noise = streams_of(arm, experiment, COORDINATOR)
    app = build_server_app(
        strategy,
        plan,
        cohort.names,
        start,
        on_round,
        who,
        lambda number: noise(number, "noise"),
        Secured(cohort.identities, count(1)),
    )
    app(cohort.grid, server_context())


class _Drawn:
    """Draws the sites of a round.

    Where not all are drawn in the run, each sets it aside before it takes part for the first time:
    a hundred thousand sites need not be asked for twenty rounds of a thousand.
    """

    def __init__(self, plan: RunPlan, cohort: Cohort, seed: int) -> None:
        self._plan = plan
        self._cohort = cohort
        self._draw = Draw(list(cohort.names), plan.cohort or len(plan.sites), seed)
        self._reserved = set(cohort.names) if plan.asks_everybody else set()

    def __call__(self, number: int) -> tuple[RunPlan, Mapping[int, str]]:
        names = {node: self._cohort.names[node] for node in self._draw.cohort(number)}
        plan = self._plan.among(names.values())
        new = {node: site for node, site in names.items() if node not in self._reserved}
        if new:
            # A site that refuses refuses its round too; how many that are is the round's to say.
            reserve(self._cohort.grid, replace(plan.among(new.values()), min_replies=0), new)
            self._reserved |= new.keys()
        return plan, names

"""A whole run: prepare, train round by round, measure, compare, report."""

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from server.checkpoint import load_checkpoint, save_checkpoint
from server.history import epsilon_tables, missing, timing
from server.run_plan import RoundOutcome, RunPlan, State
from simulations.cohort import Cohort, Reach, in_process
from simulations.comparison import Beside, compare
from simulations.experiment import (
    Arm,
    Experiment,
    main_arm,
    measure_weights,
    only,
    plan_of,
    prepare,
)
from simulations.progress import LiveProgress
from simulations.summary import summarise
from simulations.training import resumable, train_out
from tacit.components import make
from tacit.learning.canaries import Canaries
from tacit.models.trainable import trainable_weights
from tacit.privacy.policy import steps_of
from tacit.privacy_settings import NoPrivacy
from tacit.runs import directory
from tacit.runs.directory import RunDirectory, claim
from tacit.runs.report import write_report
from tacit.runs.results import Results, Round, read_history, write
from tacit.settings import EngineKind, Settings

HELD_OUT = "held_out (simulation only)"


def simulate(
    settings: Settings,
    config: Mapping[str, Any],
    progress: LiveProgress,
    reach: Reach = in_process,
    sites: Collection[str] | None = None,
    canaries: Canaries | None = None,
) -> tuple[Results, Path]:
    """Run an experiment, new or resumed, and return its results and its directory.

    Parameters
    ----------
    settings
        The experiment.
    config
        The same as plain values, to be kept in the run directory.
    progress
        Shows how far it is.
    reach
        Reaches the sites of the run.
    sites
        Those of the domain's sites that take part; None for all.
    canaries
        Records of an audit that take part; None for those of the settings, where there are any.

    Raises
    ------
    TacitError
        Input cannot be used (before anything is spent), a site refuses, or too few reply.
    """
    resume = settings.run.resume is not None
    path = _run_path(settings)
    started = time.perf_counter()
    experiment = prepare(
        settings,
        partial(_show_pretraining, settings, progress),
        partial(progress.step, "reading"),
    )
    if sites is not None:
        experiment = only(experiment, sites)
    arm = main_arm(experiment)
    run = secrets.token_hex(8)
    plan = plan_of(arm, experiment, run)
    own_canaries: Canaries | None = make("audit", settings.audit) if settings.audit else None
    if carried := canaries or own_canaries:
        carried.begin(plan.sites)
        arm = replace(arm, canaries=carried)
    start = State(0, trainable_weights(experiment.shared.module), model=experiment.model_sha256)
    # Each site keeps its last reply, beside the checkpoint and the final weights.
    size = sum(array.nbytes for array in start.weights.values())
    with claim(path, resume=resume, needed=size * (len(plan.sites) + 3)) as own:
        if resume:
            run, state = resumable(path / directory.CHECKPOINT, experiment)
            plan = replace(plan, run=run)
            own.keep_history_through(state.round)
            progress.say(f"resuming {path} after round {state.round} of {plan.rounds}")
        else:
            state = start
            own.write_config(config)
            save_checkpoint(path / directory.CHECKPOINT, run, state)
        try:
            with reach(arm, experiment, path / directory.LEDGER) as cohort:
                recorder = _Recorder(own, config, experiment, arm, plan, cohort, progress)
                if not resume:
                    recorder.record_start(state)
                ended = train_out(arm, experiment, plan, state, cohort, recorder.record)
                notes = [note for note in (ended, cohort.note) if note]
                _, state = load_checkpoint(path / directory.CHECKPOINT)
                spent = cohort.spent(plan, state.round)
                if plan.cohort is not None:
                    # Of very many sites few may have been drawn: the others spent nothing.
                    spent = {site: events for site, events in spent.items() if events}
                experiment = _settled(experiment, cohort.faster)
            beside = (
                compare(experiment, start.weights, path / directory.COMPARE, progress.step)
                if settings.compare
                else Beside()
            )
        except (KeyboardInterrupt, SystemExit):
            progress.say(f"stopped; to go on: tacit-simulate run.resume={path}")
            raise
        history = read_history(path / directory.HISTORY)
        results = summarise(
            experiment,
            plan,
            state,
            spent,
            beside,
            (*notes, *beside.notes, *missing(history)),
            timing(time.perf_counter() - started, history),
            path,
        )
        write(results, path / directory.RESULTS)
        if own_canaries is not None:
            own_canaries.conclude(path)
        write_report(path)
    return results, path


def _show_pretraining(settings: Settings, progress: LiveProgress, step: int, loss: float) -> None:
    pretraining = settings.model.pretraining
    steps = pretraining.steps if pretraining else step
    progress.step("pretraining", step, steps, f"loss {loss:.3f} on the public pool")


def _settled(experiment: Experiment, faster: EngineKind | None) -> Experiment:
    """Return the experiment with the engine that was found faster, for what follows."""
    if faster is None:
        return experiment
    settings = experiment.settings
    engine = replace(settings.engine, chosen=faster)
    return replace(experiment, settings=replace(settings, engine=engine))


class _Recorder:
    """After each round: the engine that was found, history, checkpoint, then the screen."""

    def __init__(
        self,
        own: RunDirectory,
        config: Mapping[str, Any],
        experiment: Experiment,
        arm: Arm,
        plan: RunPlan,
        cohort: Cohort,
        progress: LiveProgress,
    ) -> None:
        self._own = own
        self._config = config
        self._experiment = experiment
        self._plan = plan
        self._cohort = cohort
        self._progress = progress
        self._privacy = None if isinstance(arm.privacy, NoPrivacy) else arm.privacy
        self._epsilons = epsilon_tables(plan, self._privacy.delta) if self._privacy else {}

    def record_start(self, state: State) -> None:
        """Record what the model is worth before training."""
        outcome = RoundOutcome(0, (), {}, 0.0, 0.0)
        self._own.append(self._line(state, outcome))

    def record(self, state: State, outcome: RoundOutcome) -> None:
        """Record a complete round."""
        self._keep_choice()
        line = self._line(state, outcome)
        self._own.append(line)
        save_checkpoint(self._own.path / directory.CHECKPOINT, self._plan.run, state)
        budget = self._privacy.epsilon if self._privacy else None
        self._progress.round(line, self._plan.rounds, budget)

    def _keep_choice(self) -> None:
        """Keep the engine that was found faster: whoever goes on or repeats the run uses it."""
        faster = self._cohort.faster
        if faster is None or self._config["engine"].get("chosen"):
            return
        engine = {**self._config["engine"], "chosen": faster.value}
        self._config = {**self._config, "engine": engine}
        self._own.write_config(self._config)

    def _line(self, state: State, outcome: RoundOutcome) -> Round:
        measured = measure_weights(self._experiment, state.weights)
        return Round(
            round=outcome.round,
            seconds=outcome.seconds,
            cpu_seconds=outcome.cpu_seconds,
            replied=outcome.replied,
            failed=outcome.failed,
            loss=measured.loss,
            loss_on=HELD_OUT,
            evaluation=measured.evaluation,
            epsilon=self._spent(outcome),
            clipping_norm=outcome.clipping_norm,
        )

    def _spent(self, outcome: RoundOutcome) -> dict[str, float] | None:
        """Return ε so far: of all sites or, where sites are drawn, of the round's."""
        if self._privacy is None:
            return None
        drawn = None if self._plan.cohort is None else (*outcome.replied, *outcome.failed)
        return {
            site: self._epsilons[site][sum(steps_of(event) for event in events)]
            for site, events in self._cohort.spent(self._plan, outcome.round, drawn).items()
        }


def _run_path(settings: Settings) -> Path:
    if settings.run.resume is not None:
        return Path(settings.run.resume)
    if settings.run.dir is not None:
        return Path(settings.run.dir)
    now = datetime.now().astimezone()
    return Path("outputs") / settings.name / now.strftime("%Y-%m-%d_%H-%M-%S")

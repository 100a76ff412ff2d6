"""What federation and privacy bought and cost: baselines, measured in the same run.

Every baseline starts from the same shared model and gets settings of its own, chosen by the same
search as the run's (``python -m benchmarks.settings``).
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.checkpoint import save_checkpoint
from server.run_plan import RoundOutcome, State
from simulations.cohort import in_process
from simulations.evaluation import pooled_of
from simulations.experiment import Arm, Experiment, main_arm, measure_weights, plan_of
from simulations.training import resumable, train_out
from tacit.domains.domain import Examples
from tacit.models.trainable import Weights
from tacit.privacy_settings import ClientPrivacy, NoPrivacy, RecordPrivacy, SharedNoisePrivacy
from tacit.runs.directory import CHECKPOINT
from tacit.runs.encoding import encode, write_text
from tacit.runs.evaluation import DIRECTIONS, Direction, Evaluation, evaluation
from tacit.runs.results import Comparison, read_as
from tacit.settings import BaselineTraining

POOLED = "pooled"
MEASURED = "measured.json"


@dataclass(frozen=True, slots=True)
class Beside:
    """What was measured beside a run; nothing unless it was asked for.

    `rows` stand beside the run's own in the report; `single_models` is each site's own model, by
    site, measured at all sites; `notes` says where a baseline ended early.
    """

    rows: tuple[Comparison, ...] = ()
    single_models: Mapping[str, Evaluation] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def compare(
    experiment: Experiment,
    start: Weights,
    folder: Path,
    on_round: Callable[[str, int, int], None],
) -> Beside:
    """Train every baseline and measure it.

    Parameters
    ----------
    experiment
        The run's.
    start
        Trainable weights that the run started from.
    folder
        For what each baseline leaves: its ledgers and what was measured.
    on_round
        Called with a baseline's title, its rounds done and its rounds in all.
    """
    privacy = experiment.settings.privacy
    # A client alone has nobody to hide from: its baseline is without privacy.
    epsilon = privacy.epsilon if isinstance(privacy, RecordPrivacy | SharedNoisePrivacy) else None
    suffix = "without privacy" if epsilon is None else "under the same ε"
    run = _Runner(experiment, start, folder, on_round)
    alone = {
        site: run(_alone(experiment, site), f"{site} alone, {suffix}") for site in experiment.data
    }
    found = [
        Comparison(
            "alone",
            f"Each site alone, {suffix}",
            _own_sites(experiment, alone),
            epsilon,
            "each site's own model on its own held-out records",
        ),
        _best_single(experiment, alone, epsilon),
    ]
    if not isinstance(privacy, NoPrivacy):
        title = "Federated without privacy"
        measured = run(_without_privacy(experiment), title)
        found.append(Comparison("federated_no_privacy", title, measured, None, ""))
    title = "Pooled without privacy"
    measured = run(_pooled(experiment), title)
    note = "all training records in one place, which is what the sites may not do"
    found.append(Comparison("pooled_no_privacy", title, measured, None, note))
    return Beside(tuple(found), alone, tuple(run.notes))


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What is kept of a baseline once it is trained; its weights are not."""

    evaluation: Evaluation
    note: str | None


class _Runner:
    """Trains one baseline and measures it on every site's held-out records.

    A baseline goes on where it stopped, and one that was measured is not trained again: with noise
    from the system that would spend on the same records a second time.
    """

    def __init__(
        self,
        experiment: Experiment,
        start: Weights,
        folder: Path,
        on_round: Callable[[str, int, int], None],
    ) -> None:
        self.notes: list[str] = []
        self._experiment = experiment
        self._start = start
        self._folder = folder
        self._on_round = on_round

    def __call__(self, arm: Arm, title: str) -> Evaluation:
        folder = self._folder / arm.key
        kept = folder / MEASURED
        if not kept.exists():
            found = self._train(arm, title, folder)
            write_text(kept, json.dumps(encode(found), indent=2, allow_nan=False))
        self._drop_weights(arm, folder)
        done = read_as(_Baseline, kept)
        if done.note is not None:
            self.notes.append(f"{title}: {done.note}")
        return done.evaluation

    def _train(self, arm: Arm, title: str, folder: Path) -> _Baseline:
        experiment, checkpoint = self._experiment, folder / CHECKPOINT
        plan = plan_of(arm, experiment, arm.key)
        if not checkpoint.exists():
            state = State(0, self._start, model=experiment.model_sha256)
            save_checkpoint(checkpoint, plan.run, state)
        _, state = resumable(checkpoint, experiment)

        def on_round(state: State, outcome: RoundOutcome) -> None:
            save_checkpoint(checkpoint, plan.run, state)
            self._on_round(title, state.round, plan.rounds)

        with in_process(arm, experiment, folder) as cohort:
            note = train_out(arm, experiment, plan, state, cohort, on_round)
        _, state = resumable(checkpoint, experiment)
        return _Baseline(measure_weights(experiment, state.weights).evaluation, note)

    def _drop_weights(self, arm: Arm, folder: Path) -> None:
        """Drop checkpoint and last replies: they may hold weights without privacy."""
        if (folder / CHECKPOINT).exists():
            with in_process(arm, self._experiment, folder) as cohort:
                cohort.close_run(arm.key)
            shutil.rmtree(folder / CHECKPOINT)


def _baseline(experiment: Experiment, key: str, chosen: BaselineTraining) -> Arm:
    """Return the run with a baseline's settings; all sites must reply."""
    arm = main_arm(experiment)
    privacy = arm.privacy
    if isinstance(privacy, RecordPrivacy):
        privacy = replace(privacy, clipping_norm=chosen.clipping_norm)
    elif isinstance(privacy, SharedNoisePrivacy):
        # Alone there is nobody to share the noise with.
        privacy = RecordPrivacy(
            "record",
            privacy.epsilon,
            privacy.delta,
            chosen.clipping_norm,
            privacy.unit,
            privacy.rows_per_person,
            privacy.within_person,
        )
    elif isinstance(privacy, ClientPrivacy):
        privacy = NoPrivacy("none")
    training = replace(
        arm.training, rounds=chosen.rounds, learning_rate=chosen.learning_rate, min_replies="all"
    )
    return replace(arm, key=key, training=training, privacy=privacy)


def _alone(experiment: Experiment, site: str) -> Arm:
    arm = _baseline(experiment, f"alone-{site}", experiment.settings.baselines.alone)
    return replace(
        arm,
        training=replace(arm.training, cohort="all"),
        rows={site: arm.rows[site]},
        declared_sizes={site: arm.declared_sizes[site]},
    )


def _without_privacy(experiment: Experiment) -> Arm:
    arm = _baseline(experiment, "federated", experiment.settings.baselines.federated)
    return replace(arm, privacy=NoPrivacy("none"), declared_sizes=experiment.declared_sizes)


def _pooled(experiment: Experiment) -> Arm:
    arm = _baseline(experiment, POOLED, experiment.settings.baselines.pooled)
    return replace(
        arm,
        training=replace(arm.training, cohort="all"),
        rows={POOLED: Examples.together(list(arm.rows.values()))},
        declared_sizes={POOLED: sum(experiment.declared_sizes.values())},
        privacy=NoPrivacy("none"),
    )


def _own_sites(experiment: Experiment, alone: dict[str, Evaluation]) -> Evaluation:
    metric = experiment.card.metric
    values = {site: found.value(site) for site, found in alone.items()}
    sizes = {site: len(held.test) for site, held in experiment.data.items()}
    return evaluation(
        metric.value, DIRECTIONS[metric], values, pooled=pooled_of(metric, values, sizes)
    )


def _best_single(
    experiment: Experiment, alone: dict[str, Evaluation], epsilon: float | None
) -> Comparison:
    sign = 1 if DIRECTIONS[experiment.card.metric] is Direction.MAXIMIZE else -1

    def worth(site: str) -> float:
        mean = alone[site].mean_of_sites
        return -math.inf if mean is None else sign * mean

    best = max(alone, key=worth)
    return Comparison(
        "best_single",
        f"The best single site's model ({best}) at all sites",
        alone[best],
        epsilon,
        "chosen by its score on all held-out records, which favours it",
    )

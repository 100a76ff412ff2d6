"""What federation and privacy bought and cost: baselines, measured in the same run.

Every baseline starts from the same shared model and gets settings of its own, chosen by the same
search as the run's (``python -m benchmarks.settings``).
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from server.rounds import RoundOutcome, State
from simulations.experiment import Arm, Experiment, main_arm, measure_weights, plan_of
from simulations.training import open_ledgers, train
from tacit.domains.domain import Examples
from tacit.models.trainable import Weights
from tacit.runs.evaluation import Direction, Evaluation, evaluation
from tacit.runs.results import Comparison
from tacit.settings import BaselineTraining, NoPrivacy, RecordPrivacy

POOLED = "pooled"


def compare(
    experiment: Experiment,
    start: Weights,
    folder: Path,
    on_round: Callable[[str, int, int], None],
) -> list[Comparison]:
    """Train every baseline and measure it.

    Parameters
    ----------
    experiment
        The run's.
    start
        Trainable weights that the run started from.
    folder
        For the baselines' ledgers; emptied first, since a baseline is never resumed.
    on_round
        Called with a baseline's title, its rounds done and its rounds in all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    private = isinstance(experiment.settings.privacy, RecordPrivacy)
    epsilon = experiment.settings.privacy.epsilon if private else None
    suffix = "under the same ε" if private else "without privacy"
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
    if private:
        title = "Federated without privacy"
        measured = run(_without_privacy(experiment), title)
        found.append(Comparison("federated_no_privacy", title, measured, None, ""))
    title = "Pooled without privacy"
    measured = run(_pooled(experiment), title)
    note = "all training records in one place, which is what the sites may not do"
    found.append(Comparison("pooled_no_privacy", title, measured, None, note))
    return found


class _Runner:
    """Trains one baseline and measures it on every site's held-out records."""

    def __init__(
        self,
        experiment: Experiment,
        start: Weights,
        folder: Path,
        on_round: Callable[[str, int, int], None],
    ) -> None:
        self._experiment = experiment
        self._start = start
        self._folder = folder
        self._on_round = on_round

    def __call__(self, arm: Arm, title: str) -> Evaluation:
        experiment = self._experiment
        weights = self._start

        def on_round(state: State, outcome: RoundOutcome) -> None:
            nonlocal weights
            weights = state.weights
            self._on_round(title, state.round, arm.training.rounds)

        plan = plan_of(arm, experiment, arm.key)
        with open_ledgers(arm, experiment, self._folder / arm.key) as ledgers:
            train(arm, experiment, plan, State(0, self._start), ledgers, on_round)
        return measure_weights(experiment, weights).evaluation


def _with(experiment: Experiment, key: str, chosen: BaselineTraining, **changes: object) -> Arm:
    """Return the run with a baseline's settings; all sites must reply."""
    arm = main_arm(experiment)
    privacy = arm.privacy
    if isinstance(privacy, RecordPrivacy):
        privacy = replace(privacy, clipping_norm=chosen.clipping_norm)
    training = replace(
        arm.training, rounds=chosen.rounds, learning_rate=chosen.learning_rate, min_replies="all"
    )
    return replace(arm, key=key, training=training, **{"privacy": privacy, **changes})


def _alone(experiment: Experiment, site: str) -> Arm:
    return _with(
        experiment,
        f"alone-{site}",
        experiment.settings.baselines.alone,
        rows={site: experiment.data[site].train},
        declared_sizes={site: experiment.declared_sizes[site]},
    )


def _without_privacy(experiment: Experiment) -> Arm:
    chosen = experiment.settings.baselines.federated
    return _with(experiment, "federated", chosen, privacy=NoPrivacy("none"))


def _pooled(experiment: Experiment) -> Arm:
    held = [held.train for held in experiment.data.values()]
    together = Examples(
        torch.cat([rows.features for rows in held]), torch.cat([rows.targets for rows in held])
    )
    return _with(
        experiment,
        POOLED,
        experiment.settings.baselines.pooled,
        rows={POOLED: together},
        declared_sizes={POOLED: sum(experiment.declared_sizes.values())},
        privacy=NoPrivacy("none"),
    )


def _own_sites(experiment: Experiment, alone: dict[str, Evaluation]) -> Evaluation:
    metric = experiment.card.metric.value
    values = {site: found.value(site) for site, found in alone.items()}
    sizes = {site: len(held.test) for site, held in experiment.data.items()}
    right = sum((values[site] or 0.0) * sizes[site] for site in values)
    return evaluation(
        metric, Direction.MAXIMIZE, values, pooled=right / sum(sizes[site] for site in values)
    )


def _best_single(
    experiment: Experiment, alone: dict[str, Evaluation], epsilon: float | None
) -> Comparison:
    best = max(alone, key=lambda site: alone[site].mean_of_sites or 0.0)
    return Comparison(
        "best_single",
        f"The best single site's model ({best}) at all sites",
        alone[best],
        epsilon,
        "chosen by its score on all held-out records, which favours it",
    )

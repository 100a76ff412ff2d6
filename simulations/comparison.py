"""What federation and privacy bought and cost: baselines, measured in the same run.

Every baseline starts from the same shared model and gets settings of its own, chosen by the same
search as the run's (``python -m benchmarks.settings``).
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Beside:
    """What was measured beside a run; nothing unless it was asked for.

    `rows` stand beside the run's own in the report; `single_models` is each site's own model, by
    site, measured at all sites.
    """

    rows: tuple[Comparison, ...] = ()
    single_models: Mapping[str, Evaluation] = field(default_factory=dict)


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
        For the baselines' ledgers; emptied first, since a baseline is never resumed.
    on_round
        Called with a baseline's title, its rounds done and its rounds in all.
    """
    if folder.exists():
        shutil.rmtree(folder)
    privacy = experiment.settings.privacy
    epsilon = privacy.epsilon if isinstance(privacy, RecordPrivacy) else None
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
    if epsilon is not None:
        title = "Federated without privacy"
        measured = run(_without_privacy(experiment), title)
        found.append(Comparison("federated_no_privacy", title, measured, None, ""))
    title = "Pooled without privacy"
    measured = run(_pooled(experiment), title)
    note = "all training records in one place, which is what the sites may not do"
    found.append(Comparison("pooled_no_privacy", title, measured, None, note))
    return Beside(tuple(found), alone)


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
            for ledger in ledgers.values():
                # A ledger keeps the last reply; that of a baseline may hold weights without
                # privacy, and nobody will ask for it again.
                ledger.close_run(plan.run)
        return measure_weights(experiment, weights).evaluation


def _baseline(experiment: Experiment, key: str, chosen: BaselineTraining) -> Arm:
    """Return the run with a baseline's settings; all sites must reply."""
    arm = main_arm(experiment)
    privacy = arm.privacy
    if isinstance(privacy, RecordPrivacy):
        privacy = replace(privacy, clipping_norm=chosen.clipping_norm)
    training = replace(
        arm.training, rounds=chosen.rounds, learning_rate=chosen.learning_rate, min_replies="all"
    )
    return replace(arm, key=key, training=training, privacy=privacy)


def _alone(experiment: Experiment, site: str) -> Arm:
    arm = _baseline(experiment, f"alone-{site}", experiment.settings.baselines.alone)
    return replace(
        arm,
        rows={site: arm.rows[site]},
        declared_sizes={site: arm.declared_sizes[site]},
    )


def _without_privacy(experiment: Experiment) -> Arm:
    arm = _baseline(experiment, "federated", experiment.settings.baselines.federated)
    return replace(arm, privacy=NoPrivacy("none"))


def _pooled(experiment: Experiment) -> Arm:
    arm = _baseline(experiment, POOLED, experiment.settings.baselines.pooled)
    together = Examples(
        torch.cat([rows.features for rows in arm.rows.values()]),
        torch.cat([rows.targets for rows in arm.rows.values()]),
    )
    return replace(
        arm,
        rows={POOLED: together},
        declared_sizes={POOLED: sum(arm.declared_sizes.values())},
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

"""From the end of a run to results.json and the final weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from server import summary
from server.run_plan import RunPlan, State
from simulations.comparison import Beside
from simulations.evaluation import calibrations, constant, measure, out_of_scope, predict
from simulations.experiment import Experiment, noise_seed
from simulations.held_out import held_out_records
from strategies.mean import AVERAGING
from tacit.learning.plan import LocalOptimizer
from tacit.models.trainable import load_trainable
from tacit.privacy.events import Event
from tacit.runs.results import Comparison, Results, Timing
from tacit.settings import Settings


def summarise(
    experiment: Experiment,
    plan: RunPlan,
    state: State,
    spent: Mapping[str, Sequence[Event]],
    beside: Beside,
    notes: tuple[str, ...],
    timing: Timing,
    path: Path,
) -> Results:
    """Measure the final model, write it to the run directory, and summarise the run.

    Parameters
    ----------
    spent
        What each site's ledger says was charged.
    """
    settings, card, data = experiment.settings, experiment.card, experiment.data
    module = experiment.shared.module
    load_trainable(module, state.weights)
    predicted = predict(module, data, card, experiment.compute.device)
    results = summary.summarise(
        experiment,
        plan,
        state,
        spent,
        measure(predicted, data, card).evaluation,
        timing,
        notes,
        path,
        simulation=True,
        simulated_noise=noise_seed(settings) is not None,
    )
    return replace(
        results,
        baselines={"mean_target" if card.target else "majority_class": constant(data, card)},
        comparison=mark_same_model(beside, settings),
        single_models=beside.single_models,
        calibration=calibrations(predicted, data, card),
        test_records=held_out_records(data),
        out_of_scope=None
        if experiment.out_of_scope is None
        else out_of_scope(
            module,
            experiment.out_of_scope,
            predicted,
            data,
            card,
            experiment.compute.device,
        ),
        site_count=len(data),
        environment=_environment(experiment.compute.device),
    )


def _environment(device: torch.device) -> str:
    """Say on what the last bits of weights depend, beside configuration and data."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {named}"


def mark_same_model(beside: Beside, settings: Settings) -> tuple[Comparison, ...]:
    """Return the rows; the pooled one says so where it is the federated model by construction.

    Σₛ (nₛ/n)(w - η gₛ/nₛ) = w - η (Σₛ gₛ)/n: where a round is one step on all records, with nₛ the
    declared sizes, n their sum and gₛ a site's sum of gradients, the mean of the sites' steps is
    the step on all records together. Adam's steps are no such sum.
    """
    training, baselines = settings.training, settings.baselines
    federated, pooled = baselines.federated, baselines.pooled
    one = (
        settings.strategy.target in AVERAGING
        and training.local_steps == 1
        and training.optimizer is not LocalOptimizer.ADAM
        and training.batch_size == "full"
        and (federated.rounds, federated.learning_rate) == (pooled.rounds, pooled.learning_rate)
        and "federated_no_privacy" in {row.key for row in beside.rows}
        and not beside.notes  # a baseline that ended early took fewer rounds
    )
    return tuple(
        replace(row, same_as="federated_no_privacy")
        if one and row.key == "pooled_no_privacy"
        else row
        for row in beside.rows
    )

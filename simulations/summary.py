"""From the end of a run to results.json and the final weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from server.rounds import RunPlan, State
from simulations.comparison import Beside
from simulations.evaluation import calibrations, constant, measure, predict
from simulations.experiment import Experiment, noise_seed
from tacit import __version__
from tacit.models.architecture import head_of
from tacit.models.trainable import load_trainable, sha256_of
from tacit.models.weights import save_weights
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.events import Event, GaussianSteps, Relation
from tacit.runs.directory import MODEL
from tacit.runs.results import (
    Adversary,
    Comparison,
    DomainSummary,
    Guarantee,
    Mechanism,
    ModelSummary,
    Privacy,
    ReportedAccountant,
    Results,
    Sampling,
    SiteSpending,
    Timing,
)
from tacit.settings import RecordPrivacy, Settings

REPORTED = ReportedAccountant.PLD
AVERAGING = frozenset(
    f"flwr.serverapp.strategy.{name}"
    for name in ("FedAvg", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad")
)
"""Strategies that see the replies only in their mean by declared size."""


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
        What each site's ledger says was charged: the ε that is reported follows from this and
        not from the plan.
    """
    settings, card = experiment.settings, experiment.card
    module = experiment.shared.module
    load_trainable(module, state.weights)
    predicted = predict(module, experiment.data, card, experiment.compute.device)
    measured = measure(predicted, experiment.data, card)
    digest = sha256_of(state.weights)
    save_weights(
        path / MODEL,
        state.weights,
        {
            "format": "tacit/trained/1",
            "weights_sha256": digest,
            "belongs_to": experiment.model_sha256,
            "architecture": {
                "_target_": settings.model.architecture.target,
                **settings.model.architecture.options,
            },
            "train": settings.model.train.value,
            "pretraining": experiment.shared.pretraining,
            "load": "tacit.models.weights.load_weights, then tacit.models.trainable.load_trainable "
            "on a model of this architecture, pretraining and seed",
            "seed": settings.seed,
        },
    )
    return Results(
        version=__version__,
        experiment=settings.name,
        seed=settings.seed,
        rounds=state.round,
        planned_rounds=plan.rounds,
        weights_sha256=digest,
        simulation=True,
        domain=DomainSummary(
            name=card.name,
            title=card.title,
            description=card.description,
            unit_protected=card.unit_protected,
            not_protected=card.not_protected,
            public_pool=card.public_pool,
            synthetic=card.synthetic,
        ),
        model=ModelSummary(
            name=settings.model.architecture.name,
            train=settings.model.train.value,
            parameters_trained=sum(p.numel() for p in module.parameters() if p.requires_grad),
            parameters_total=sum(p.numel() for p in module.parameters()),
            parameters_head=sum(p.numel() for p in head_of(module).parameters()),
            pretraining=experiment.shared.pretraining,
        ),
        strategy=settings.strategy.name,
        evaluation=measured.evaluation,
        baselines={
            "mean_target" if card.target else "majority_class": constant(experiment.data, card)
        },
        comparison=mark_same_model(beside, settings),
        single_models=beside.single_models,
        calibration=calibrations(predicted, experiment.data, card),
        test_records={site: len(held.test) for site, held in experiment.data.items()},
        privacy=_privacy(settings, plan, spent),
        timing=timing,
        notes=notes,
    )


def mark_same_model(beside: Beside, settings: Settings) -> tuple[Comparison, ...]:
    """Return the rows; the pooled one says so where it is the federated model by construction.

    Σₛ (nₛ/n)(w - η gₛ/nₛ) = w - η (Σₛ gₛ)/n: where a round is one step on all records, with nₛ the
    declared sizes, n their sum and gₛ a site's sum of gradients, the mean of the sites' steps is
    the step on all records together.
    """
    training, baselines = settings.training, settings.baselines
    federated, pooled = baselines.federated, baselines.pooled
    one = (
        settings.strategy.target in AVERAGING
        and training.local_steps == 1
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


def _privacy(
    settings: Settings, plan: RunPlan, spent: Mapping[str, Sequence[Event]]
) -> Privacy | None:
    chosen = settings.privacy
    if not isinstance(chosen, RecordPrivacy):
        return None
    sites = {}
    for site, events in spent.items():
        event = plan.sites[site].event()
        steps = sum(e.steps for e in events if isinstance(e, GaussianSteps))
        if not isinstance(event, GaussianSteps):
            continue
        sites[site] = SiteSpending(
            epsilon=epsilon(events, chosen.delta, Accountant(REPORTED)),
            epsilon_budget=chosen.epsilon,
            steps=steps,
            sampling_rate=event.sampling_rate,
            noise_multiplier=event.noise_multiplier,
            clipping_norm=event.clipping_norm,
        )
    guarantee = Guarantee(
        unit=chosen.unit,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=chosen.delta,
        adversary=Adversary.SERVER_AND_OTHER_SITES,
        honest_sites=1,
        mechanism=Mechanism.GAUSSIAN_AT_SITE,
        sites=sites,
    )
    return Privacy(
        accountant=REPORTED,
        sampling=Sampling.POISSON,
        simulated_noise=noise_seed(settings) is not None,
        guarantees=(guarantee,),
    )

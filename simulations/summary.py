"""From the end of a run to results.json and the final weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from server.rounds import RunPlan, State
from simulations.comparison import Beside
from simulations.evaluation import calibrations, majority_class, measure, predict
from simulations.experiment import Experiment, noise_seed
from tacit import __version__
from tacit.models.trainable import load_trainable, sha256_of
from tacit.models.weights import save_weights
from tacit.privacy.accounting import Accountant as Theorem
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import Event, GaussianSteps, Relation
from tacit.runs.directory import MODEL
from tacit.runs.results import (
    Accountant,
    Adversary,
    DomainSummary,
    Guarantee,
    Mechanism,
    ModelSummary,
    Privacy,
    Results,
    Sampling,
    SiteSpending,
    Timing,
)
from tacit.runs.summary import MAJORITY
from tacit.settings import RecordPrivacy, Settings


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
    predicted = predict(module, experiment.data, experiment.compute.device)
    measured = measure(predicted, experiment.data, card.metric)
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
            pretraining=experiment.shared.pretraining,
        ),
        strategy=settings.strategy.name,
        evaluation=measured.evaluation,
        baselines={MAJORITY: majority_class(experiment.data, card.metric)},
        comparison=beside.rows,
        single_models=beside.single_models,
        calibration=calibrations(predicted, experiment.data),
        test_records={site: len(held.test) for site, held in experiment.data.items()},
        privacy=_privacy(settings, plan, spent),
        timing=timing,
        notes=notes,
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
            epsilon=epsilon(events, chosen.delta, Theorem.PLD),
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
        accountant=Accountant.PLD,
        sampling=Sampling.POISSON,
        simulated_noise=noise_seed(settings) is not None,
        guarantees=(guarantee,),
    )

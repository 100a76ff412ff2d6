"""What a run leaves: the final model, and the summary from which reports are made."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from server.run_plan import RunPlan, State
from tacit import __version__
from tacit.experiment import Prepared
from tacit.finished.model import described
from tacit.models.architecture import head_of
from tacit.models.trainable import sha256_of
from tacit.models.weights import save_weights
from tacit.plans import LEAST_SITES
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.accounting_change import changed_epsilon
from tacit.privacy.accounting_group import group_epsilon
from tacit.privacy.events import Event, NoisedSteps, Unit
from tacit.privacy.policy import steps_of, with_steps
from tacit.privacy_settings import ClientPrivacy, NoPrivacy, in_shares, persons_of, protected
from tacit.runs.directory import MODEL
from tacit.runs.evaluation import Evaluation
from tacit.runs.results import (
    Adversary,
    DomainSummary,
    Guarantee,
    Mechanism,
    ModelSummary,
    Privacy,
    ReportedAccountant,
    Results,
    Sampling,
    SecureSum,
    SiteSpending,
    Timing,
)
from tacit.secagg.assumptions import colluders_borne

REPORTED = ReportedAccountant.PLD


def summarise(
    prepared: Prepared,
    plan: RunPlan,
    state: State,
    spent: Mapping[str, Sequence[Event]],
    evaluation: Evaluation,
    timing: Timing,
    notes: tuple[str, ...],
    path: Path,
    *,
    simulation: bool,
    simulated_noise: bool,
) -> Results:
    """Write the final model to the run directory and summarise the run.

    Parameters
    ----------
    spent
        What each site was charged: the ε that is reported follows from this and not from the plan.
    evaluation
        What the model is worth, as far as anybody may know.
    simulation
        Whether one machine held every site's data.
    simulated_noise
        Whether somebody could recompute the noise.
    """
    settings, card = prepared.settings, prepared.card
    module = prepared.shared.module
    digest = sha256_of(state.weights)
    persons = persons_of(settings.privacy) is not None
    save_weights(
        path / MODEL,
        state.weights,
        {
            "format": "tacit/trained/1",
            "weights_sha256": digest,
            "belongs_to": prepared.model_sha256,
            "architecture": {
                "_target_": settings.model.architecture.target,
                **settings.model.architecture.options,
            },
            "train": settings.model.train.value,
            "pretraining": prepared.shared.pretraining,
            "load": "tacit.finished.model.load_run, of the folder that holds this file",
            "seed": settings.seed,
            **described(prepared),
        },
    )
    return Results(
        version=__version__,
        experiment=settings.name,
        seed=settings.seed,
        rounds=state.round,
        planned_rounds=plan.rounds,
        weights_sha256=digest,
        simulation=simulation,
        domain=DomainSummary(
            name=card.name,
            title=card.title,
            description=card.description,
            unit_protected=card.person_protected if persons else card.unit_protected,
            not_protected=card.person_not_protected if persons else card.not_protected,
            public_pool=card.public_pool,
            synthetic=card.synthetic,
            row=card.row,
            overlap=card.overlap,
        ),
        model=ModelSummary(
            name=settings.model.architecture.name,
            train=settings.model.train.value,
            parameters_trained=sum(p.numel() for p in module.parameters() if p.requires_grad),
            parameters_total=sum(p.numel() for p in module.parameters()),
            parameters_head=sum(p.numel() for p in head_of(module).parameters()),
            pretraining=prepared.shared.pretraining,
        ),
        strategy=settings.strategy.name,
        evaluation=evaluation,
        baselines={},
        comparison=(),
        calibration=None,
        test_records={},
        privacy=_privacy(prepared, plan, spent, simulated_noise=simulated_noise),
        timing=timing,
        notes=notes,
        secure_sum=_secure_sum(plan),
    )


def _secure_sum(plan: RunPlan) -> SecureSum | None:
    """Say that only sums were seen, and with how many; None where each site's part was."""
    if plan.summed is None:
        return None
    part = next(iter(plan.summed.values())).part
    sites = plan.cohort or len(plan.summed)
    # As if one could be missing, whatever the fewest are; of three, nobody may.
    corrupt = colluders_borne(sites, sites - 1) if sites > LEAST_SITES else 0
    return SecureSum(sites, plan.min_replies, 32 if part is None else part.bits, corrupt)


def _privacy(
    prepared: Prepared,
    plan: RunPlan,
    spent: Mapping[str, Sequence[Event]],
    *,
    simulated_noise: bool,
) -> Privacy | None:
    chosen = prepared.settings.privacy
    if isinstance(chosen, NoPrivacy):
        return None
    spending = {
        site: _spending(plan, site, event, events, chosen.delta)
        for site, events in spent.items()
        if isinstance(event := plan.sites[site].event(), NoisedSteps)
    }
    unit, relation = protected(chosen)
    overlap = prepared.card.overlap if unit is Unit.RECORD else 1
    guarantee = Guarantee(
        unit=unit,
        relation=relation,
        delta=chosen.delta,
        adversary=Adversary.SERVER_AND_OTHER_SITES,
        honest_sites=1,
        mechanism=Mechanism.GAUSSIAN_AT_SITE,
        sites=spending,
        persons=persons_of(chosen),
        epsilon_changed=_changed(spent.values(), chosen.delta) if unit is Unit.PERSON else None,
        epsilon_overlap=_overlapping(spent.values(), chosen.delta, overlap),
    )
    guarantees: tuple[Guarantee, ...] = (guarantee,)
    accountant = REPORTED
    if isinstance(chosen, ClientPrivacy):
        guarantee = replace(
            guarantee,
            adversary=Adversary.OTHER_SITES_AND_MODEL_HOLDERS,
            mechanism=Mechanism.GAUSSIAN_AT_SERVER,
            clipping_quantile=chosen.clipping_quantile,
            update_noise=_update_noise(plan) if chosen.clipping_quantile is not None else None,
        )
        guarantees = (guarantee,)
    if in_shares(chosen):
        guarantees = _of_shares(guarantee, plan, chosen.colluders, overlap)
        accountant = ReportedAccountant.RDP
    return Privacy(
        accountant=accountant,
        sampling=Sampling.POISSON,
        simulated_noise=simulated_noise,
        guarantees=guarantees,
    )


def _update_noise(plan: RunPlan) -> float:
    """Return the noise on an update, which is of the norm of update and count together."""
    return next(iter(plan.sites.values())).unit_norm


def _changed(spent: Iterable[Sequence[Event]], delta: float) -> float | None:
    """Return the largest ε of a changed unit at any site; None where one of them is not known."""
    found = [changed_epsilon(events, delta) for events in {tuple(events) for events in spent}]
    known = [each for each in found if each is not None]
    return max(known, default=0.0) if len(known) == len(found) else None


def _overlapping(spent: Iterable[Sequence[Event]], delta: float, overlap: int) -> float | None:
    """Return the largest ε of a measurement at any site; None where it lies in one row alone."""
    if overlap == 1:
        return None
    known = {tuple(events) for events in spent}
    return max((group_epsilon(events, delta, overlap) for events in known), default=0.0)


def _spending(
    plan: RunPlan, site: str, event: NoisedSteps, events: Sequence[Event], delta: float
) -> SiteSpending:
    return SiteSpending(
        epsilon=epsilon(events, delta, Accountant(REPORTED)),
        epsilon_budget=plan.epsilons[site],
        steps=sum(steps_of(e) for e in events),
        sampling_rate=event.sampling_rate,
        noise_multiplier=event.noise_multiplier,
        clipping_norm=plan.sites[site].clipping_norm or 0.0,
    )


def _of_shares(
    guarantee: Guarantee, plan: RunPlan, colluders: int, overlap: int
) -> tuple[Guarantee, ...]:
    """Return what holds with the honest majority, and what each site's own share does alone.

    Of all sites that a round asks, not of those that happen to be in its sum: the coordinator may
    leave honest ones out, down to the fewest.
    """
    honest = (plan.cohort or len(plan.summed or plan.sites)) - colluders
    own = replace(
        guarantee,
        mechanism=Mechanism.SKELLAM_IN_SHARES,
        adversary=Adversary.SERVER_AND_OTHER_SITES,
    )
    together = replace(own, adversary=Adversary.SERVER_AND_COLLUDERS, honest_sites=honest)
    alone = {}
    for site, spent in guarantee.sites.items():
        event = plan.sites[site].event_alone()
        if not isinstance(event, NoisedSteps):
            continue
        events = with_steps(event, spent.steps)
        alone[site] = replace(
            spent,
            epsilon=epsilon(events, guarantee.delta),
            epsilon_budget=math.inf,
            noise_multiplier=event.noise_multiplier,
        )
    spent_alone = [
        with_steps(plan.sites[site].event_alone(), spent.steps) for site, spent in alone.items()
    ]
    changed = None
    if guarantee.unit is Unit.PERSON:
        changed = _changed(spent_alone, guarantee.delta)
    overlapping = _overlapping(spent_alone, guarantee.delta, overlap)
    own = replace(own, sites=alone, epsilon_changed=changed, epsilon_overlap=overlapping)
    return together, own

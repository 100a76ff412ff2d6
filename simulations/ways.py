"""Which learner an experiment's settings ask for."""

from collections.abc import Callable
from contextlib import ExitStack, closing

from simulations.chunks import InChunks, memory_of
from simulations.experiment import Arm, Experiment
from simulations.learners import Faster, Learner, OneByOne
from simulations.stacked import stacked_learner
from simulations.workers import Workers
from strategies.mean import AVERAGING
from tacit.plans import sums_securely
from tacit.privacy_settings import ClientPrivacy, RecordPrivacy, SharedNoisePrivacy
from tacit.settings import EngineKind


def learner_of(
    arm: Arm, experiment: Experiment, stack: ExitStack, on_choice: Callable[[EngineKind], None]
) -> Learner:
    """Return the learner of a training.

    Parameters
    ----------
    arm, experiment
        What trains.
    stack
        Ends what is begun here.
    on_choice
        Called with the faster engine, where one is looked for.
    """
    engine = experiment.settings.engine
    if engine.workers > 1 and not arm.key:
        workers = Workers(experiment.settings, means=_averages(experiment))
        return stack.enter_context(closing(workers))
    learner = local_learner(arm, experiment, means=False)
    if (engine.chosen or engine.kind) is not EngineKind.AUTO or isinstance(learner, OneByOne):
        return learner
    ways = {EngineKind.STACKED: learner, EngineKind.LOOP: _one_by_one(experiment)}
    return Faster(ways, on_choice)


def local_learner(arm: Arm, experiment: Experiment, *, means: bool) -> Learner:
    """Return the learner that trains in this process.

    Parameters
    ----------
    means
        Whether only means of cohorts are wanted.
    """
    engine = experiment.settings.engine
    # With shared noise every row's gradient is rounded by itself.
    alone = isinstance(arm.privacy, SharedNoisePrivacy)
    if alone or (engine.chosen or engine.kind) is EngineKind.LOOP:
        return _one_by_one(experiment)
    return _stacked(arm, experiment, means=means)


def _one_by_one(experiment: Experiment) -> Learner:
    return OneByOne(experiment.shared.module, experiment.compute)


def _stacked(arm: Arm, experiment: Experiment, *, means: bool) -> Learner:
    inputs = tuple(next(iter(arm.rows.values())).features.shape[1:])
    private = isinstance(arm.privacy, RecordPrivacy)
    engine, compute = experiment.settings.engine, experiment.compute
    learner = stacked_learner(
        experiment.shared.module, inputs, compute, experiment.features, private=private
    )
    if isinstance(learner, OneByOne):
        return learner
    return InChunks(
        learner,
        engine.chunk,
        memory_of(compute.device, engine.workers),
        arm.declared_sizes if _averages(experiment) else None,
        always=means,
    )


def _averages(experiment: Experiment) -> bool:
    """Tell whether means of updates will do: not where each is clipped, or masked for a sum."""
    settings = experiment.settings
    each = isinstance(settings.privacy, ClientPrivacy | SharedNoisePrivacy) or sums_securely(
        settings, len(experiment.declared_sizes), deployed=False
    )
    return settings.strategy.target in AVERAGING and not each

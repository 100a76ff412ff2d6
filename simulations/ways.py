"""Which learner an experiment's settings ask for."""

from collections.abc import Callable
from contextlib import ExitStack

from simulations.chunks import InChunks, memory_of
from simulations.experiment import Arm, Experiment
from simulations.learners import Faster, Learner, OneByOne
from simulations.stacked import stacked_learner
from simulations.workers import Workers
from strategies.mean import AVERAGING
from tacit.settings import EngineKind, RecordPrivacy


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
        return stack.enter_context(Workers(experiment.settings, means=_averages(experiment)))
    kind = engine.chosen or engine.kind
    if kind is EngineKind.AUTO:
        ways = {
            EngineKind.STACKED: _stacked(arm, experiment, means=False),
            EngineKind.LOOP: _one_by_one(experiment),
        }
        if not isinstance(ways[EngineKind.STACKED], OneByOne):
            return Faster(ways, on_choice)
    return local_learner(arm, experiment, means=False)


def local_learner(arm: Arm, experiment: Experiment, *, means: bool) -> Learner:
    """Return the learner that trains in this process.

    Parameters
    ----------
    means
        Whether only means of cohorts are wanted.
    """
    engine = experiment.settings.engine
    if (engine.chosen or engine.kind) is EngineKind.LOOP:
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
    return experiment.settings.strategy.target in AVERAGING

"""A run's real way of training, on rows that the audit makes: nothing is sent and nothing spent.

What a site would compute and release for a round is computed by the same code as in the run, with
the run's model, engine and plan, in the audit's own process. Rows are made up; what a probe changes
of the plan (less noise, another C) it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audits.stranger import Stranger
from client.task import Task, released
from server.run_plan import RoundOutcome, RunPlan, State
from simulations.cohort import in_process, streams_of
from simulations.experiment import Arm, Experiment, main_arm, plan_of, prepare
from simulations.training import train_out
from simulations.ways import local_learner
from tacit.domains.domain import Examples, SiteData
from tacit.learning.per_example import usable_losses
from tacit.learning.plan import RoundPlan
from tacit.messages import SUM
from tacit.models.trainable import Weights, load_trainable, trainable_weights
from tacit.privacy.randomness import Streams
from tacit.privacy_settings import NoiseSource, NoPrivacy

Release = Mapping[str, NDArray[Any]]
"""What one site would send for one round, as real numbers: one array for each trained tensor."""


class Bench:
    """The run's model, plan and engine, ready to train on made-up rows.

    Parameters
    ----------
    stranger
        The run.

    Attributes
    ----------
    plan
        As the run's coordinator would make it from the configuration.
    start
        The run's first weights.
    """

    def __init__(self, stranger: Stranger) -> None:
        self._experiment: Experiment = prepare(stranger.settings)
        self._arm: Arm = main_arm(self._experiment)
        self.plan: RunPlan = plan_of(self._arm, self._experiment, stranger.run)
        self.start: Weights = trainable_weights(self._experiment.shared.module)

    @property
    def module(self) -> nn.Module:
        """The run's model with its first weights, on the run's device."""
        module = self._experiment.shared.module
        load_trainable(module, self.start)
        return module

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors that train, by name."""
        return {name: array.shape for name, array in self.start.items()}

    @property
    def data(self) -> Mapping[str, SiteData]:
        """What each site holds."""
        return self._experiment.data

    def streams(self, site: str) -> Streams:
        """Return where a site's noise and coins come from, or the coordinator's noise."""
        return streams_of(self._arm, self._experiment, site)

    def rows(self, count: int, seed: int, *, spread: float = 1.0, each: int = 1) -> Examples:
        """Make usable rows [count, ...] with normal features and any class or number.

        Every `each` of them are of one person, which is nothing where a record is the unit.
        """
        random = torch.Generator().manual_seed(seed)
        some = next(iter(self._arm.rows.values()))
        features = spread * torch.randn(count, *some.features.shape[1:], generator=random)
        if some.targets.dim() == 2:
            targets = torch.randint(0, 2, (count, some.targets.shape[1]), generator=random)
        elif some.targets.is_floating_point():
            targets = 2 * torch.rand(count, generator=random) - 1
        else:
            classes = self._experiment.card.outputs
            targets = torch.randint(0, classes, (count,), generator=random)
        return Examples(features, targets.to(some.targets.dtype), torch.arange(count) // each)

    def useless(self, count: int) -> Examples:
        """Make rows whose gradient is zero: their target is no class, or no number."""
        rows = self.rows(count, 0)
        wrong = float("nan") if rows.targets.is_floating_point() else -1
        return Examples(rows.features, torch.full_like(rows.targets, wrong), rows.persons)

    def releases(
        self, data: Mapping[str, Examples], plans: Mapping[str, RoundPlan], rounds: Sequence[int]
    ) -> dict[str, list[Release]]:
        """Return what sites would send, round by round, all from the run's first weights.

        Parameters
        ----------
        data, plans
            Rows and plan of each site: those of a call train together, as in the run.
        rounds
            Numbers of the rounds: streams of coins and noise are theirs.
        """
        found: dict[str, list[Release]] = {site: [] for site in data}
        for task, sent in self.sent(data, plans, rounds):
            found[task.site].append(self._numbers(task, sent))
        return found

    def sent(
        self, data: Mapping[str, Examples], plans: Mapping[str, RoundPlan], rounds: Sequence[int]
    ) -> Iterator[tuple[Task, Weights]]:
        """Yield what sites would send as it is, before any masks; parameters as for `releases`."""
        # What a frozen part makes of a site's rows is kept by the site's name: of these alone.
        fresh = replace(self._experiment, features={})
        learner = local_learner(self._arm, fresh, means=False)
        for number in rounds:
            tasks = [
                Task(
                    site,
                    rows,
                    streams_of(self._arm, self._experiment, site),
                    number,
                    plans[site],
                    self.start,
                )
                for site, rows in data.items()
            ]
            learnt = learner.learn(tasks, [0] * len(tasks))
            for task, weights in zip(tasks, learnt, strict=True):
                yield task, released(task, weights)

    def trained(self, added: Mapping[str, Examples], noise_seed: int | None = None) -> Weights:
        """Train the whole run again by its own rounds, and return the last weights.

        Sizes, rates, divisors and noise are those of the run's plan, however many rows are added.

        Parameters
        ----------
        added
            Rows that sites hold beside their own.
        noise_seed
            In place of the run's, where its noise is seeded; None leaves it as it is.
        """
        arm, settings = self._arm, self._experiment.settings
        # Where the run's own rows name nobody, nobody is named.
        longer = {site: Examples.together([arm.rows[site], own]) for site, own in added.items()}
        arm = replace(arm, rows={**arm.rows, **longer})
        privacy = settings.privacy
        if not isinstance(privacy, NoPrivacy) and privacy.noise_seed is not NoiseSource.SYSTEM:
            seed = privacy.noise_seed if noise_seed is None else noise_seed
            privacy = replace(privacy, noise_seed=seed)
        # Other processes would read their rows themselves, and these are nowhere to be read.
        engine = replace(settings.engine, workers=1)
        settings = replace(settings, privacy=privacy, engine=engine)
        experiment = replace(self._experiment, settings=settings, features={})
        weights = [self.start]

        def keep(state: State, outcome: RoundOutcome) -> None:
            weights[:] = [state.weights]

        start = State(0, self.start, model=experiment.model_sha256)
        with (
            TemporaryDirectory(prefix="tacit-audit-") as folder,
            in_process(arm, experiment, Path(folder)) as cohort,
        ):
            train_out(arm, experiment, self.plan, start, cohort, keep)
        return weights[0]

    def losses(self, weights: Weights, rows: Examples) -> NDArray[np.float64]:
        """Return the loss [n] that a model has on each row."""
        module, device = self._experiment.shared.module, self._experiment.compute.device
        load_trainable(module, weights)
        module.eval()
        with torch.no_grad():
            found, _ = usable_losses(
                module, rows.features.to(device), rows.targets.to(device), torch.float32
            )
        return found.double().cpu().numpy()

    def _numbers(self, task: Task, sent: Weights) -> Release:
        """Undo the step size and the divisor: what is left is the noised sum of clipped vectors."""
        plan = task.plan
        if plan.part is None:
            scale = 1.0 if plan.clips_update else -plan.divisor / plan.learning_rate
            return {
                name: scale * (array.astype(np.float64) - self.start[name])
                for name, array in sent.items()
            }
        residues: NDArray[Any] = sent[SUM]
        flat = plan.part.grid().values(residues).numpy()
        if plan.sums_gradients:
            flat = flat * plan.divisor / plan.part.weight
        elif plan.clips_update:
            flat = flat[: sum(array.size for array in self.start.values())] * plan.clip
        else:
            flat = flat * -plan.divisor / plan.learning_rate / plan.part.weight
        found, place = {}, 0
        for name, array in self.start.items():
            found[name] = flat[place : place + array.size].reshape(array.shape)
            place += array.size
        return found


def flat(release: Release) -> NDArray[np.float64]:
    """Return a release as one vector [d]."""
    return np.concatenate([np.ravel(array) for array in release.values()])

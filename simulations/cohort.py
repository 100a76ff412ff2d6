"""The sites of a training, however they are reached: here, in this process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.app import Context
from flwr.serverapp import Grid

from client.allowed import Allowed
from client.app import build_client_app
from client.site import Site, seeded_streams, system_streams
from server.rounds import RunPlan
from simulations.experiment import Arm, Experiment, noise_seed
from simulations.flower import identity_kept
from simulations.grid import LocalGrid, loop_engine
from simulations.stacked import stacked_engine
from tacit.privacy.events import Event, Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Policy
from tacit.settings import EngineKind, RecordPrivacy


class Cohort(Protocol):
    """The sites of a training: a grid that reaches them, and what they were charged."""

    @property
    def grid(self) -> Grid:
        """Reaches the sites."""
        ...

    @property
    def names(self) -> Mapping[int, str]:
        """Name of the site behind each node id."""
        ...

    @property
    def note(self) -> str | None:
        """What a reader of the results should know of it."""
        ...

    def spent(self, plan: RunPlan, rounds: int) -> Mapping[str, Sequence[Event]]:
        """Give what each site was charged once `rounds` rounds of `plan` are done."""
        ...


Reach = Callable[[Arm, Experiment, Path], AbstractContextManager[Cohort]]
"""Reaches the sites of a training, whose ledgers may lie in a folder."""


@dataclass(frozen=True, slots=True)
class LocalCohort:
    """Sites of this process, with their ledgers."""

    grid: LocalGrid
    names: Mapping[int, str]
    ledgers: Mapping[str, Ledger]
    note: None = None

    def spent(self, plan: RunPlan, rounds: int) -> Mapping[str, Sequence[Event]]:
        """Give what each ledger says was charged."""
        return {site: ledger.spent_events(plan.run) for site, ledger in self.ledgers.items()}


@contextmanager
def in_process(arm: Arm, experiment: Experiment, folder: Path) -> Iterator[LocalCohort]:
    """Open each site's ledger in `folder` and make the sites; close them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(identity_kept())
        ledgers = {
            site: stack.enter_context(open_ledger(arm, experiment, site, folder))
            for site in sorted(arm.rows)
        }
        sites = {site: make_site(arm, experiment, site, ledger) for site, ledger in ledgers.items()}

        def site_of(context: Context) -> Site:
            return sites[str(context.node_config["site"])]

        app = build_client_app(site_of)
        engine = (
            loop_engine(app)
            if experiment.settings.engine.kind is EngineKind.LOOP
            else stacked_engine(app, sites, private=isinstance(arm.privacy, RecordPrivacy))
        )
        grid = LocalGrid(sites, engine)
        yield LocalCohort(grid, grid.names, ledgers)


def open_ledger(arm: Arm, experiment: Experiment, site: str, folder: Path) -> Ledger:
    """Open the ledger that a simulated site keeps for one run."""
    return Ledger.open(
        folder / f"{site}.sqlite",
        data_set=f"{experiment.card.name}/{site}",
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=arm.privacy.delta if isinstance(arm.privacy, RecordPrivacy) else 1e-6,
    )


def make_site(arm: Arm, experiment: Experiment, site: str, ledger: Ledger) -> Site:
    """Make a simulated site."""
    seed = noise_seed(experiment.settings)
    label = f"{arm.key}/{site}" if arm.key else site
    return Site(
        name=site,
        data=arm.rows[site],
        model=experiment.shared.module,
        allowed=Allowed(experiment.card.name, experiment.model_sha256),
        ledger=ledger,
        policy=site_policy(arm, predictable=seed is not None),
        streams=system_streams() if seed is None else seeded_streams(seed, label),
        predictable=seed is not None,
        compute=experiment.compute,
    )


def site_policy(arm: Arm, *, predictable: bool) -> Policy:
    """Return what a simulated site allows: just this run's budget, from a fresh ledger."""
    if isinstance(arm.privacy, RecordPrivacy):
        return Policy(
            epsilon_per_run=arm.privacy.epsilon,
            lifetime_epsilon=arm.privacy.epsilon,
            delta_per_run=arm.privacy.delta,
            test_data=predictable,
        )
    return Policy(
        epsilon_per_run=1.0,
        lifetime_epsilon=1.0,
        delta_per_run=1e-6,
        require_privacy=False,
        test_data=True,
    )

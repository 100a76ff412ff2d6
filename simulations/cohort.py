"""The sites of a training, however they are reached: here, in this process."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar

from flwr.serverapp import Grid

from client.allowed import Allowed
from client.app import build_client_app
from client.secure import SecureSums
from client.site import Site, seeded_streams, system_streams
from server.run_plan import RunPlan
from simulations.availability import lossy, without
from simulations.engine import CohortEngine, Together
from simulations.experiment import Arm, Experiment, noise_seed, secures
from simulations.flower import identity_kept
from simulations.grid import LocalGrid, loop_engine
from simulations.ways import learner_of
from tacit.privacy.book import Fixed
from tacit.privacy.cohort_book import FILE
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.events import Event
from tacit.privacy.ledger import Ledger
from tacit.privacy.ledger_page import Page
from tacit.privacy.policy import Policy
from tacit.privacy.randomness import Streams
from tacit.privacy.spending import Spending
from tacit.privacy_settings import NoPrivacy, protected
from tacit.settings import EngineKind
from tacit.trust.keys import make_identity, public_bytes

T = TypeVar("T")


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
    def identities(self) -> Mapping[str, bytes]:
        """Public key of each site, where only their sum is seen."""
        ...

    @property
    def note(self) -> str | None:
        """What a reader of the results should know of it."""
        ...

    @property
    def faster(self) -> EngineKind | None:
        """Which engine was found faster in this process; None where none was looked for."""
        ...

    def spent(
        self, plan: RunPlan, rounds: int, sites: Collection[str] | None = None
    ) -> Mapping[str, Sequence[Event]]:
        """Give what each site was charged once `rounds` rounds of `plan` are done.

        Parameters
        ----------
        sites
            Which are asked; None for all.
        """
        ...


Reach = Callable[[Arm, Experiment, Path], AbstractContextManager[Cohort]]
"""Reaches the sites of a training, whose ledgers may lie in a folder."""


@dataclass(slots=True)
class Choice:
    """Which engine was found faster, once one was."""

    found: EngineKind | None = None

    def make(self, found: EngineKind) -> None:
        """Keep what was found."""
        self.found = found


@dataclass(frozen=True, slots=True)
class LocalCohort:
    """Sites of this process, with their ledgers."""

    grid: LocalGrid
    names: Mapping[int, str]
    ledgers: Mapping[str, Ledger | Page]
    together: Together
    choice: Choice
    identities: Mapping[str, bytes]
    note: None = None

    @property
    def faster(self) -> EngineKind | None:
        """What ``engine=auto`` has found."""
        return self.choice.found

    def spent(
        self, plan: RunPlan, rounds: int, sites: Collection[str] | None = None
    ) -> Mapping[str, Sequence[Event]]:
        """Give what each ledger says was charged."""
        chosen = self.ledgers if sites is None else sites
        return {site: self.ledgers[site].spent_events(plan.run) for site in chosen}

    def close_run(self, run: str) -> None:
        """End a run at every site: what it reserved and did not charge is free again."""
        with self.together():
            for ledger in self.ledgers.values():
                ledger.close_run(run)


@contextmanager
def in_process(
    arm: Arm, experiment: Experiment, folder: Path, missing: Collection[str] = ()
) -> Iterator[LocalCohort]:
    """Open the sites' ledgers in `folder` and make the sites; close them at the end.

    Sites of the names `missing` are in the plan and in no round: no request to train reaches them.

    By the loop each site does just what a deployed one does, with a ledger of its own; what trains
    together has one ledger.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(identity_kept())
        ledgers: Mapping[str, Ledger | Page]
        alone = experiment.settings.engine.kind in (EngineKind.LOOP, EngineKind.RAY)
        if alone:
            together: Together = nullcontext
            ledgers = {
                site: stack.enter_context(open_ledger(arm, experiment, site, folder))
                for site in sorted(arm.rows)
            }
        else:
            shared = CohortLedger.open(folder / FILE, fixed(arm, experiment, experiment.card.name))
            stack.enter_context(shared)
            together = shared.together
            ledgers = MadeWhenAsked(arm.rows, partial(Page, shared))
        identities, sums = secure_sums(arm.declared_sizes if secures(arm, experiment) else {})
        make = site_maker(arm, experiment, sums)
        sites = MadeWhenAsked(ledgers, lambda site: make(site, ledgers[site]))
        engine = loop_engine(
            build_client_app(lambda context: sites[str(context.node_config["site"])])
        )
        choice = Choice()
        if not alone:
            engine = CohortEngine(
                engine, sites, together, learner_of(arm, experiment, stack, choice.make)
            )
        if not arm.key and not experiment.settings.availability.perfect:
            engine = lossy(engine, experiment.settings.availability, experiment.settings.seed)
        grid = LocalGrid(sites, without(engine, missing) if missing else engine)
        yield LocalCohort(grid, grid.names, ledgers, together, choice, identities)


def secure_sums(sizes: Mapping[str, int]) -> tuple[Mapping[str, bytes], Mapping[str, SecureSums]]:
    """Give sites identities for as long as this process lives; return those and their sums."""
    keys = {site: make_identity() for site in sizes}
    identities = {site: public_bytes(key.public_key()) for site, key in keys.items()}
    return identities, {
        site: SecureSums(site, key, identities, sizes) for site, key in keys.items()
    }


class MadeWhenAsked(Mapping[str, T]):
    """Something for each site, made when it is looked up and kept nowhere."""

    def __init__(self, sites: Collection[str], make: Callable[[str], T]) -> None:
        self._sites = sites
        self._make = make

    def __getitem__(self, site: str) -> T:
        return self._make(site)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


def open_ledger(arm: Arm, experiment: Experiment, site: str, folder: Path) -> Ledger:
    """Open the ledger that a simulated site keeps for one run."""
    always = fixed(arm, experiment, f"{experiment.card.name}/{site}")
    return Ledger.open(
        folder / f"{site}.sqlite",
        data_set=always.data_set,
        unit=always.unit,
        relation=always.relation,
        delta=always.delta,
    )


def fixed(arm: Arm, experiment: Experiment, data_set: str) -> Fixed:
    """Return what a simulated ledger's first row says."""
    privacy = arm.privacy
    delta = 1e-6 if isinstance(privacy, NoPrivacy) else privacy.delta
    return Fixed(data_set, *protected(privacy), delta)


def make_site(arm: Arm, experiment: Experiment, site: str, ledger: Spending) -> Site:
    """Make a simulated site."""
    return site_maker(arm, experiment)(site, ledger)


def site_maker(
    arm: Arm, experiment: Experiment, sums: Mapping[str, SecureSums] = MappingProxyType({})
) -> Callable[[str, Spending], Site]:
    """Return what makes simulated sites; what is the same for all is made once."""
    predictable = noise_seed(experiment.settings) is not None
    allowed = Allowed(experiment.card.name, experiment.model_sha256, in_the_open=True)
    policy = site_policy(arm, predictable=predictable)

    def make(site: str, ledger: Spending) -> Site:
        return Site(
            name=site,
            data=arm.rows[site],
            model=experiment.shared.module,
            allowed=allowed,
            ledger=ledger,
            policy=policy,
            streams=streams_of(arm, experiment, site),
            predictable=predictable,
            compute=experiment.compute,
            sums=sums.get(site),
            canaries=arm.canaries,
        )

    return make


def streams_of(arm: Arm, experiment: Experiment, site: str) -> Streams:
    """Return where a simulated site's noise and coins come from."""
    seed = noise_seed(experiment.settings)
    if seed is None:
        return system_streams()
    return seeded_streams(seed, f"{arm.key}/{site}" if arm.key else site)


def site_policy(arm: Arm, *, predictable: bool) -> Policy:
    """Return what a simulated site allows: just this run's budget, from a fresh ledger."""
    if not isinstance(arm.privacy, NoPrivacy):
        return Policy(
            epsilon_per_run=arm.privacy.epsilon,
            lifetime_epsilon=arm.privacy.epsilon,
            delta_per_run=arm.privacy.delta,
            test_data=predictable,
            epsilon_alone=math.inf,
        )
    return Policy(
        epsilon_per_run=1.0,
        lifetime_epsilon=1.0,
        delta_per_run=1e-6,
        require_privacy=False,
        test_data=True,
    )

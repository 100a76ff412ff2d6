"""Tacit as a Flower App: the same experiment on a stock SuperLink, or in Flower's own simulation.

``flwr run .`` starts `server_app` beside the SuperLink and `client_app` at every node. A node is
the site that its node configuration names (``site="county"``), or else the one at its
``partition-id`` in the order of names. Data are those of the simulated domain, held by every node,
so this is a simulation too, over real connections: the coordinator writes the run directory, and
each site keeps its ledger beside it, in ``RUN-sites``, on its own machine.

The run's configuration takes ``settings``, words as tacit-simulate takes them, and ``nodes``, how
many nodes to wait for; the domain's sites that are there take part.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from client.app import build_client_app
from client.site import Site
from commands.compose import composed
from server.enrolment import enrol
from server.run_plan import RunPlan
from simulations.cohort import Cohort, make_site, open_ledger
from simulations.experiment import Arm, Experiment, main_arm, prepare
from simulations.progress import LiveProgress, final_table
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, RefusedError
from tacit.privacy.events import Event
from tacit.privacy.policy import Reason, in_rounds
from tacit.privacy_settings import in_shares
from tacit.runs import directory
from tacit.settings import SecureAggregation, Settings

PATIENCE: Final = 120.0
"""Seconds to wait for nodes."""

server_app = ServerApp()


@dataclass(frozen=True, slots=True)
class DistantCohort:
    """Sites behind Flower's own Grid; each keeps its ledger to itself."""

    grid: Grid
    names: Mapping[int, str]
    note: str = (
        "ε follows from what the coordinator asked of each site; the site's own ledger, which is "
        "the truth, is with the site"
    )
    faster: None = None
    identities: Mapping[str, bytes] = field(default_factory=dict)

    def spent(
        self, plan: RunPlan, rounds: int, sites: Collection[str] | None = None
    ) -> Mapping[str, Sequence[Event]]:
        """Give what each site charges when it is asked for every round: the most it can be."""
        return {
            site: in_rounds(plan.sites[site].event(), rounds)
            for site in (plan.sites if sites is None else sites)
        }


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the nodes, run the experiment with the sites that are there, and report."""
    settings, config = _settings(str(context.run_config["settings"]), context.run_id)
    names = enrol(grid, int(str(context.run_config["nodes"])), timeout=PATIENCE)

    @contextmanager
    def reach(arm: Arm, experiment: Experiment, folder: Path) -> Iterator[Cohort]:
        yield DistantCohort(grid, names)

    console = Console()
    with LiveProgress(console) as progress:
        results, path = simulate(settings, config, progress, reach, frozenset(names.values()))
    final_table(results, (path / directory.REPORT).resolve(), console)


def _settings(words: str, run: int) -> tuple[Settings, dict[str, Any]]:
    """Compose the run's configuration; the run directory carries Flower's number of the run."""
    config = composed(shlex.split(words))
    settings = read_settings(config)
    if settings.run.resume is not None:
        raise ConfigurationError("run.resume: Flower gives every run a new start; leave it out")
    privacy = settings.privacy
    if in_shares(privacy):
        raise ConfigurationError(
            f"privacy={privacy.kind}: shares of noise protect a site where only their sum is seen, "
            "and a SuperLink sees each: use privacy=record"
        )
    if settings.secure_aggregation is SecureAggregation.REQUIRED:
        raise ConfigurationError(
            "secure_aggregation=required: a SuperLink's nodes know no keys of each other; "
            "tacit-server and tacit-client have them from tacit-provision"
        )
    if settings.run.dir is None:
        path = Path("outputs") / settings.name / f"flower-{run}"
        settings = replace(settings, run=replace(settings.run, dir=str(path)))
    return settings, config


def _site_of(context: Context) -> Site:
    words, node = str(context.run_config["settings"]), context.node_config
    return _site(words, context.run_id, str(node.get("site", "")), node.get("partition-id"))


@cache
def _site(words: str, run: int, name: str, place: object) -> Site:
    """Make the site of a node, once for a run where Flower keeps the process."""
    settings, _ = _settings(words, run)
    return site_of_node(prepare(settings), Path(f"{settings.run.dir}-sites"), name, place)


def site_of_node(experiment: Experiment, folder: Path, name: str, place: object) -> Site:
    """Make the site of a node, with its ledger in a folder.

    Parameters
    ----------
    name
        The site's; '' for the one at `place` in the order of names.
    place
        The node's partition-id.

    Raises
    ------
    RefusedError
        There is no such site.
    """
    sites = list(experiment.data)
    if not name and isinstance(place, int) and place < len(sites):
        name = sites[place]
    if name not in sites:
        raise RefusedError(Reason.NOT_AVAILABLE, f"this node has no site: {name=}, {place=}")
    arm = main_arm(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    return make_site(arm, experiment, name, open_ledger(arm, experiment, name, folder))


client_app = build_client_app(_site_of)

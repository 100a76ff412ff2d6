"""The two ends of `benchmarks.large_update`: ``server BYTES WEIGHTS``, ``site BYTES WEIGHTS PORT``.

What a deployed run has of settings, data and calibration is made up; everything that an update
passes through is the deployed run's own.
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import nn

from client.allowed import Allowed
from client.app import build_client_app
from client.fleet import serve
from client.ledger_home import open_ledger
from client.site import Site, system_streams
from commands import entry
from commands.compose import composed
from server.checkpoint import load_checkpoint, save_checkpoint
from server.deployed_rounds import rounds_left
from server.deployed_settings import ServerSettings
from server.joining import Joining
from server.kept_plan import write_plan
from server.link import Link, superlink
from server.run_plan import RunPlan, State
from server.status import SiteStatus, Status, StatusBoard
from tacit.components import make
from tacit.configuration import read_settings
from tacit.domains.domain import Card, Domain, Examples
from tacit.errors import TacitError
from tacit.experiment import Prepared
from tacit.learning.local import Compute
from tacit.learning.plan import RoundPlan
from tacit.logs import set_up
from tacit.messages import Limits, Terms
from tacit.models.shared import SharedModel
from tacit.models.trainable import trainable_weights
from tacit.privacy.events import Relation, Unit
from tacit.privacy.policy import Policy
from tacit.runs.directory import CHECKPOINT, claim
from tacit.settings import Settings
from tacit.trust.bundle import load_server_bundle, load_site_bundle

SITE: Final = "county"
RUN: Final = "run"
MODEL: Final = "0" * 64
ROUNDS: Final = 2
DELTA: Final = 1e-6
PLAN: Final = RoundPlan(
    steps=1,
    sampling_rate=2.0**-30,
    divisor=1.0,
    # Weights that begin at zero spread by one after all rounds.
    learning_rate=ROUNDS**-0.5,
    clipping_norm=1.0,
    noise_multiplier=1.0,
)
HEARTBEAT: Final = 5.0

log = logging.getLogger(__name__)


class Large(nn.Module):
    """Weights of so many bytes in all."""

    def __init__(self, size: int, weights: int) -> None:
        super().__init__()
        self.head = nn.ParameterList(
            nn.Parameter(torch.zeros(size // 4 // weights)) for _ in range(weights)
        )


def mean_of(folder: Path) -> float:
    """Return the root of the mean square of the weights that the coordinator has kept."""
    _, state = load_checkpoint(folder / RUN / CHECKPOINT)
    if state.round != ROUNDS:
        raise TacitError(f"the run ended after round {state.round}")
    return float(torch.tensor(next(iter(state.weights.values()))).square().mean().sqrt())


def serve_sites(size: int, weights: int) -> None:
    """Be the coordinator for all rounds."""
    set_up("text", "coordinator")
    settings = read_settings(composed(["domain=hospitals", f"training.rounds={ROUNDS}"]))
    domain: Domain = make("domain", settings.domain)
    prepared = Prepared(
        settings,
        domain.card,
        domain.declared_sizes,
        domain.declared_sizes,
        SharedModel(Large(size, weights), None),
        MODEL,
        Compute(torch.device("cpu")),
        Path("cache"),
    )
    bundle = load_server_bundle(Path("trial/server"))
    with (
        claim(Path(RUN), resume=False) as own,
        superlink(
            host="127.0.0.1",
            port=0,
            certificate=bundle.certificate,
            key=bundle.key,
            nodes={member.name: member.node_key for member in bundle.roster.members},
            heartbeat=HEARTBEAT,
        ) as link,
    ):
        start = State(0, trainable_weights(prepared.shared.module), model=MODEL)
        save_checkpoint(own.path / CHECKPOINT, "large", start)
        del start
        log.info("sites at port %d", link.port)
        board = StatusBoard(
            Status("large", "large", ROUNDS, (SiteStatus(SITE),), started=time.time())
        )
        joining = _joining(settings, domain.card, link, board, own.path / "plan.json")
        served = ServerSettings(Path("trial/server"), wait=600.0)
        rounds_left(own, prepared, joining, served, board, identities={})
        joining.end("large")


def _joining(settings: Settings, card: Card, link: Link, board: StatusBoard, kept: Path) -> Joining:
    terms = Terms(card.name, MODEL, settings.strategy.name)

    def planner(limits: Mapping[str, Limits]) -> RunPlan:
        return RunPlan(
            "large", ROUNDS, terms, {SITE: PLAN}, {SITE: 100}, {SITE: 1.0}, DELTA, min_replies=1
        )

    return Joining(
        grid=link.grid,
        names=link.names,
        terms=terms,
        training=settings.training,
        privacy=settings.privacy,
        planner=planner,
        least=1,
        present=link.present,
        heard=board.heard,
        keep=partial(write_plan, kept),
    )


def be_site(size: int, weights: int, port: str) -> None:
    """Be the site until a signal ends the process."""
    set_up("text", SITE)
    folder = Path("trial/sites") / SITE
    bundle = load_site_bundle(folder)
    with open_ledger(
        folder / "ledger",
        SITE,
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=DELTA,
    ) as ledger:
        site = Site(
            name=SITE,
            data=Examples(torch.zeros(100, 1), torch.zeros(100, dtype=torch.int64)),
            model=Large(size, weights),
            allowed=Allowed("hospitals", MODEL),
            ledger=ledger,
            policy=Policy(epsilon_per_run=1.0, lifetime_epsilon=1.0, delta_per_run=1e-3),
            streams=system_streams(),
            predictable=False,
            compute=Compute(torch.device("cpu")),
        )
        serve(
            address=f"localhost:{port}",
            ca=bundle.ca,
            node_key=bundle.node_key,
            app=build_client_app(lambda context: site),
            name=SITE,
            stop=threading.Event(),
            on_state=lambda state: log.info("%s", state),
            heartbeat=HEARTBEAT,
        )


def _main(role: str, size: str, weights: str, *more: str) -> int:
    if role == "server":
        serve_sites(int(size), int(weights))
    else:
        be_site(int(size), int(weights), *more)
    return 0


if __name__ == "__main__":
    entry.run(lambda: _main(*sys.argv[1:]))

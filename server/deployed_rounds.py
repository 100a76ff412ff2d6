"""The rounds of a deployed run: sites come late, go and come back, and the run goes on."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from server.checkpoint import load_checkpoint, save_checkpoint
from server.deployed_settings import ServerSettings
from server.history import epsilon_after
from server.joining import Joining
from server.rounds import run_rounds
from server.run_plan import RoundOutcome, RunPlan, State
from server.secure import Secured
from server.status import Phase, StatusBoard
from strategies.build import build_strategy
from tacit.errors import TooFewSitesError
from tacit.experiment import Prepared
from tacit.privacy_settings import NoPrivacy
from tacit.runs import directory
from tacit.runs.directory import RunDirectory
from tacit.runs.results import Round

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a round is tried again."""


class Tries:
    """Says when a round that failed is tried again: ever later, as each try may cost a charge.

    Parameters
    ----------
    patience
        Seconds for which the same round may fail.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._round: int | None = None
        self._since = 0.0
        self._pause = FIRST_PAUSE

    def failed(self, number: int) -> float | None:
        """Return in how many seconds to try again, or None when a round has failed for too long."""
        now = time.monotonic()
        if number != self._round:
            self._round, self._since, self._pause = number, now, FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return self._pause if now - self._since <= self._patience else None


def rounds_left(
    own: RunDirectory,
    prepared: Prepared,
    joining: Joining,
    settings: ServerSettings,
    board: StatusBoard,
    identities: Mapping[str, bytes],
) -> tuple[State, list[str]]:
    """Do the rounds that are left; when too many sites are lost, wait for them and try again.

    Where the run stands, the checkpoint says: nobody else holds those weights for its whole length.

    Parameters
    ----------
    identities
        The sites' public keys, for secure sums.

    Raises
    ------
    TooFewSitesError
        Too few sites came, or no round succeeded, for as long as the coordinator waits.
    """
    strategy = build_strategy(prepared.settings.strategy)
    run, latest = load_checkpoint(own.path / directory.CHECKPOINT)
    # A round that was asked and then lost may have been charged: in this process, or in one before.
    sitting = sittings(own.path)
    lost = sitting - 1
    # Sites may have taken part in sums with a process before this one.
    secured = Secured(identities, count((sitting << 32) + 1))
    privacy = prepared.settings.privacy
    delta = 0.0 if isinstance(privacy, NoPrivacy) else privacy.delta

    def who() -> tuple[RunPlan, Mapping[int, str]]:
        joining.welcome()
        plan = joining.planned()
        return replace(plan, timeout=settings.round_timeout), joining.names_there()

    def record(after: State, outcome: RoundOutcome) -> None:
        nonlocal latest
        # The most that sites can have charged: every round that they were asked for.
        spent = epsilon_after(joining.planned(), after.round + lost, delta)
        own.append(
            Round(
                round=outcome.round,
                seconds=outcome.seconds,
                cpu_seconds=outcome.cpu_seconds,
                replied=outcome.replied,
                failed=outcome.failed,
                epsilon=spent,
                clipping_norm=outcome.clipping_norm,
            )
        )
        save_checkpoint(own.path / directory.CHECKPOINT, run, after)
        latest = after
        board.round_done(
            outcome.round,
            replied=outcome.replied,
            failed=outcome.failed,
            seconds=outcome.seconds,
            epsilon=spent,
            metrics={},
        )
        _log_round(outcome, joining)

    tries = Tries(settings.wait)
    while latest.round < prepared.settings.training.rounds:
        board.update(
            lambda status: replace(status, phase=Phase.TRAINING if status.round else Phase.WAITING)
        )
        joining.gather(settings.wait)
        try:
            plan, names = who()
            run_rounds(
                joining.grid,
                strategy,
                plan,
                names,
                latest,
                record,
                lambda number: who(),
                secured=secured,
            )
        except TooFewSitesError as error:
            if latest.round and joining.planned().used_up(error.reasons):
                return latest, [
                    f"the run ends after round {latest.round}: a round that was charged was lost "
                    "in a stop, and its budget is not given back"
                ]
            lost += 1
            board.heard([], error.reasons)
            pause = tries.failed(latest.round + 1)
            if pause is None:
                raise
            log.warning("%s; the round is tried again in %g s", error, pause)
            time.sleep(pause)
    if not joining.limits:
        # This process began after the last round and has met nobody who could be told of the end.
        with suppress(TooFewSitesError):
            joining.gather(2 * settings.heartbeat)
    return latest, []


def sittings(path: Path) -> int:
    """Count the processes that have worked on a run, this one included."""
    with (path / "sittings").open("a+b") as file:
        file.write(b".")
        file.flush()
        return file.tell()


def _log_round(outcome: RoundOutcome, joining: Joining) -> None:
    rounds = joining.planned().rounds
    log.info(
        "round %d of %d: %s in %.1f s",
        outcome.round,
        rounds,
        "1 site" if len(outcome.replied) == 1 else f"{len(outcome.replied)} sites",
        outcome.seconds,
    )
    for site, reason in outcome.failed.items():
        log.warning("round %d: %s is missing: %s", outcome.round, site, reason)

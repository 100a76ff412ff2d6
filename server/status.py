"""What a coordinator shows of a run, and the board from which it is read.

Everything here is public or the coordinator's own: names, counts, budgets that follow from the plan
and reasons from closed lists. There is no field for weights, or for anything that a site measured.
"""

import json
import math
import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from tacit import __version__
from tacit.errors import InputError
from tacit.privacy.policy import Reason
from tacit.runs.encoding import decode, encode

SCHEMA: Final = "tacit/status/1"

NO_REPLY: Final = "no_reply"
MALFORMED: Final = "malformed"
REASONS: Final = frozenset({*Reason, NO_REPLY, MALFORMED})
"""All that may stand beside a site that did not take part."""


class Phase(StrEnum):
    """Where a run is."""

    WAITING = "waiting"
    RESERVING = "reserving"
    TRAINING = "training"
    FINISHED = "finished"
    FAILED = "failed"
    CALLED_OFF = "called off"

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.FINISHED, Phase.FAILED, Phase.CALLED_OFF}


class Presence(StrEnum):
    """How a site stands to the run."""

    PRESENT = "present"
    MISSING = "missing"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """One site, as the coordinator knows it.

    Parameters
    ----------
    name
        The site's name.
    state
        Whether it takes part.
    reason
        Why not, in a word of `REASONS`: whatever else is given becomes ``malformed``.
    last_seen
        When it was last heard of, in seconds since 1970; None if never.
    replied
        Rounds that it replied to.
    epsilon, epsilon_budget
        What the plan has cost the site so far, of what the whole plan costs; infinite without
        privacy, None while there is no plan.
    declared_size
        Public weight of the site in the average; None if unknown.
    """

    name: str
    state: Presence = Presence.MISSING
    reason: str | None = None
    last_seen: float | None = None
    replied: int = 0
    epsilon: float | None = None
    epsilon_budget: float | None = None
    declared_size: int | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and self.reason not in REASONS:
            object.__setattr__(self, "reason", MALFORMED)


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment.

    Parameters
    ----------
    experiment, run
        Name of the experiment and identity of the run.
    phase
        Where the run is.
    round, rounds
        The last complete round, and how many there are.
    sites
        In the order in which they are shown.
    metrics
        Figures on public data by name; what is not finite becomes None.
    seconds_per_round
        Median over the rounds after the first; None before the first round.
    seconds_left
        Estimate of the time that the other rounds take; None if unknown.
    version
        Of Tacit at the coordinator.
    started, written
        When the run and this status began, in seconds since 1970 by the coordinator's clock.
    """

    experiment: str
    run: str
    rounds: int
    sites: tuple[SiteStatus, ...]
    started: float
    phase: Phase = Phase.WAITING
    round: int = 0
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    seconds_per_round: float | None = None
    seconds_left: float | None = None
    version: str = __version__
    written: float = 0.0

    def __post_init__(self) -> None:
        # A copy: whoever measured may go on writing into theirs.
        finite = {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in self.metrics.items()
        }
        object.__setattr__(self, "metrics", finite)

    def to_json(self) -> bytes:
        """Write as one line of JSON in UTF-8; an infinite ε is ``"infinity"``."""
        return json.dumps({"schema": SCHEMA, **encode(self)}, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Status":
        """Read what `to_json` wrote; unknown keys are left out.

        Raises
        ------
        InputError
            It is no JSON, has another schema, or a field is missing or of another kind.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the status is not JSON: {error}") from error
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema != SCHEMA:
            raise InputError(
                f"the status has schema {json.dumps(schema)[:100]} and this version of Tacit "
                f"reads {SCHEMA!r}: install the coordinator's version"
            )
        try:
            return decode(cls, found, "status")
        except OverflowError as error:
            raise InputError(f"a number of the status is too large: {error}") from error


class StatusBoard:
    """Holds the status of a run for any number of threads.

    The round loop writes; readers wait for changes. One status is kept: a reader that is slow
    misses those in between and goes on with the newest.

    Parameters
    ----------
    status
        What to show at first.
    clock
        Seconds since 1970.
    """

    def __init__(self, status: Status, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._version = 0
        self._status = replace(status, written=clock())
        self._seconds: list[float] = []

    @property
    def status(self) -> Status:
        """The newest status."""
        with self._changed:
            return self._status

    def update(self, change: Callable[[Status], Status]) -> None:
        """Put `change` of the status in its place, in one step, and tell all readers.

        ::

            board.update(lambda status: replace(status, phase=Phase.RESERVING))
        """
        with self._changed:
            self._status = replace(change(self._status), written=self._clock())
            self._version += 1
            self._changed.notify_all()

    def heard(self, replied: Collection[str], failed: Mapping[str, str]) -> None:
        """Note who answered and who did not, outside of a round.

        Parameters
        ----------
        replied
            Names of sites; one that is not on the board is not shown.
        failed
            Reason by site; ``no_reply`` is a missing site, any other reason a refusal.
        """
        now = self._clock()
        self.update(
            lambda status: replace(
                status, sites=tuple(_heard(site, replied, failed, now) for site in status.sites)
            )
        )

    def round_done(
        self,
        number: int,
        *,
        replied: Collection[str],
        failed: Mapping[str, str],
        seconds: float,
        epsilon: Mapping[str, float],
        metrics: Mapping[str, float],
    ) -> None:
        """Note a complete round.

        Parameters
        ----------
        number
            The round, counted from 1.
        replied, failed
            As in `heard`.
        seconds
            How long it took.
        epsilon
            What the plan has cost so far, by site.
        metrics
            Figures on public data; an empty mapping leaves those of an earlier round.
        """
        now = self._clock()

        def change(status: Status) -> Status:
            self._seconds.append(seconds)
            median = statistics.median(self._seconds[1:] or self._seconds)
            sites = (
                replace(
                    _heard(site, replied, failed, now),
                    replied=site.replied + (site.name in replied),
                    epsilon=epsilon.get(site.name, site.epsilon),
                )
                for site in status.sites
            )
            return replace(
                status,
                phase=Phase.TRAINING,
                round=number,
                sites=tuple(sites),
                metrics=metrics or status.metrics,
                seconds_per_round=median,
                seconds_left=median * (status.rounds - number),
            )

        self.update(change)

    def watch(self, wanted: Callable[[], bool] = lambda: True) -> Iterator[Status]:
        """Yield the status at once and then whenever it changed; end after a phase that is over.

        Parameters
        ----------
        wanted
            Whether the reader is still there: once it is False, what has not been seen yet is
            yielded and the iterator ends. Call `wake` when the answer has changed.
        """
        seen = -1
        while True:
            with self._changed:
                while self._version == seen and wanted():
                    self._changed.wait()
                last = self._status.phase.over or not wanted()
                news, seen, status = self._version != seen, self._version, self._status
            if news:
                yield status
            if last:
                return

    def wake(self) -> None:
        """Let all readers look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()


def printable(text: str) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _heard(
    site: SiteStatus, replied: Collection[str], failed: Mapping[str, str], now: float
) -> SiteStatus:
    if site.name in replied:
        return replace(site, state=Presence.PRESENT, reason=None, last_seen=now)
    if site.name not in failed:
        return site
    if (reason := failed[site.name]) == NO_REPLY:
        return replace(site, state=Presence.MISSING, reason=reason)
    return replace(site, state=Presence.REFUSED, reason=reason, last_seen=now)

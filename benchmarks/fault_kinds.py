"""The faults that `benchmarks.soak_faults` injects: how each strikes, is told, and passes."""

import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.invariants import BrokenError
from benchmarks.processes import Deployment
from benchmarks.proxy import Proxy
from tacit.errors import ExitCode

SERVER: Final = "server"


@dataclass(frozen=True, slots=True)
class Scene:
    """A deployment that runs, and where the next fault is to strike.

    Parameters
    ----------
    running
        The deployment.
    proxies
        What stands before each site's connection.
    site
        The site that is struck.
    chance
        Chooses.
    """

    running: Deployment
    proxies: Mapping[str, Proxy]
    site: str
    chance: random.Random

    def wait_for_strike(self, name: str, fault: str, before: int) -> bool:
        """Wait until a fault has struck; tell whether it did before the run ended."""
        self.running.wait_for(
            lambda: len(self.running.struck(name)) > before or not self.running.alive(SERVER)
        )
        return len(self.running.struck(name)) > before

    def heard(self, name: str) -> Callable[[str], None]:
        """Return what waits for a process to say something from now on."""
        letters = len(self.running.log(name))
        return lambda text: self.running.wait_for_line(name, text, letters)


Strike = Callable[[Scene, Callable[[], None]], bool]
"""Puts a fault there, lets the run go on by the given function, waits for the fault and for what is
said of it, and mends it; returns whether it struck before the run ended."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    name: str
    strike: Strike


def _killed_server(point: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        running, before = scene.running, len(scene.running.struck(SERVER))
        sites = [scene.heard(site) for site in running.sites]
        running.put(SERVER, f"{point}.kill")
        go()
        if not scene.wait_for_strike(SERVER, f"{point}.kill", before):
            return False
        _ended(running, SERVER, -signal.SIGKILL)
        for heard in sites:
            heard("no connection to localhost")
        told = scene.heard(SERVER)
        running.start_server()
        told("going on after round")
        return True

    return Kind(f"server killed: {point}", strike)


def _killed_at_the_end(point: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        running, before = scene.running, len(scene.running.struck(SERVER))
        running.put(SERVER, f"{point}.kill")
        go()
        if not scene.wait_for_strike(SERVER, f"{point}.kill", before):
            return False
        _ended(running, SERVER, -signal.SIGKILL)
        running.launch_server()
        return True

    return Kind(f"server killed: {point}", strike)


def _full_server(point: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        running, before = scene.running, len(scene.running.struck(SERVER))
        letters = len(running.log(SERVER))
        running.put(SERVER, f"{point}.full")
        go()
        struck = scene.wait_for_strike(SERVER, f"{point}.full", before)
        if struck:
            _ended(running, SERVER, ExitCode.BAD_INPUT)
            if "the disk is full: free space" not in running.log(SERVER)[letters:]:
                raise BrokenError(f"the coordinator does not say that its disk is full:\n{point}")
        running.take_away(SERVER, f"{point}.full")
        if struck:
            running.start_server()
        return struck

    return Kind(f"server's disk full: {point}", strike)


def _killed_site(point: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        running, site = scene.running, scene.site
        before, told = len(running.struck(site)), scene.heard(SERVER)
        running.put(site, f"{point}.kill")
        go()
        if not scene.wait_for_strike(site, f"{point}.kill", before):
            return False
        _ended(running, site, -signal.SIGKILL)
        running.start_site(site)
        told(f"site {site}: connected")
        return True

    return Kind(f"site killed: {point}", strike)


def _full_site(point: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        running, site = scene.running, scene.site
        before, told, said = len(running.struck(site)), scene.heard(SERVER), scene.heard(site)
        running.put(site, f"{point}.full")
        go()
        struck = scene.wait_for_strike(site, f"{point}.full", before)
        if struck:
            said("error: could not answer: ")
            told(f"{site} (not_available); the round is tried again")
        running.take_away(site, f"{point}.full")
        return struck

    return Kind(f"site's disk full: {point}", strike)


def _late_answer(scene: Scene, go: Callable[[], None]) -> bool:
    running, site = scene.running, scene.site
    before, told = len(running.struck(site)), scene.heard(SERVER)
    point = scene.chance.choice(("before the charge", "during training", "before its reply"))
    running.put(site, f"{point}.hang")
    go()
    struck = scene.wait_for_strike(site, f"{point}.hang", before)
    if struck:
        told(f"site {site}: no reply in time")
    running.take_away(site, f"{point}.hang")
    return struck


def _twice(scene: Scene, go: Callable[[], None]) -> bool:
    before = len(scene.running.struck(scene.site))
    scene.running.put(scene.site, "again")
    go()
    struck = scene.wait_for_strike(scene.site, "again", before)
    scene.running.take_away(scene.site, "again")
    return struck


def _clock(name: str, ahead: int) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        who = SERVER if name == SERVER else scene.site
        heard = scene.heard(scene.site)
        scene.running.put(who, "clock", str(ahead))
        go()
        side = "ahead of" if (ahead > 0) == (who != SERVER) else "behind"
        heard(f"this machine's clock is 60 minutes {side} the server's")
        scene.running.take_away(who, "clock")
        return True

    return Kind(f"{name}'s clock an hour {'ahead' if ahead > 0 else 'behind'}", strike)


def _connection(fault: str) -> Kind:
    def strike(scene: Scene, go: Callable[[], None]) -> bool:
        proxy, told, said = (
            scene.proxies[scene.site],
            scene.heard(SERVER),
            scene.heard(scene.site),
        )
        getattr(proxy, fault)()
        go()
        if fault == "slow":
            told("round ")
        else:
            told(f"site {scene.site}: went away before it replied")
            said("no connection to localhost")
        proxy.mend()
        return True

    return Kind(f"connection: {fault}", strike)


def _comes_late(scene: Scene, go: Callable[[], None]) -> bool:
    running, site, told = scene.running, scene.site, scene.heard(SERVER)
    running.kill(site, signal.SIGTERM)
    go()
    told(f"waiting for {site}")
    running.start_site(site)
    told(f"site {site}: connected")
    return True


def _ended(running: Deployment, name: str, code: int) -> None:
    if (found := running.end_of(name)) != code:
        raise BrokenError(f"{name} ended with {found} and not with {code}")


BEGINNING: Final[Sequence[Kind]] = (
    _killed_server("planned"),
    _killed_site("reservation"),
    _killed_site("reserved"),
)
"""What strikes before the first round."""

ENDS: Final[Sequence[Kind]] = tuple(
    _killed_at_the_end(point) for point in ("last round done", "results")
)
"""What strikes after the last round."""

MIDDLE: Final[Sequence[Kind]] = (
    *(
        _killed_server(point)
        for point in (
            "asked",
            "before aggregation",
            "during aggregation",
            "after aggregation",
            "history",
            "checkpoint",
            "checkpoint kept",
        )
    ),
    *(_full_server(point) for point in ("history", "checkpoint")),
    *(
        _killed_site(point)
        for point in (
            "before the charge",
            "charged",
            "during training",
            "trained",
            "reply kept",
            "before its reply",
            "during its reply",
            "after its reply",
        )
    ),
    *(_full_site(point) for point in ("ledger's row", "ledger's reply", "ledger's head")),
    Kind("site answers too late", _late_answer),
    Kind("site gone, comes late", _comes_late),
    Kind("same message twice", _twice),
    *(_connection(fault) for fault in ("cut", "slow", "freeze")),
    _clock("site", 3600),
    _clock("site", -3600),
    _clock(SERVER, 3600),
)
"""What strikes in a round."""

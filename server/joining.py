"""Who takes part: every site of the roster is invited when it is there, and joins when it fits."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.planning import unable
from server.replies import MALFORMED, NO_REPLY, reason_of
from server.run_plan import RunPlan
from strategies.records import record_in
from tacit.errors import ConfigurationError, TooFewSitesError
from tacit.messages import CONFIG, END, ENROL, LEDGER, RESERVE, SITE, Limits, RunRequest, Terms
from tacit.privacy.policy import Reason
from tacit.privacy_settings import AnyPrivacy
from tacit.settings import Training

log = logging.getLogger(__name__)

PAUSE: Final = 0.2
"""Seconds between two looks at who is there."""
PATIENCE: Final = 60.0
"""Seconds in which a site answers an invitation."""
REST: Final = 10.0
"""Seconds after which a site that could not answer, for a full disk say, is invited again."""

Planner = Callable[[Mapping[str, Limits]], RunPlan]
"""Plans the run for sites whose limits are known."""


@dataclass(slots=True)
class Joining:
    """The sites of a run, as they come and go.

    Parameters
    ----------
    grid
        Reaches the sites that are there.
    names
        Site behind each node id, of the roster: what a site says of its own name counts for
        nothing.
    terms, training, privacy
        What the run is about, and how: a site that no noise can suit is not asked to reserve.
    planner
        Plans the run.
    least
        Fewest sites with which it goes on.
    present
        The sites whose heartbeat is alive.
    heard
        Told who joined, and who did not and why.
    keep
        Told the plan whenever a site was added to it, to keep it over a restart.
    plan
        As it was kept: what was planned for a site stands, because its ledger holds it to that.
    """

    grid: Grid
    names: Mapping[int, str]
    terms: Terms
    training: Training
    privacy: AnyPrivacy
    planner: Planner
    least: int
    present: Callable[[], frozenset[str]]
    heard: Callable[[Sequence[str], Mapping[str, str]], None]
    keep: Callable[[RunPlan], None]
    limits: dict[str, Limits] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    resting: dict[str, float] = field(default_factory=dict)
    plan: RunPlan | None = None

    def gather(self, wait: float) -> None:
        """Wait until enough sites are there and have joined.

        Raises
        ------
        TooFewSitesError
            Too few are left that have not refused, or too few came in time.
        """
        until = time.monotonic() + wait
        awaited: set[str] = set()
        while True:
            self.welcome()
            here = self.present() & self.limits.keys()
            if len(here) >= self.least:
                return
            possible = set(self.names.values()) - self.refused.keys()
            if len(possible) < self.least:
                raise TooFewSitesError(
                    f"{len(self.refused)} of {len(self.names)} sites do not take part "
                    f"({_listed(self.refused)}), and {self.least} are needed",
                    self.refused,
                )
            if awaited != possible - here:
                awaited = possible - here
                log.info("waiting for %s", ", ".join(sorted(awaited)))
            if time.monotonic() > until:
                away = {
                    site: str(Reason.NOT_AVAILABLE) if site in self.resting else NO_REPLY
                    for site in sorted(awaited)
                }
                raise TooFewSitesError(
                    f"after {wait:g} s {len(here)} sites are there and {self.least} are needed; "
                    f"missing: {_listed(self.refused | away)}",
                    self.refused | away,
                )
            time.sleep(PAUSE)

    def welcome(self) -> None:
        """Invite the sites that are there and have not joined, and have them reserve the run."""
        new = {
            node: site
            for node, site in self.names.items()
            if site in self.present()
            and site not in self.limits
            and site not in self.refused
            and self.resting.get(site, 0.0) < time.monotonic()
        }
        if not new:
            return
        invited = self._ask(ENROL, {node: self.terms.to_config() for node in new}, new)
        fitting = {}
        for site, reply in invited.items():
            stated = self._limits(site, reply)
            if stated is not None:
                fitting[site] = stated
        if fitting:
            self._reserve({n: s for n, s in new.items() if s in fitting}, fitting)
        joined = [site for site in new.values() if site in self.limits]
        for site in joined:
            log.info("%s takes part", site)
        self.heard(joined, {s: r for s, r in self.refused.items() if s in new.values()})

    def planned(self) -> RunPlan:
        """Return the plan of the sites that have joined.

        Raises
        ------
        TooFewSitesError
            None has.
        """
        if self.plan is None:
            raise TooFewSitesError("no site takes part", self.refused)
        return self.plan

    def names_there(self) -> dict[int, str]:
        """Return the nodes and names of the sites that have joined."""
        return {node: site for node, site in self.names.items() if site in self.limits}

    def end(self, run: str) -> None:
        """Tell every site that is there that the run is over: what it kept for it is free."""
        there = {n: s for n, s in self.names_there().items() if s in self.present()}
        for site, reply in self._ask(END, {node: {"run": run} for node in there}, there).items():
            if reply.has_error():
                log.warning("%s did not close the run: %s", site, reason_of(reply))

    def _reserve(self, new: Mapping[int, str], fitting: Mapping[str, Limits]) -> None:
        plan = self.planner({**self.limits, **fitting})
        if self.plan is not None:
            # What was planned for the others stands: their ledgers hold them to it. The grid of a
            # sum is one for all, and may follow from the noise of who came last.
            kept = {
                site: replace(old, part=plan.sites.get(site, old).part)
                for site, old in self.plan.sites.items()
            }
            plan = replace(
                plan,
                sites={**plan.sites, **kept},
                declared_sizes={**plan.declared_sizes, **self.plan.declared_sizes},
                epsilons={**plan.epsilons, **self.plan.epsilons},
            )
        requests = {
            node: RunRequest(
                plan.run,
                plan.rounds,
                plan.terms,
                plan.sites[site],
                plan.epsilons[site],
                plan.delta,
            ).to_config()
            for node, site in new.items()
        }
        for site, reply in self._ask(RESERVE, requests, new).items():
            if reply.has_error():
                self._refuse(site, reason_of(reply))
            elif record_in(reply.content, LEDGER, ConfigRecord) is None:
                self._refuse(site, MALFORMED)
            else:
                self.limits[site] = fitting[site]
                self.resting.pop(site, None)
        known = self.limits.keys() | (self.plan.sites.keys() if self.plan else set())
        self.plan = replace(
            plan,
            sites={s: p for s, p in plan.sites.items() if s in known},
            declared_sizes={s: n for s, n in plan.declared_sizes.items() if s in known},
            epsilons={s: e for s, e in plan.epsilons.items() if s in known},
        )
        self.keep(self.plan)

    def _limits(self, site: str, reply: Message) -> Limits | None:
        if reply.has_error():
            self._refuse(site, reason_of(reply))
            return None
        stated = dict(record_in(reply.content, SITE, ConfigRecord) or {})
        if stated.pop("name", None) != site:
            self._refuse(site, MALFORMED)
            return None
        try:
            limits = Limits.from_config(stated)
        except ConfigurationError:
            self._refuse(site, MALFORMED)
            return None
        why = unable(self.training, self.privacy, limits)
        if why is not None:
            self._refuse(site, why)
            return None
        return limits

    def _refuse(self, site: str, reason: str) -> None:
        if reason == Reason.NOT_AVAILABLE:
            log.warning("%s cannot take part now: %s; asked again in %g s", site, reason, REST)
            self.resting[site] = time.monotonic() + REST
            return
        log.warning("%s does not take part: %s", site, reason)
        self.refused[site] = str(reason)

    def _ask(
        self,
        action: str,
        configs: Mapping[int, Mapping[str, str | int | float | bool]],
        names: Mapping[int, str],
    ) -> dict[str, Message]:
        """Ask nodes a question; a site that does not answer in time is asked again later."""
        messages = [
            Message(
                RecordDict({CONFIG: ConfigRecord(dict(config))}),
                node,
                f"{MessageType.QUERY}.{action}",
            )
            for node, config in configs.items()
        ]
        replies = self.grid.send_and_receive(messages, timeout=PATIENCE)
        return {names[reply.metadata.src_node_id]: reply for reply in replies}


def _listed(reasons: Mapping[str, str]) -> str:
    return ", ".join(f"{site} ({reason})" for site, reason in sorted(reasons.items()))

"""Before the first round: who is there, and who sets the run aside."""

import time
from collections.abc import Mapping
from typing import Final

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.replies import KNOWN, MALFORMED, NO_REPLY, reason_of
from server.run_plan import RunPlan
from strategies.records import record_in
from tacit.errors import RefusedError, TooFewSitesError
from tacit.messages import CONFIG, ENROL, LEDGER, RESERVE, SITE, RunRequest
from tacit.plan_fields import first

PAUSE: Final = 0.5
"""Seconds between two looks at who is connected."""


def enrol(grid: Grid, least: int, *, timeout: float) -> Mapping[int, str]:
    """Wait until nodes are there and ask each for its site.

    Parameters
    ----------
    grid
        Reaches the nodes.
    least
        Fewest nodes to wait for.
    timeout
        Seconds to wait for them.

    Returns
    -------
    dict
        Name of the site behind each node id, in the order of names; a node that has no site for
        this run is left out.

    Raises
    ------
    TooFewSitesError
        Fewer nodes came, fewer have a site, or two say they are the same one.
    """
    until = time.monotonic() + timeout
    while len(nodes := sorted(grid.get_node_ids())) < least:
        if time.monotonic() > until:
            raise TooFewSitesError(
                f"{len(nodes)} nodes are connected after {timeout:g} s and {least} are needed"
            )
        time.sleep(PAUSE)
    asked = [_query(ENROL, RecordDict(), node) for node in nodes]
    names: dict[int, str] = {}
    for reply in grid.send_and_receive(asked, timeout=timeout):
        if reply.has_error():
            continue
        name = (record_in(reply.content, SITE, ConfigRecord) or ConfigRecord()).get("name")
        if isinstance(name, str):
            names[reply.metadata.src_node_id] = name
    if len(names) < least:
        raise TooFewSitesError(
            f"{len(names)} of {len(nodes)} nodes have a site, {least} are needed"
        )
    if twice := sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
        raise TooFewSitesError(f"more than one node says it is {', '.join(twice)}")
    return dict(sorted(names.items(), key=lambda item: item[1]))


def reserve(grid: Grid, plan: RunPlan, names: Mapping[int, str]) -> None:
    """Have every site set the run aside.

    Raises
    ------
    RefusedError
        Sites refused, and too few are left.
    TooFewSitesError
        Too few sites replied; `reasons` says why, by site.
    """
    requests = []
    most = plan.rounds_of_a_site
    for node, site in names.items():
        request = RunRequest(
            plan.run, most, plan.terms, plan.sites[site], plan.epsilons[site], plan.delta
        )
        record = ConfigRecord(dict(request.to_config()))
        requests.append(_query(RESERVE, RecordDict({CONFIG: record}), node))
    missing = dict.fromkeys(plan.sites, NO_REPLY)
    for reply in grid.send_and_receive(requests, timeout=plan.timeout):
        site = names[reply.metadata.src_node_id]
        if reply.has_error():
            missing[site] = reason_of(reply)
        elif record_in(reply.content, LEDGER, ConfigRecord) is None:
            missing[site] = MALFORMED
        else:
            del missing[site]
    if len(plan.sites) - len(missing) >= plan.min_replies:
        return
    said = (
        f"{len(plan.sites) - len(missing)} of {len(plan.sites)} sites take part in the run, "
        f"{plan.min_replies} are needed; missing: "
        + first([f"{site} ({reason})" for site, reason in missing.items()])
    )
    if set(missing.values()) <= KNOWN:
        raise RefusedError(next(iter(missing.values())), said)
    raise TooFewSitesError(said, missing)


def _query(action: str, content: RecordDict, node: int) -> Message:
    return Message(content, node, f"{MessageType.QUERY}.{action}")

"""Stage 6: everything that left. Each entry of a reply has its place, each release its charge.

A number that nobody knows the place of is a release that no event pays for: an exact metric or
count, however well the rest is noised.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from flwr.app import MessageType

from audits.ledgers import charged_events
from audits.repeat import Letter, Repeated
from audits.stranger import Stranger
from tacit.errors import ModelError
from tacit.messages import (
    ARRAYS,
    END,
    ENROL,
    LEDGER,
    RESERVE,
    SECURE,
    SITE,
    SUM,
    Limits,
)
from tacit.models.trainable import sha256_of
from tacit.models.weights import load_weights
from tacit.privacy.policy import Reason, steps_of
from tacit.runs.audited import Finding, Stage, StageName
from tacit.runs.directory import MODEL
from tacit.runs.results import Round

_HEAD: Final = re.compile("[0-9a-f]{64}")
_RECEIPT: Final = frozenset({(LEDGER, "count"), (LEDGER, "head")})
_LIMITS: Final = frozenset(
    (SITE, key) for key in ("name", *Limits(1.0, 0.1, 0.0, 0, False).to_config())
)
_ENTRIES: Final[Mapping[str, frozenset[tuple[str, str]]]] = {
    MessageType.TRAIN: _RECEIPT,
    f"{MessageType.QUERY}.{ENROL}": _LIMITS,
    f"{MessageType.QUERY}.{RESERVE}": _RECEIPT,
    f"{MessageType.QUERY}.{END}": _RECEIPT,
    f"{MessageType.QUERY}.{SECURE}": frozenset({(SECURE, "content")}),
}
"""What a reply may hold beside arrays, by what was asked."""
_SHOWN: Final = 3


def audit_releases(stranger: Stranger, repeated: Repeated) -> Stage:
    """Go through all that left the sites of a run that was made again."""
    return Stage(StageName.RELEASES, tuple(_findings(stranger, repeated)))


def _findings(stranger: Stranger, repeated: Repeated) -> Iterator[Finding]:
    letters, shapes = repeated.letters, repeated.shapes
    flaws = Counter(flaw for each in letters for flaw in _flaws(each, shapes))
    kinds = ", ".join(f"{flaw} ({count})" for flaw, count in flaws.most_common(_SHOWN))
    yield Finding(
        "what left",
        f"of {len(letters)} replies some hold what no event pays for: {kinds}"
        if flaws
        else f"{len(letters)} replies: weights or parts of sums, receipts, limits, nothing else",
        bool(flaws),
        {"replies": float(len(letters))},
    )
    yield _paid(stranger, repeated)
    yield from _again(stranger, repeated)


def _flaws(each: Letter, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Name what has no place in a reply."""
    if each.error is not None:
        if each.error not in set(Reason):
            yield "a refusal in words of its own"
        return
    for record in each.strangers:
        yield f"a record {record!r}"
    known = _ENTRIES.get(each.asked, frozenset())
    for key in each.entries.keys() - known:
        yield f"an entry {'/'.join(key)!r}"
    head = each.entries.get((LEDGER, "head"))
    if head is not None and not (isinstance(head, str) and _HEAD.fullmatch(head)):
        yield "a receipt that is no hash"
    if each.asked != MessageType.TRAIN:
        if each.arrays:
            yield f"arrays in answer to {each.asked}"
        return
    for (record, name), (dtype, shape) in each.arrays.items():
        summed = (record, name) == (ARRAYS, SUM) and len(shape) == 1 and dtype.startswith("uint")
        weight = record == ARRAYS and (dtype, shape) == ("float32", shapes.get(name))
        if not (summed or weight):
            yield f"an array {record}/{name}"


def _paid(stranger: Stranger, repeated: Repeated) -> Finding:
    """Every release has its charge in the ledger of the run that was made again."""
    sent = Counter(
        each.site for each in repeated.letters if each.asked == MessageType.TRAIN and each.arrays
    )
    charged = {
        site: sum(steps_of(event) for event in events)
        for site, events in charged_events(repeated.stranger, sent).items()
    }
    steps = stranger.steps_of_a_round
    short = [site for site, count in sorted(sent.items()) if charged.get(site, 0) < count * steps]
    return Finding(
        "what paid for it",
        f"more left than was charged at {', '.join(short[:_SHOWN])}"
        if short
        else f"{sum(sent.values())} releases, each with its charge",
        bool(short),
        {"releases": float(sum(sent.values()))},
    )


def _again(stranger: Stranger, repeated: Repeated) -> Iterator[Finding]:
    """Whether it was this run that was looked at, and whether it says of itself what is so."""
    own, made = stranger.results, repeated.stranger.results
    same = own.weights_sha256 == made.weights_sha256
    if own.privacy is not None and not own.privacy.simulated_noise:
        yield Finding(
            "the same run",
            "its noise is the operating system's, and yet it ends with the same weights"
            if same
            else "its noise is the operating system's: it cannot end with the same weights, and "
            "whether these are its own is not seen",
            same,
        )
    elif own.environment != made.environment and not same:
        yield Finding(
            "the same run",
            f"it was made with {own.environment}, here is {made.environment}: weights may differ "
            "in their last bits, and they do",
            tested=False,
        )
    else:
        yield Finding(
            "the same run",
            "made again it ends with the same weights, to the bit"
            if same
            else "made again it ends with other weights: its files are not of this code, these "
            "data or this configuration",
            not same,
        )
    yield _report(stranger, repeated.stranger, same_weights=same)


def _report(own: Stranger, made: Stranger, *, same_weights: bool) -> Finding:
    """Hold what the run's files say against those of the run that was made again."""
    wrong = []
    if own.results.privacy != made.results.privacy:
        wrong.append("the guarantees of results.json")
    if same_weights and own.results.evaluation != made.results.evaluation:
        wrong.append("the evaluation of results.json")
    if [_told(line) for line in own.history] != [_told(line) for line in made.history]:
        wrong.append("rounds, replies or ε of history.jsonl")
    if _kept(own.path) != own.results.weights_sha256:
        wrong.append(f"the weights in {MODEL}")
    return Finding(
        "the report",
        f"its files do not agree with the run made again: {', '.join(wrong)}"
        if wrong
        else "guarantees, rounds, replies and ε are those of the run made again, and the model is "
        "the one that the report names",
        bool(wrong),
    )


def _told(line: Round) -> tuple[object, ...]:
    """Return what of a round does not depend on the machine."""
    return line.round, line.replied, dict(line.failed), line.epsilon


def _kept(path: Path) -> str:
    """Return the hash of the weights that a run left; none where its file is damaged."""
    try:
        return sha256_of(load_weights(path / MODEL))
    except ModelError:
        return ""

"""What sites send back in a round: an answer to be combined, or a failure with its reason."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from strategies.records import numbers_of, record_in
from tacit.messages import ARRAYS, LEDGER
from tacit.models.trainable import Weights
from tacit.privacy.policy import Reason

log = logging.getLogger(__name__)

NO_REPLY: Final = "no_reply"
MALFORMED: Final = "malformed"
KNOWN: Final = frozenset(Reason)
"""Reasons that a site may give: whatever else it writes stays out of logs, history and report."""

_HEAD: Final = re.compile("[0-9a-f]{64}")


Flaw = Callable[[ArrayRecord], str | None]
"""Says what is wrong with the arrays of a reply, in words that are not the site's."""


def sort_replies(
    replies: Iterable[Message], sites: Iterable[str], names: Mapping[int, str], flaw_of: Flaw
) -> tuple[dict[str, Message], dict[str, str]]:
    """Divide replies into answers and failures, by site, in the order of names.

    An answer holds arrays without a flaw and a receipt; whatever else a site sends is a failure of
    that site and not of the run.
    """
    by_site = {names.get(reply.metadata.src_node_id): reply for reply in replies}
    answers: dict[str, Message] = {}
    failed: dict[str, str] = {}
    for site in sorted(sites):
        reply = by_site.get(site)
        if reply is None:
            failed[site] = NO_REPLY
        elif reply.has_error():
            failed[site] = reason_of(reply)
        elif (flaw := _flaw(reply.content, flaw_of)) is not None:
            log.warning("site %s: its reply is left out: %s", site, flaw)
            failed[site] = MALFORMED
        else:
            answers[site] = reply
    return answers, failed


def reason_of(reply: Message) -> str:
    """Return why a site refused, in a word of the closed list."""
    return reply.error.reason if reply.error.reason in KNOWN else MALFORMED


def unlike(like: Weights) -> Flaw:
    """Return what finds arrays that have not the names, types and shapes of `like`, all finite."""

    def flaw(arrays: ArrayRecord) -> str | None:
        if arrays.keys() != like.keys():
            missing, unknown = len(like.keys() - arrays.keys()), len(arrays.keys() - like.keys())
            return (
                f"of the model's weights {missing} are missing, and {unknown} are not the model's"
            )
        for name, expected in like.items():
            try:
                array = numbers_of(arrays[name])
            except (TypeError, ValueError):
                return f"weight {name} cannot be read"
            if (found := _unlike(array, expected)) is not None:
                return f"weight {name} {found}"
        return None

    return flaw


def _flaw(content: RecordDict, flaw_of: Flaw) -> str | None:
    """Say what is wrong with a reply, in words that are not the site's; None where nothing is."""
    arrays = record_in(content, ARRAYS, ArrayRecord)
    receipt = record_in(content, LEDGER, ConfigRecord)
    if arrays is None or receipt is None:
        return "it holds no weights, or no receipt of the ledger"
    count, head = receipt.get("count"), receipt.get("head")
    if (
        type(count) is not int
        or count < 0
        or not isinstance(head, str)
        or not _HEAD.fullmatch(head)
    ):
        return "its receipt is no count with a hash"
    return flaw_of(arrays)


def _unlike(array: NDArray[Any], like: NDArray[np.float32]) -> str | None:
    if array.dtype != like.dtype or array.shape != like.shape:
        return f"is {array.dtype} of shape {array.shape}, and not {like.dtype} of {like.shape}"
    return None if np.isfinite(array).all() else "holds values that are not finite"

"""The one door: the only code that builds a reply of a site.

What was learnt from data leaves together with the privacy event that pays for it and the charge
that is on disk; without them there is no such reply. Where the ledger keeps replies it is a pure
function of the packed bytes that are kept, so a repeated message gets the same bytes. The other
replies, to introduce the site, to confirm a reservation, to prepare or open a secure sum and to
refuse, hold nothing that depends on data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

from strategies.live import NUMPY
from strategies.records import to_record
from tacit.errors import RefusedError
from tacit.messages import ARRAYS, LEDGER, SECURE, SITE, Limits
from tacit.models.trainable import Weights
from tacit.privacy.book import Charge
from tacit.privacy.chain import Receipt
from tacit.privacy.policy import Reason
from tacit.privacy.spending import Spending

REFUSED: Final = 1001
"""Error code of a refusal; its reason is one of `Reason`."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is to leave the site, and the charge that pays for it."""

    weights: Weights
    charge: Charge
    receipt: Receipt


def release(ledger: Spending, message: Message, leaving: Release) -> Message:
    """Build the reply; where the ledger keeps replies, from what it has kept.

    Raises
    ------
    RefusedError
        A weight is not finite.
    TacitError
        The charge is not in this site's ledger.
    """
    for name, array in leaving.weights.items():
        if not np.isfinite(array).all():
            # Only the plan's numbers (a step size too large) can make finite sums overflow.
            raise RefusedError(Reason.NOT_AVAILABLE, f"weight {name!r} is not finite")
    if not ledger.keeps_replies:
        ledger.let_go(leaving.charge)
        return _reply(message, to_record(leaving.weights), leaving.receipt)
    packed = _pack(leaving)
    ledger.store_reply(leaving.charge, packed)
    return replay(message, packed)


def replay(message: Message, packed: Sequence[bytes]) -> Message:
    """Build the reply from stored bytes: the same arrays and the same receipt."""
    header = json.loads(packed[0])
    arrays = ArrayRecord(
        {
            name: Array(dtype, tuple(shape), NUMPY, data)
            for (name, shape, dtype), data in zip(header["arrays"], packed[1:], strict=True)
        }
    )
    return _reply(message, arrays, Receipt(header["count"], header["head"]))


def _reply(message: Message, arrays: ArrayRecord, receipt: Receipt) -> Message:
    record = ConfigRecord({"count": receipt.count, "head": receipt.head})
    return Message(RecordDict({ARRAYS: arrays, LEDGER: record}), reply_to=message)


def introduce(message: Message, name: str, limits: Limits) -> Message:
    """Say who is there, and what the site's policy allows: both are public."""
    record = ConfigRecord({"name": name, **limits.to_config()})
    return Message(RecordDict({SITE: record}), reply_to=message)


def confirm(message: Message, receipt: Receipt) -> Message:
    """Confirm that a run is reserved: count and head of the ledger, which hold no data."""
    record = ConfigRecord({"count": receipt.count, "head": receipt.head})
    return Message(RecordDict({LEDGER: record}), reply_to=message)


def secure(message: Message, content: bytes) -> Message:
    """Say this site's part in a stage of a secure sum: keys, signatures and shares of secrets.

    What it helps to open is a sum whose part of this site left with its charge.
    """
    return Message(RecordDict({SECURE: ConfigRecord({"content": content})}), reply_to=message)


def refuse(message: Message, reason: str) -> Message:
    """Build a refusal: a reason from the closed list and nothing else."""
    known = reason if reason in set(Reason) else Reason.NOT_AVAILABLE
    return Message(Error(REFUSED, str(known)), reply_to=message)


def _pack(leaving: Release) -> list[bytes]:
    """Return a header in JSON, then every array as it travels: no bytes are there twice."""
    header = json.dumps(
        {
            "arrays": [
                [name, array.shape, str(array.dtype)] for name, array in leaving.weights.items()
            ],
            "count": leaving.receipt.count,
            "head": leaving.receipt.head,
        }
    ).encode()
    return [header, *(array.data for array in to_record(leaving.weights).values())]

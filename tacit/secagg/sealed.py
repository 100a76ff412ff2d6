"""Shares of one site's secrets on their way to one holder: sealed, so that the server sees none.

AES-256-GCM (NIST SP 800-38D) under a key that only these two have, for this direction, in this
round (`tacit.secagg.keys.channel_key`); sender, receiver and session are authenticated with it.
"""

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tacit.errors import WrongMessageError
from tacit.secagg.shamir import SHARE_BYTES
from tacit.secagg.wire import digest, framed

_NONCE: Final = 12
_TAG: Final = 16
SEALED_BYTES: Final = _NONCE + 2 * SHARE_BYTES + _TAG

_SHARE: Final = b"tacit secure sum: share 1"
_BUNDLE: Final = b"tacit secure sum: bundle 1"


class Secret(Enum):
    """Which of a site's two secrets; never do both become known."""

    SELF_MASK = b"self-mask"
    MASK_KEY = b"mask key"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One holder's shares of the two secrets of one site, 33 bytes each."""

    self_mask: bytes = field(repr=False)
    mask_key: bytes = field(repr=False)


def seal(bundle: Bundle, key: bytes, session: bytes, sender: str, receiver: str) -> bytes:
    """Seal shares for their holder; the result has `SEALED_BYTES`."""
    # The key is used once and a counter would do: a random nonce forgives whoever uses it twice.
    nonce = os.urandom(_NONCE)
    label = _label(session, sender, receiver)
    return nonce + AESGCM(key).encrypt(nonce, bundle.self_mask + bundle.mask_key, label)


def unseal(sealed: bytes, key: bytes, session: bytes, sender: str, receiver: str) -> Bundle:
    """Open what `seal` made.

    Raises
    ------
    WrongMessageError
        It is garbage, or made for another holder or round; the error names the sender.
    """
    if len(sealed) != SEALED_BYTES:
        raise WrongMessageError(
            sender, f"sealed shares have {SEALED_BYTES} bytes, these have {len(sealed)}"
        )
    label = _label(session, sender, receiver)
    try:
        opened = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], label)
    except InvalidTag as error:
        raise WrongMessageError(
            sender,
            f"its sealed shares for {receiver} cannot be opened: altered, or another round's",
        ) from error
    return Bundle(opened[:SHARE_BYTES], opened[SHARE_BYTES:])


def share_hash(session: bytes, dealer: str, holder: str, secret: Secret, share: bytes) -> bytes:
    """Return what a dealer publishes of a share, by which a wrong one is told from it.

    It shows nothing of the share, which is one of 2**256 equally likely ones.
    """
    return digest(
        _SHARE, session, dealer.encode("ascii"), holder.encode("ascii"), secret.value, share
    )


def _label(session: bytes, sender: str, receiver: str) -> bytes:
    return framed(_BUNDLE, session, sender.encode("ascii"), receiver.encode("ascii"))

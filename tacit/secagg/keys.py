"""A site's keys of one round, and what two sites derive from them.

Both X25519 keys (RFC 7748) are made for one round and forgotten after it. Were the mask key kept
for a whole run, the first time its site drops out and the others rebuild it, every earlier round
would be open in which the site survived: there its self-mask was revealed, and the rebuilt key
gives all its other masks.

What two sites share goes through HKDF-SHA256 (RFC 5869) with the purpose, the session and both
names in its info: nothing derived for one round, model, roster or purpose fits another.
"""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tacit.errors import WrongMessageError
from tacit.secagg.advertisement import Advertisement
from tacit.secagg.wire import HASH_BYTES, digest, framed

_MASK: Final = b"tacit secure sum: mask 1"
_CHANNEL: Final = b"tacit secure sum: channel 1"
_COMMITMENT: Final = b"tacit secure sum: self-mask 1"


class RoundKeys:
    """The secrets of one site for one round; they exist in memory only.

    Attributes
    ----------
    mask
        Private key of the masks that it shares with others.
    channel
        Private key of the channels on which shares travel.
    self_mask
        32 bytes, the seed of the mask that it shares with nobody.
    """

    def __init__(self) -> None:
        self.mask = X25519PrivateKey.generate()
        self.channel = X25519PrivateKey.generate()
        self.self_mask = os.urandom(HASH_BYTES)


def commitment(context: bytes, site: str, self_mask: bytes) -> bytes:
    """Return what binds a site to its self-mask before anybody has a share of it."""
    return digest(_COMMITMENT, context, site.encode("ascii"), self_mask)


def mask_seed(own: X25519PrivateKey, name: str, other: Advertisement, session: bytes) -> bytes:
    """Return the seed of the mask that two sites share, the same for both.

    Parameters
    ----------
    own
        The mask key of one of them.
    name
        Its name.
    other
        What the other advertised.
    session
        Hash of the context and of all advertisements.

    Raises
    ------
    WrongMessageError
        No secret can be shared by the other's key; the error names it.
    """
    names = sorted((name, other.site))
    return _derived(own, other.mask_key, other.site, _MASK, session, names)


def sending_key(own: X25519PrivateKey, name: str, other: Advertisement, session: bytes) -> bytes:
    """Return the key of what `name`, whose channel key is `own`, seals for the other.

    Raises
    ------
    WrongMessageError
        No secret can be shared by the other's key; the error names it.
    """
    return _derived(own, other.channel_key, other.site, _CHANNEL, session, (name, other.site))


def receiving_key(own: X25519PrivateKey, name: str, other: Advertisement, session: bytes) -> bytes:
    """Return the key of what the other seals for `name`, whose channel key is `own`.

    Raises
    ------
    WrongMessageError
        No secret can be shared by the other's key; the error names it.
    """
    return _derived(own, other.channel_key, other.site, _CHANNEL, session, (other.site, name))


def check_key(public: bytes, owner: str) -> None:
    """Check that a secret can be shared by a public key, of 32 bytes.

    Raises
    ------
    WrongMessageError
        None can; the error names the owner.
    """
    _shared(X25519PrivateKey.generate(), public, owner)


def _derived(
    own: X25519PrivateKey,
    public: bytes,
    owner: str,
    purpose: bytes,
    session: bytes,
    names: Sequence[str],
) -> bytes:
    shared = _shared(own, public, owner)
    info = framed(purpose, session, *(name.encode("ascii") for name in names))
    return HKDF(algorithm=SHA256(), length=HASH_BYTES, salt=None, info=info).derive(shared)


def _shared(own: X25519PrivateKey, public: bytes, owner: str) -> bytes:
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        # A point of low order gives zero to everybody: RFC 7748, section 6.1.
        raise WrongMessageError(
            owner, f"its key {public.hex()} hides nothing: it is of low order"
        ) from error

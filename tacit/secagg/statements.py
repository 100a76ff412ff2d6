"""The three things that a site signs in a round with its Ed25519 identity (RFC 8032).

Each says what kind of statement it is and which round's: none can stand for another.
"""

from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature

from tacit.secagg.advertisement import Advertisement
from tacit.secagg.context import Cohort, Context
from tacit.secagg.wire import digest, framed

_KEYS: Final = b"tacit secure sum: keys 1"
_INPUT: Final = b"tacit secure sum: input 1"
_SURVIVORS: Final = b"tacit secure sum: survivors 1"
_NAMES: Final = b"tacit secure sum: names 1"


def keys_statement(context: Context, advertised: Advertisement) -> bytes:
    """Say: these are my keys for this round, and what I commit to. The context holds the rest."""
    return framed(
        _KEYS,
        context.digest,
        advertised.site.encode("ascii"),
        advertised.mask_key,
        advertised.channel_key,
        advertised.commitment,
    )


def input_statement(session: bytes, dealers: Iterable[str]) -> bytes:
    """Say: I masked with all my neighbours among these dealers."""
    return framed(_INPUT, session, names_hash(dealers))


def survivors_statement(session: bytes, dealers: Iterable[str], survivors: Iterable[str]) -> bytes:
    """Say: of these dealers I was told that these survived, and I was told nothing else."""
    return framed(_SURVIVORS, session, names_hash(dealers), names_hash(survivors))


def names_hash(names: Iterable[str]) -> bytes:
    """Hash a list of names."""
    return digest(_NAMES, *(name.encode("ascii") for name in names))


def signed_by(cohort: Cohort, name: str, signature: bytes, statement: bytes) -> bool:
    """Return whether the site of this name in the cohort signed a statement."""
    identity = cohort.identity(name)
    if identity is None:
        return False
    try:
        identity.verify(signature, statement)
    except InvalidSignature:
        return False
    return True

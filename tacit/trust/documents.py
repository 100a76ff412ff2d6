"""Signed documents: JSON that a person can read, of which one form only is accepted.

A signature covers the kind of document and its fields in canonical form (sorted keys, no spaces),
so that nothing signed here can be taken for something else. A file must be, byte for byte, the one
that these fields give: no two files say the same.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from tacit.errors import TrustError

MOST_BYTES: Final = 1 << 22
"""Size of a document beyond which it is not read: a roster of some 6000 keys."""

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def to_sign(kind: str, fields: Mapping[str, object]) -> bytes:
    """Return the bytes that a signature covers."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{kind}\0{text}".encode("ascii")


def encode(kind: str, fields: Mapping[str, object], signatures: Mapping[str, bytes]) -> bytes:
    """Write a document with its signatures, by who signed."""
    document = {
        "format": kind,
        **fields,
        "signatures": {by: to_text(signature) for by, signature in signatures.items()},
    }
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode("ascii")


def decode(kind: str, content: bytes, what: object) -> tuple[dict[str, object], dict[str, bytes]]:
    """Read what `encode` wrote; nothing in it is trusted before its signatures are checked.

    Parameters
    ----------
    kind
        The kind of document that it must be.
    content
        The file.
    what
        How an error calls it.

    Returns
    -------
    tuple
        Its fields, and its signatures by who signed.

    Raises
    ------
    TrustError
        It is another file, was altered, or is too large.
    """
    if len(content) > MOST_BYTES:
        raise TrustError(f"{what}: is larger than {MOST_BYTES} bytes: it is another file")
    try:
        fields = json.loads(content)
        if fields.pop("format") != kind:
            raise ValueError("another format")
        signatures = {str(by): from_text(text) for by, text in fields.pop("signatures").items()}
        canonical = encode(kind, fields, signatures)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise TrustError(f"{what}: is not a document of the kind {kind}, or is damaged") from error
    if canonical != content:
        raise TrustError(f"{what}: was altered: it is not as tacit-provision writes it")
    return fields, signatures


def to_text(content: bytes) -> str:
    """Write bytes as text."""
    return b64encode(content).decode("ascii")


def from_text(text: object) -> bytes:
    """Read what `to_text` wrote.

    Raises
    ------
    TypeError, ValueError
        It is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not text")
    return b64decode(text, validate=True)


def time_to_text(moment: datetime) -> str:
    """Write a moment in UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime(_TIME)


def time_from_text(text: object) -> datetime:
    """Read what `time_to_text` wrote.

    Raises
    ------
    TypeError, ValueError
        It is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not text")
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)

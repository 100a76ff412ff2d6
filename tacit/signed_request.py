"""What a site signs of each request to the server: all of it.

Flower's own signature covers only the time of a request. This one covers the sending process, the
path, the time and the body, so that whoever sees a request can neither alter it nor use its
signature for another one; the server takes the same request only once.
"""

from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256

INSTANCE_HEADER: Final = "tacit-instance"
"""Header that names the sending process: a key that is used in two places shows."""
SIGNATURE_HEADER: Final = "tacit-signature"


def signed_text(instance: str, path: str, timestamp: str, body: bytes) -> bytes:
    """Return what is signed of a request; two requests of one process never have the same."""
    return "\n".join(
        ("tacit request 1", instance, path, timestamp, sha256(body).hexdigest())
    ).encode()


def sign(key: EllipticCurvePrivateKey, text: bytes) -> str:
    """Sign with ECDSA and SHA-256; return the signature in base64."""
    return b64encode(key.sign(text, ECDSA(SHA256()))).decode()


def verified(key: EllipticCurvePublicKey, text: bytes, signature: str) -> bool:
    """Return whether `signature` is this key's over this text."""
    try:
        key.verify(b64decode(signature, validate=True), text, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True

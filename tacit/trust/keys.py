"""Private keys in files that only their owner reads, and public keys as bytes.

There are two kinds. EC P-384 is for TLS, for the authority and for Flower's node authentication,
which wants a NIST curve; Ed25519 is a site's identity, with which it signs what other sites read.
Private keys are PEM (PKCS 8) without a passphrase, mode 0600; a public key is the DER of its
SubjectPublicKeyInfo, of which there is exactly one for each key.
"""

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from tacit.errors import TrustError

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
FOLDER: Final = 0o700


def make_ec_key() -> EllipticCurvePrivateKey:
    """Make an EC key on P-384."""
    return generate_private_key(SECP384R1())


def make_identity() -> Ed25519PrivateKey:
    """Make an Ed25519 identity."""
    return Ed25519PrivateKey.generate()


def write_private(path: Path, key: PrivateKey) -> None:
    """Write a new file that only its owner can read.

    Raises
    ------
    TrustError
        There is a file of that name already.
    """
    _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PRIVATE)


def write_public(path: Path, content: bytes) -> None:
    """Write a new file that anybody may read.

    Raises
    ------
    TrustError
        There is a file of that name already.
    """
    _create(path, content, PUBLIC)


def load_ec_key(path: Path) -> EllipticCurvePrivateKey:
    """Read an EC key.

    Raises
    ------
    TrustError
        The file is missing, open to others than its owner, or no private key on P-384.
    """
    key = _load_private(path)
    if not (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)):
        raise TrustError(f"{path}: is not an EC key on the curve P-384 (secp384r1)")
    return key


def load_identity(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 identity.

    Raises
    ------
    TrustError
        The file is missing, open to others than its owner, or no Ed25519 private key.
    """
    key = _load_private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path}: is not an Ed25519 private key")
    return key


def public_bytes(key: PublicKey) -> bytes:
    """Encode a public key: the same bytes for the same key, always."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ec_public_key(encoded: bytes) -> EllipticCurvePublicKey:
    """Decode what `public_bytes` encoded.

    Raises
    ------
    TrustError
        It is not that of a P-384 key.
    """
    key = _load_public(encoded)
    if not (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)):
        raise TrustError("a public key is not an EC key on the curve P-384 (secp384r1)")
    _check_encoding(key, encoded)
    return key


def identity_public_key(encoded: bytes) -> Ed25519PublicKey:
    """Decode what `public_bytes` encoded.

    Raises
    ------
    TrustError
        It is not that of an Ed25519 key.
    """
    key = _load_public(encoded)
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError("a public key is not an Ed25519 key")
    _check_encoding(key, encoded)
    return key


def read(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes.

    Raises
    ------
    TrustError
        It cannot be read or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise TrustError(f"{path}: is larger than {most} bytes: it is another file")
    return content


def _create(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise TrustError(
            f"{path}: is there already, and nothing is overwritten: choose another folder"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _load_private(path: Path) -> object:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(1 << 16)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise TrustError(
            f"{path}: group or others can get at this private key (mode {mode:04o}): "
            f"chmod 600 {path}, and renew it if somebody may have read it"
        )
    try:
        return load_pem_private_key(content, password=None)
    except TypeError as error:
        raise TrustError(f"{path}: has a passphrase: keys here have none") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: is not a private key in PEM (PKCS 8)") from error


def _load_public(encoded: bytes) -> object:
    try:
        return load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError("a public key cannot be read: it is not DER of a known kind") from error


def _check_encoding(key: PublicKey, encoded: bytes) -> None:
    # A second encoding of the same key would pass for another key wherever bytes are compared.
    if public_bytes(key) != encoded:
        raise TrustError("a public key is not in its one encoding (uncompressed DER)")

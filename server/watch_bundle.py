"""Certificate, key and CA with which one end of a watch connection shows who it is.

All three are looked at before they are used: the other end just hangs up on a certificate that it
does not like, and says nothing.
"""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tacit.errors import InputError


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one end of a connection has, as PEM.

    Parameters
    ----------
    certificate, key
        Its own.
    ca
        Certificate of the CA that signed both ends' certificates; there may be several.
    """

    certificate: bytes
    key: bytes
    ca: bytes

    @classmethod
    def read(cls, certificate: Path, key: Path, ca: Path) -> Self:
        """Read three files, and see that they go together and are in force.

        Raises
        ------
        InputError
            Others may read the key, a file is not PEM, the certificate is not the key's, not the
            CA's, or has expired.
        FileNotFoundError
            A file is missing.
        """
        read = cls(certificate.read_bytes(), _read_private(key), ca.read_bytes())
        own, authorities = (
            _certificates(read.certificate, certificate)[0],
            _certificates(read.ca, ca),
        )
        _check_key(own, read.key, certificate, key)
        _check_dates(own, certificate)
        signers = [authority for authority in authorities if _signed(own, authority)]
        if not signers:
            raise InputError(f"{certificate} is not signed by {ca}: take both from one bundle")
        _check_dates(signers[0], ca)
        return read


def _read_private(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise InputError(
                f"{path} is a private key that others may read (mode {mode:04o}): "
                f"run chmod 600 {path}"
            )
        return file.read()


def _certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise InputError(f"{path} is not a certificate in PEM: {error}") from error


def _check_key(own: x509.Certificate, pem: bytes, certificate: Path, key: Path) -> None:
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{key} is not a private key in PEM without a password") from error
    one, other = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (private.public_key(), own.public_key())
    )
    if one != other:
        raise InputError(f"{key} is not the key of {certificate}: take both from one bundle")


def _check_dates(certificate: x509.Certificate, path: Path) -> None:
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise InputError(
            f"{path} expired on {certificate.not_valid_after_utc:%d %B %Y}, and it is "
            f"{now:%d %B %Y} by this machine's clock: ask for a new certificate"
        )
    if now < certificate.not_valid_before_utc:
        raise InputError(
            f"{path} is in force from {certificate.not_valid_before_utc:%d %B %Y %H:%M} UTC, and "
            f"it is {now:%d %B %Y %H:%M} UTC by this machine's clock: is the clock right?"
        )


def _signed(own: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        own.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

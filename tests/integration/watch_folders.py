"""A CA, and folders with a key, a certificate and the CA's, as a coordinator hands them out."""

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
HERE = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
ELSEWHERE = (x509.DNSName("elsewhere.example.org"),)
IN_FORCE, EXPIRED, TOO_EARLY = (-1, 30), (-30, -1), (2, 30)
"""From and to, in days from now."""


def _named(name):
    return x509.Name([] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _sign(subject, public, issuer, signer, days, *, ca, names):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Folder:
    """What one party has."""

    path: object
    kind: str

    @property
    def key(self):
        return self.path / f"{self.kind}.key"

    @property
    def certificate(self):
        return self.path / f"{self.kind}.pem"

    @property
    def ca(self):
        return self.path / "ca.pem"


class Authority:
    """Signs certificates."""

    def __init__(self, name="Tacit CA", days=IN_FORCE):
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = _sign(name, self._key.public_key(), name, self._key, days, ca=True, names=())

    def folder(self, path, kind, name, days=IN_FORCE, names=(), password=None):
        """Make a key and a certificate for `name` in a new folder."""
        path.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        lock = BestAvailableEncryption(password) if password else NoEncryption()
        made = Folder(path, kind)
        descriptor = os.open(made.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        signed = _sign(name, key.public_key(), self.name, self._key, days, ca=False, names=names)
        made.certificate.write_bytes(signed)
        made.ca.write_bytes(self.pem)
        return made

    def server(self, path, days=IN_FORCE, names=HERE):
        return self.folder(path, "server", "coordinator", days, names)

    def watcher(self, path, name="ward", days=IN_FORCE):
        return self.folder(path, "watch", name, days)

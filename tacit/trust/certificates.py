"""X.509 certificates: an authority of one's own, and what it issues for TLS (RFC 5280).

The authority signs every certificate itself, so that there is no chain between. A server's
certificate serves only servers and a client's only clients: no site can pass for the coordinator.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tacit.errors import TrustError
from tacit.trust.hosts import Hosts
from tacit.trust.keys import load_ec_key, public_bytes, read

SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH

AUTHORITY_TERM: Final = timedelta(days=3652)
TERM: Final = timedelta(days=365)
EARLY: Final = timedelta(days=1)
"""How long before it is made a certificate begins, for machines whose clocks are behind."""

MOST_BYTES: Final = 1 << 16
"""Size of a certificate's file beyond which it is not read."""

_UNSOUND: Final = (
    InvalidSignature,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What reading on in a certificate raises that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The key that signs certificates and rosters, and its own certificate."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @staticmethod
    def make(key: EllipticCurvePrivateKey, now: datetime) -> "Authority":
        """Sign an authority's own certificate, good for ten years."""
        public = key.public_key()
        # Two authorities never have the same name: an error can tell them apart.
        name = _name(f"Tacit authority {sha256(public_bytes(public)).hexdigest()[:8]}")
        builder = (
            _builder(public, name, _seconds(now) - EARLY, _seconds(now) + AUTHORITY_TERM)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return Authority(key, builder.sign(key, SHA384()))

    @staticmethod
    def load(key: Path, certificate: Path) -> "Authority":
        """Read an authority.

        Raises
        ------
        TrustError
            A file cannot be used, or the key is not the certificate's.
        """
        authority = load_authority(certificate)
        private = load_ec_key(key)
        check_key(private, key, authority, certificate)
        return Authority(private, authority)


def server_certificate(
    authority: Authority, key: EllipticCurvePublicKey, hosts: Hosts, now: datetime
) -> x509.Certificate:
    """Issue a server's certificate, good for a year, to names and addresses.

    Raises
    ------
    TrustError
        The authority has expired.
    """
    names = x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in hosts.names),
            *(x509.IPAddress(address) for address in hosts.addresses),
        ]
    )
    builder = _leaf(authority, key, "Tacit coordinator", SERVER, now)
    return builder.add_extension(names, critical=False).sign(authority.key, SHA384())


def client_certificate(
    authority: Authority, key: EllipticCurvePublicKey, name: str, now: datetime
) -> x509.Certificate:
    """Issue a client's certificate, good for a year, to a name of at most 64 letters.

    Raises
    ------
    TrustError
        The authority has expired.
    """
    return _leaf(authority, key, name, CLIENT, now).sign(authority.key, SHA384())


def term(authority: Authority, now: datetime) -> tuple[datetime, datetime]:
    """Return from when until when what is issued now is good: a year, and never longer than it.

    Raises
    ------
    TrustError
        The authority has expired.
    """
    end = authority.certificate.not_valid_after_utc
    if now >= end:
        raise TrustError(
            f"the authority's certificate ended on {end:%Y-%m-%d} and issues nothing any more: "
            "make a new one with tacit-provision init"
        )
    return _seconds(now) - EARLY, min(_seconds(now) + TERM, end)


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate in PEM.

    Raises
    ------
    TrustError
        The file is missing or holds no certificate with a P-384 key.
    """
    return parse_certificate(read(path, MOST_BYTES), path)


def parse_certificate(pem: bytes, what: object) -> x509.Certificate:
    """Decode a certificate in PEM; an error calls it `what`.

    Raises
    ------
    TrustError
        It is no certificate with a P-384 key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise TrustError(f"{what}: is not a certificate in PEM") from error
    if not (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)):
        raise TrustError(f"{what}: its key is not an EC key on the curve P-384 (secp384r1)")
    return certificate


def load_authority(path: Path) -> x509.Certificate:
    """Read an authority's certificate.

    Raises
    ------
    TrustError
        It is no certificate, not self-signed, or not an authority's.
    """
    certificate = load_certificate(path)
    try:
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except _UNSOUND as error:
        raise TrustError(f"{path}: is not the certificate of an authority") from error
    if not constraints.value.ca:
        raise TrustError(f"{path}: is not the certificate of an authority")
    return certificate


def check_issued(
    certificate: x509.Certificate, what: object, ca: x509.Certificate, usage: x509.ObjectIdentifier
) -> None:
    """Check that an authority issued a certificate for a use; dates are looked at elsewhere.

    Parameters
    ----------
    certificate
        The one in question.
    what
        How an error calls it: its path, or whose it is.
    ca
        The authority's.
    usage
        `SERVER` or `CLIENT`.

    Raises
    ------
    TrustError
        It did not.
    """
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise TrustError(
            f"{what}: was not issued by {common_name(ca)!r}: it belongs to another authority"
        ) from error
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise TrustError(f"{what}: does not say what it is for") from error
    if usage not in usages:
        wanted = "server" if usage == SERVER else "client"
        raise TrustError(f"{what}: is not a {wanted}'s certificate")


def check_key(
    key: EllipticCurvePrivateKey, path: Path, certificate: x509.Certificate, of: Path
) -> None:
    """Check that a private key is the one of a certificate.

    Raises
    ------
    TrustError
        It is not.
    """
    if public_bytes(key.public_key()) != certified_key(certificate):
        raise TrustError(f"{path}: is not the key of {of.name}: they come from different bundles")


def certified_key(certificate: x509.Certificate) -> bytes:
    """Return the public key that a certificate is made out to, as `public_bytes`."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def common_name(certificate: x509.Certificate) -> str:
    """Return whom a certificate names; nothing where it names nobody."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def fingerprint(certificate: x509.Certificate) -> str:
    """Write a certificate's SHA-256 as ``openssl x509 -fingerprint -sha256`` does."""
    return certificate.fingerprint(SHA256()).hex(":").upper()


def to_pem(certificate: x509.Certificate) -> bytes:
    """Write a certificate as its file holds it."""
    return certificate.public_bytes(Encoding.PEM)


def _leaf(
    authority: Authority,
    key: EllipticCurvePublicKey,
    name: str,
    usage: x509.ObjectIdentifier,
    now: datetime,
) -> x509.CertificateBuilder:
    since, until = term(authority, now)
    issuer = authority.certificate
    return (
        _builder(key, _name(name), since, until)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )


def _builder(
    key: EllipticCurvePublicKey, subject: x509.Name, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _seconds(moment: datetime) -> datetime:
    # X.509 and the roster know whole seconds only.
    return moment.replace(microsecond=0)

"""What a site that makes its own keys hands in: the public ones, with proof that it holds them.

The node key and the identity sign the request; the key for watching signs the certificate request
in it (PKCS 10). So nobody can enrol under a key that somebody else has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tacit.errors import TrustError
from tacit.trust.documents import decode, encode, from_text, to_sign, to_text
from tacit.trust.keys import ec_public_key, identity_public_key, public_bytes, read
from tacit.trust.names import check_name

KIND: Final = "tacit-request/1"
MOST_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Request:
    """A site's name and its public keys, as `public_bytes`."""

    name: str
    node: bytes
    identity: bytes
    watch: bytes


def make_request(
    name: str,
    node: EllipticCurvePrivateKey,
    identity: Ed25519PrivateKey,
    watch: EllipticCurvePrivateKey,
) -> bytes:
    """Write a site's request, signed by its keys.

    Raises
    ------
    ConfigurationError
        The name is malformed.
    """
    check_name(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(watch, SHA384())
    fields = {
        "name": name,
        "node": to_text(public_bytes(node.public_key())),
        "identity": to_text(public_bytes(identity.public_key())),
        "watch": to_text(signing.public_bytes(Encoding.DER)),
    }
    signed = to_sign(KIND, fields)
    signatures = {"node": node.sign(signed, ECDSA(SHA384())), "identity": identity.sign(signed)}
    return encode(KIND, fields, signatures)


def read_request(path: Path) -> Request:
    """Read a site's request and check that whoever made it holds the keys.

    Raises
    ------
    TrustError
        It was altered, or a key is not its maker's.
    """
    fields, signatures = decode(KIND, read(path, MOST_BYTES), path)
    try:
        name = fields["name"]
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is not text")
        node, identity = from_text(fields["node"]), from_text(fields["identity"])
        signing = x509.load_der_x509_csr(from_text(fields["watch"]))
        watch = signing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        subject, sound = [str(part.value) for part in signing.subject], signing.is_signature_valid
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise TrustError(f"{path}: is not a site's request, or is damaged") from error
    ec_public_key(watch)
    signed = to_sign(KIND, fields)
    try:
        ec_public_key(node).verify(signatures.get("node", b""), signed, ECDSA(SHA384()))
        identity_public_key(identity).verify(signatures.get("identity", b""), signed)
    except InvalidSignature as error:
        raise TrustError(
            f"{path}: was altered, or whoever made it does not hold these keys"
        ) from error
    if not sound or subject != [name]:
        raise TrustError(f"{path}: its request for a certificate is not {name!r}'s own")
    check_name(name)
    return Request(name, node, identity, watch)

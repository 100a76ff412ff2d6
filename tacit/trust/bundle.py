"""What the coordinator's machine holds, and what a site's: read, and checked to fit together.

A bundle is a folder made by tacit-provision. Its private keys are its holder's and nobody else's.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tacit.errors import TrustError
from tacit.trust.certificates import (
    CLIENT,
    SERVER,
    certified_key,
    check_issued,
    check_key,
    common_name,
    load_authority,
    load_certificate,
    parse_certificate,
)
from tacit.trust.keys import load_ec_key, load_identity, public_bytes
from tacit.trust.names import SERVER_NAME
from tacit.trust.roster import Roster
from tacit.trust.validity import Validity, utc_now

CA: Final = "ca.pem"
ROSTER: Final = "roster.json"
SERVER_CERTIFICATE: Final = "server.pem"
SERVER_KEY: Final = "server.key"
WATCH_CERTIFICATE: Final = "watch.pem"
WATCH_KEY: Final = "watch.key"
NODE_KEY: Final = "node.key"
IDENTITY: Final = "identity.key"


@dataclass(frozen=True, slots=True)
class ServerBundle:
    """What the coordinator's machine holds.

    Parameters
    ----------
    certificate, key
        For TLS, towards sites and watchers.
    ca
        The authority's certificate; `authority` is what it says.
    roster
        Which sites there are.
    watch_certificate, watch_key
        With which the coordinator itself watches a run.
    own
        When what the bundle holds of its own counts.
    """

    certificate: Path
    key: Path
    ca: Path
    authority: x509.Certificate
    roster: Roster
    watch_certificate: Path
    watch_key: Path
    own: tuple[Validity, ...]

    @property
    def validities(self) -> tuple[Validity, ...]:
        """When everything in the bundle counts, memberships included."""
        members = (m.validity for m in self.roster.members if m.revoked is None)
        return *self.own, *members

    def watcher(self, pem: bytes, now: datetime | None = None) -> str:
        """Tell who watches, by the certificate with which TLS was set up.

        Parameters
        ----------
        pem
            The certificate, in PEM.

        Returns
        -------
        str
            A site's name, or `SERVER_NAME`.

        Raises
        ------
        TrustError
            The certificate is not one of this authority, or its site's keys do not count now.
        """
        now = now or utc_now()
        certificate = parse_certificate(pem, "a watcher's certificate")
        name = common_name(certificate)
        check_issued(certificate, f"the certificate of watcher {name!r}", self.authority, CLIENT)
        Validity.of(certificate, f"the certificate of watcher {name!r}", "renew it").check(now)
        key = certified_key(certificate)
        if name == SERVER_NAME:
            expected = certified_key(load_certificate(self.watch_certificate))
        else:
            expected = self.roster.member(name, now).watch
        if key != expected:
            raise TrustError(f"watcher {name!r} comes with another key than its own")
        return name


@dataclass(frozen=True, slots=True)
class SiteBundle:
    """What a site's machine holds.

    Parameters
    ----------
    name
        The site's name, as the authority knows it.
    ca
        The authority's certificate; `authority` is what it says.
    node_key
        For Flower's node authentication.
    identity
        Signs what other sites read.
    roster
        Which sites there are.
    watch_certificate, watch_key
        With which the site watches a run.
    own
        When what the bundle holds counts.
    """

    name: str
    ca: Path
    authority: x509.Certificate
    node_key: EllipticCurvePrivateKey
    identity: Ed25519PrivateKey
    roster: Roster
    watch_certificate: Path
    watch_key: Path
    own: tuple[Validity, ...]

    @property
    def validities(self) -> tuple[Validity, ...]:
        """When everything in the bundle counts."""
        return self.own


def load_server_bundle(path: Path, now: datetime | None = None) -> ServerBundle:
    """Read the coordinator's bundle and check that it fits together and counts now.

    Raises
    ------
    TrustError
        A file is missing, altered, open to others, over, or belongs to another bundle.
    """
    bundle = read_server_bundle(path)
    _check(bundle.own, now)
    return bundle


def read_server_bundle(path: Path) -> ServerBundle:
    """Do as `load_server_bundle` without looking at the clock: to show it or to renew it."""
    authority = load_authority(path / CA)
    certificate = _certificate(path, SERVER_CERTIFICATE, SERVER_KEY, authority, SERVER)
    watch = _certificate(path, WATCH_CERTIFICATE, WATCH_KEY, authority, CLIENT)
    if common_name(watch) != SERVER_NAME:
        raise TrustError(f"{path / WATCH_CERTIFICATE}: is {common_name(watch)!r}'s, not ours")
    renew = f"tacit-provision renew DIR {SERVER_NAME}"
    return ServerBundle(
        certificate=path / SERVER_CERTIFICATE,
        key=path / SERVER_KEY,
        ca=path / CA,
        authority=authority,
        roster=Roster.read(path / ROSTER, authority),
        watch_certificate=path / WATCH_CERTIFICATE,
        watch_key=path / WATCH_KEY,
        own=(
            _of_authority(authority),
            Validity.of(certificate, "the server's certificate", renew),
            Validity.of(watch, "the coordinator's certificate for watching", renew),
        ),
    )


def load_site_bundle(path: Path, now: datetime | None = None) -> SiteBundle:
    """Read a site's bundle and check that it fits together and counts now.

    Raises
    ------
    TrustError
        A file is missing, altered, open to others, over, or belongs to another bundle; or the
        roster does not list the site with these keys, or they are revoked.
    """
    authority = load_authority(path / CA)
    watch = _certificate(path, WATCH_CERTIFICATE, WATCH_KEY, authority, CLIENT)
    node_key, identity = load_ec_key(path / NODE_KEY), load_identity(path / IDENTITY)
    roster = Roster.read(path / ROSTER, authority)
    name = common_name(watch)
    member = next((m for m in roster.members if m.watch == certified_key(watch)), None)
    if member is None or member.name != name:
        raise TrustError(
            f"{path / ROSTER}: version {roster.version} does not list {name!r} with the key of "
            f"{WATCH_CERTIFICATE}: get the bundle anew from the coordinator"
        )
    for key, file, listed in (
        (public_bytes(node_key.public_key()), NODE_KEY, member.node),
        (public_bytes(identity.public_key()), IDENTITY, member.identity),
    ):
        if key != listed:
            raise TrustError(
                f"{path / file}: is not the key that the roster (version {roster.version}) lists "
                f"for {name!r}: files of two bundles are mixed"
            )
    if member.revoked is not None:
        raise TrustError(
            f"{path}: the keys of {name!r} were revoked on {member.revoked:%Y-%m-%d}: get new "
            "ones from the coordinator"
        )
    # The certificate for watching was issued with the membership and ends with it.
    own = (_of_authority(authority), member.validity)
    _check(own, now)
    return SiteBundle(
        name=name,
        ca=path / CA,
        authority=authority,
        node_key=node_key,
        identity=identity,
        roster=roster,
        watch_certificate=path / WATCH_CERTIFICATE,
        watch_key=path / WATCH_KEY,
        own=own,
    )


def warnings(bundle: ServerBundle | SiteBundle, now: datetime | None = None) -> tuple[str, ...]:
    """Return a sentence for each thing in a bundle that is over or ends within 30 days."""
    moment = now or utc_now()
    found = (validity.warning(moment) for validity in bundle.validities)
    return tuple(sentence for sentence in found if sentence is not None)


def _certificate(
    path: Path, file: str, key_file: str, authority: x509.Certificate, usage: x509.ObjectIdentifier
) -> x509.Certificate:
    certificate = load_certificate(path / file)
    check_issued(certificate, path / file, authority, usage)
    key = path / key_file
    check_key(load_ec_key(key), key, certificate, path / file)
    return certificate


def _of_authority(authority: x509.Certificate) -> Validity:
    return Validity.of(
        authority, "the authority's certificate", "make a new one with tacit-provision init"
    )


def _check(validities: tuple[Validity, ...], now: datetime | None) -> None:
    moment = now or utc_now()
    for validity in validities:
        validity.check(moment)

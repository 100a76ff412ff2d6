"""The roster: which sites there are and which keys are theirs, signed by the authority.

It is public. Every change makes a new version, one higher. Entries are only ever added at the end,
and the only thing about one that may change is that it is marked revoked, once: a site that gets
new keys gets a new entry, its old one stays and is revoked. So whoever knows one version can tell
from any later one that no key was exchanged behind its back (`newer`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA384

from tacit.errors import ConfigurationError, TrustError
from tacit.trust.documents import (
    MOST_BYTES,
    decode,
    encode,
    time_from_text,
    time_to_text,
    to_sign,
)
from tacit.trust.keys import read
from tacit.trust.member import Member

KIND: Final = "tacit-roster/1"
_SIGNER: Final = "authority"


@dataclass(frozen=True, slots=True)
class Roster:
    """A verified roster: there is no other way to one than `sign` and `parse`.

    Parameters
    ----------
    version
        Counted from 1; grows by one with each change.
    created
        When this version was made, in UTC.
    members
        Entries in the order in which they were made, revoked ones included.
    signature
        The authority's, ECDSA with SHA-384.
    """

    version: int
    created: datetime
    members: tuple[Member, ...]
    signature: bytes

    @staticmethod
    def sign(
        version: int, created: datetime, members: tuple[Member, ...], key: EllipticCurvePrivateKey
    ) -> "Roster":
        """Sign a version with the authority's key.

        Raises
        ------
        TrustError
            A key is listed twice, or a site again though its entry before is not revoked.
        """
        created = created.replace(microsecond=0)
        _check_members(members)
        signature = key.sign(to_sign(KIND, _fields(version, created, members)), ECDSA(SHA384()))
        return Roster(version, created, members, signature)

    @staticmethod
    def parse(content: bytes, ca: x509.Certificate, what: object = "the roster") -> "Roster":
        """Read and verify a roster; an error calls it `what`.

        Raises
        ------
        TrustError
            It was altered, was not signed by this authority, or contradicts itself.
        """
        fields, signatures = decode(KIND, content, what)
        key = ca.public_key()
        if not isinstance(key, EllipticCurvePublicKey):
            raise TrustError(f"{what}: an authority's key must be an EC key")
        signature = signatures.pop(_SIGNER, b"")
        try:
            key.verify(signature, to_sign(KIND, fields), ECDSA(SHA384()))
        except InvalidSignature as error:
            raise TrustError(
                f"{what}: was altered or signed by another authority than that of ca.pem"
            ) from error
        try:
            version, members = fields["version"], tuple(map(Member.from_fields, _entries(fields)))
            if not isinstance(version, int) or isinstance(version, bool) or version < 1:
                raise ValueError(f"version {version!r}: versions count from 1")
            roster = Roster(version, time_from_text(fields["created"]), members, signature)
        except (KeyError, TypeError, ValueError, ConfigurationError) as error:
            raise TrustError(f"{what}: is signed and cannot be read: {error}") from error
        # What is unknown here and yet signed may mean something to a later version of Tacit.
        if _fields(version, roster.created, members) != fields:
            raise TrustError(f"{what}: holds more than this version of Tacit understands")
        _check_members(members)
        return roster

    @staticmethod
    def read(path: Path, ca: x509.Certificate) -> "Roster":
        """Read and verify a roster's file.

        Raises
        ------
        TrustError
            It is missing, was altered, or was not signed by this authority.
        """
        return Roster.parse(read(path, MOST_BYTES), ca, path)

    def to_bytes(self) -> bytes:
        """Write it as its file holds it."""
        fields = _fields(self.version, self.created, self.members)
        return encode(KIND, fields, {_SIGNER: self.signature})

    def latest(self, name: str) -> Member | None:
        """Return the last entry of a site, revoked or not."""
        return next((m for m in reversed(self.members) if m.name == name), None)

    def member(self, name: str, now: datetime) -> Member:
        """Return the entry of a site that counts now.

        Raises
        ------
        TrustError
            The site is not listed, is revoked, or its keys do not count now.
        """
        found = self.latest(name)
        if found is None:
            raise TrustError(f"{name!r} is not in the roster (version {self.version})")
        if found.revoked is not None:
            raise TrustError(f"{name!r} was revoked on {found.revoked:%Y-%m-%d}")
        found.validity.check(now)
        return found

    def valid(self, now: datetime) -> tuple[Member, ...]:
        """Return the entries that count now, in the order of names."""
        counting = [
            m for m in self.members if m.revoked is None and m.valid_from <= now <= m.valid_until
        ]
        return tuple(sorted(counting, key=lambda m: m.name))


def newer(pinned: Roster, offered: Roster) -> Roster:
    """Return the roster to go by from now on: `offered`, if it may follow `pinned`.

    Parameters
    ----------
    pinned
        The roster known so far.
    offered
        Another of the same authority.

    Raises
    ------
    TrustError
        The offered one is older, or exchanges, drops or reinstates a key.
    """
    if offered.version < pinned.version:
        raise TrustError(
            f"the roster offered is version {offered.version} and version {pinned.version} is "
            "known already: it is an old one"
        )
    same_version = offered.version == pinned.version
    if same_version and offered.members == pinned.members and offered.created == pinned.created:
        return pinned
    if same_version or not _follows(pinned.members, offered.members):
        raise TrustError(
            f"the roster offered (version {offered.version}) contradicts the one known (version "
            f"{pinned.version}): entries may be added and revoked, and nothing else: ask whoever "
            "holds the authority's key"
        )
    return offered


def revoke(members: tuple[Member, ...], name: str, now: datetime) -> tuple[Member, ...]:
    """Mark the entry of a site as revoked, where there is one that is not."""
    moment = now.replace(microsecond=0)
    return tuple(
        replace(m, revoked=moment) if m.name == name and m.revoked is None else m for m in members
    )


def _follows(before: tuple[Member, ...], after: tuple[Member, ...]) -> bool:
    return len(after) >= len(before) and all(
        new == old or replace(new, revoked=None) == old
        for old, new in zip(before, after, strict=False)
    )


def _check_members(members: tuple[Member, ...]) -> None:
    keys: set[bytes] = set()
    names: set[str] = set()
    for member in members:
        if len({*keys, *member.keys}) != len(keys) + 3:
            raise TrustError(
                f"a key of {member.name} is listed already: a key is one site's, for one purpose, "
                "once: make new ones"
            )
        keys.update(member.keys)
        if member.name in names:
            raise TrustError(f"{member.name} is listed again after an entry that is not revoked")
        if member.revoked is None:
            names.add(member.name)


def _fields(version: int, created: datetime, members: tuple[Member, ...]) -> dict[str, object]:
    return {
        "version": version,
        "created": time_to_text(created),
        "members": [member.to_fields() for member in members],
    }


def _entries(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    entries = fields["members"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TypeError("members is not a list of entries")
    return entries

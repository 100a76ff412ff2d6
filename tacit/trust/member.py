"""One entry of the roster: a site's public keys and when they count."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tacit.trust.documents import from_text, time_from_text, time_to_text, to_text
from tacit.trust.keys import ec_public_key, identity_public_key
from tacit.trust.names import check_name
from tacit.trust.validity import Validity


@dataclass(frozen=True, slots=True)
class Member:
    """One site's keys, as `public_bytes`, and when they count.

    Parameters
    ----------
    name
        The site's name.
    node
        Its EC key for Flower's node authentication.
    identity
        Its Ed25519 key, which signs what other sites read.
    watch
        Its EC key for watching a run.
    valid_from, valid_until
        When the keys count, in UTC.
    revoked
        When they were revoked; None while they were not.

    Raises
    ------
    ConfigurationError
        The name is malformed.
    TrustError
        A key is not of its kind.
    """

    name: str
    node: bytes
    identity: bytes
    watch: bytes
    valid_from: datetime
    valid_until: datetime
    revoked: datetime | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        ec_public_key(self.node)
        ec_public_key(self.watch)
        identity_public_key(self.identity)

    @property
    def node_key(self) -> EllipticCurvePublicKey:
        """The key of Flower's node authentication."""
        return ec_public_key(self.node)

    @property
    def identity_key(self) -> Ed25519PublicKey:
        """The key that signs what other sites read."""
        return identity_public_key(self.identity)

    @property
    def keys(self) -> tuple[bytes, bytes, bytes]:
        """All three keys."""
        return self.node, self.identity, self.watch

    @staticmethod
    def from_fields(entry: Mapping[str, object]) -> "Member":
        """Read what `to_fields` wrote.

        Raises
        ------
        ConfigurationError, KeyError, TrustError, TypeError, ValueError
            It is something else.
        """
        return Member(
            name=str(entry["name"]),
            node=from_text(entry["node"]),
            identity=from_text(entry["identity"]),
            watch=from_text(entry["watch"]),
            valid_from=time_from_text(entry["valid_from"]),
            valid_until=time_from_text(entry["valid_until"]),
            revoked=None if entry["revoked"] is None else time_from_text(entry["revoked"]),
        )

    def to_fields(self) -> dict[str, object]:
        """Write as JSON values."""
        return {
            "name": self.name,
            "node": to_text(self.node),
            "identity": to_text(self.identity),
            "watch": to_text(self.watch),
            "valid_from": time_to_text(self.valid_from),
            "valid_until": time_to_text(self.valid_until),
            "revoked": None if self.revoked is None else time_to_text(self.revoked),
        }

    @property
    def validity(self) -> Validity:
        """When the keys count, unless they are revoked."""
        remedy = f"tacit-provision renew DIR {self.name}"
        return Validity(f"the membership of {self.name}", self.valid_from, self.valid_until, remedy)

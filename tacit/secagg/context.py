"""What one secure sum is about: the sites, the round, the model and how numbers are counted.

Every site makes the context itself, from the roster that it pinned, the weights that it got and
the configuration that it runs; nothing of it is taken from a message. Keys, signatures and masks
are bound to its digest, so that sites whose contexts differ in anything cannot sum: the masks of a
site with another model never cancel (against Pasquini et al. 2022, arXiv 2111.07380, where a server
sends one site another model to read that site's part out of the sum).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tacit.errors import ConfigurationError
from tacit.secagg.assumptions import Assumptions, quorum
from tacit.secagg.wire import HASH_BYTES, MOST_SITES, digest
from tacit.trust.keys import identity_public_key
from tacit.trust.names import check_name


class Modulus(Enum):
    """What sums are taken modulo: 2 to the power of the value."""

    BITS_16 = 16
    BITS_32 = 32

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The type of a vector's numbers, little-endian."""
        return np.dtype("<u2") if self is Modulus.BITS_16 else np.dtype("<u4")


@dataclass(frozen=True)
class Cohort:
    """The sites that may take part in a round, by the identities that everybody pinned.

    Parameters
    ----------
    identities
        The Ed25519 public key of each site, as `tacit.trust.keys.public_bytes`, by its name; put in
        order.

    Raises
    ------
    ConfigurationError
        There are fewer than two sites, too many, a malformed name, or an identity twice.
    TrustError
        A key is not an Ed25519 key.
    """

    identities: Mapping[str, bytes]

    def __post_init__(self) -> None:
        count = len(self.identities)
        if not 2 <= count <= MOST_SITES:
            raise ConfigurationError(
                f"a secure sum of {count} sites is not possible: take 2 to {MOST_SITES}"
            )
        if len(set(self.identities.values())) != count:
            raise ConfigurationError("two sites of a secure sum have the same identity")
        for name in self.identities:
            check_name(name)
        object.__setattr__(self, "identities", dict(sorted(self.identities.items())))
        # Parsed here: a key that is none must not be found in the middle of a round.
        keys = {name: identity_public_key(key) for name, key in self.identities.items()}
        object.__setattr__(self, "_keys", keys)

    @property
    def quorum(self) -> int:
        """Fewest sites that must take part in every stage: `tacit.secagg.assumptions.quorum`."""
        return quorum(len(self.identities))

    def identity(self, name: str) -> Ed25519PublicKey | None:
        """Return a site's identity, or None where there is no such site."""
        keys: Mapping[str, Ed25519PublicKey] = self.__dict__["_keys"]
        return keys.get(name)

    @cached_property
    def digest(self) -> bytes:
        """Hash of the names, the identities and the quorum."""
        written = [p for name, key in self.identities.items() for p in (name.encode("ascii"), key)]
        return digest(b"tacit secure sum: cohort 1", self.quorum.to_bytes(4, "big"), *written)


@dataclass(frozen=True)
class Context:
    """One secure sum.

    Parameters
    ----------
    run
        Name of the run.
    round
        Which sum of the run this is, at least 0. No two sums have the same.
    cohort
        The sites that may take part.
    modulus
        What the sum is taken modulo.
    length
        Numbers in a vector, at least 1.
    weights_hash
        SHA-256 of the global weights that the sites work on.
    configuration_hash
        SHA-256 of the configuration that they run.
    assumptions
        How many sites lie or drop out at most: it decides who masks with whom.

    Raises
    ------
    ConfigurationError
        A number is out of its range, or a hash has another length.
    """

    run: str
    round: int
    cohort: Cohort
    modulus: Modulus
    length: int
    weights_hash: bytes
    configuration_hash: bytes
    assumptions: Assumptions = field(default_factory=Assumptions)

    def __post_init__(self) -> None:
        if not 0 <= self.round < 2**63:
            raise ConfigurationError(f"round={self.round} of a secure sum must not be negative")
        if not 1 <= self.length < 2**32:
            raise ConfigurationError(f"length={self.length} of a secure sum must be in 1..2**32-1")
        for hash in (self.weights_hash, self.configuration_hash):
            if len(hash) != HASH_BYTES:
                raise ConfigurationError(f"a hash has {HASH_BYTES} bytes, not {len(hash)}")

    @cached_property
    def digest(self) -> bytes:
        """Hash of all of it."""
        return digest(
            b"tacit secure sum: context 1",
            self.run.encode(),
            self.round.to_bytes(8, "big"),
            self.cohort.digest,
            self.modulus.value.to_bytes(1, "big"),
            self.length.to_bytes(4, "big"),
            self.weights_hash,
            self.configuration_hash,
            self.assumptions.to_bytes(),
        )

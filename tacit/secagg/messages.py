"""What sites and the server send each other in a secure sum, and its bytes.

===========  =============  =============================================================
a site has   and sends      then the server sends every site still there
===========  =============  =============================================================
advertised   Advertisement  Directory, the same for all
shared       Dealing        Dealt, with the shares that are for this site
masked       MaskedInput    Survivors, with signatures of this site's surviving neighbours
agreed       Agreement      Agreements, of a quorum
revealed     Revealed
===========  =============  =============================================================

The first two are in `tacit.secagg.advertisement`. A message is a frozen record with `encode`, and
`decode` reads the bytes of one kind and takes exactly what `encode` writes. Names are in order;
keys, hashes and seeds have 32 bytes, signatures 64.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol, Self, TypeVar

from tacit.errors import WrongMessageError
from tacit.secagg.sealed import SEALED_BYTES, Secret
from tacit.secagg.shamir import SHARE_BYTES
from tacit.secagg.wire import (
    HASH_BYTES,
    SIGNATURE_BYTES,
    Entries,
    Reader,
    check_order,
    counted,
    listed,
    named,
)


class Stage(IntEnum):
    """What a site has done last."""

    NOTHING = 0
    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    AGREED = 4
    REVEALED = 5


@dataclass(frozen=True, slots=True)
class Deal:
    """One holder's shares of one dealer, sealed, with the hashes of both.

    Parameters
    ----------
    site
        The holder where the dealer sends it; the dealer where the server passes it on.
    sealed
        `SEALED_BYTES`; nothing for the dealer's own shares, which do not travel.
    self_mask_hash, mask_key_hash
        `tacit.secagg.sealed.share_hash` of the shares.
    """

    site: str
    sealed: bytes
    self_mask_hash: bytes
    mask_key_hash: bytes

    def published(self, secret: Secret) -> bytes:
        """The hash of the share of one secret."""
        return self.self_mask_hash if secret is Secret.SELF_MASK else self.mask_key_hash

    def body(self) -> bytes:
        """Write it."""
        size = bytes([len(self.sealed)])
        return named(self.site) + size + self.sealed + self.self_mask_hash + self.mask_key_hash

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `body` wrote."""
        site, size = reader.name(), reader.number(1)
        if size not in (0, SEALED_BYTES):
            raise ValueError(f"has shares of {size} bytes for {site!r}, not {SEALED_BYTES}")
        return cls(site, reader.bytes(size), reader.bytes(HASH_BYTES), reader.bytes(HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Dealing:
    """A dealer's shares for all its holders, itself among them."""

    KIND: ClassVar[bytes] = b"tss3"
    deals: tuple[Deal, ...]

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + counted(deal.body() for deal in self.deals)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(_deals(reader))


@dataclass(frozen=True, slots=True)
class Dealt:
    """Who dealt shares, and the shares of a site's neighbours that are for it."""

    KIND: ClassVar[bytes] = b"tss4"
    dealers: tuple[str, ...]
    deals: tuple[Deal, ...]

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + counted(map(named, self.dealers)) + counted(d.body() for d in self.deals)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(reader.names(), _deals(reader))


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """A site's vector under its masks.

    Parameters
    ----------
    vector
        Little-endian numbers of the context's modulus; nothing but them, 4 or 2 bytes each.
    signature
        The site's, over the dealers with whom it masked.
    complaints
        Dealers whose shares for this site could not be opened or were not as published.
    """

    KIND: ClassVar[bytes] = b"tss5"
    vector: memoryview = field(repr=False)
    signature: bytes
    complaints: tuple[str, ...]

    def encode(self) -> bytes:
        """Write it; the vector first, where it is aligned."""
        size = self.vector.nbytes.to_bytes(8, "big")
        tail = self.signature + counted(map(named, self.complaints))
        return b"".join((self.KIND, bytes(4), size, self.vector, tail))

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind; the vector is not copied."""
        if reader.number(4):
            raise ValueError("has something where nothing should be")
        vector = reader.take(reader.number(8))
        return cls(vector, reader.bytes(SIGNATURE_BYTES), reader.names())


@dataclass(frozen=True, slots=True)
class Survivors:
    """Whose vectors are summed, and that a site's surviving neighbours masked with the dealers."""

    KIND: ClassVar[bytes] = b"tss6"
    sites: tuple[str, ...]
    signatures: Entries

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + counted(map(named, self.sites)) + listed(self.signatures)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(reader.names(), reader.entries(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Agreement:
    """A site's signature over the survivors that it was told of."""

    KIND: ClassVar[bytes] = b"tss7"
    signature: bytes

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + self.signature

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(reader.bytes(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Agreements:
    """Signatures over the survivors, of a quorum or more."""

    KIND: ClassVar[bytes] = b"tss8"
    signatures: Entries

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + listed(self.signatures)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(reader.entries(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Revealed:
    """What opens the sum, from one holder.

    Parameters
    ----------
    self_masks
        Its shares of the self-masks of survivors.
    mask_keys
        Its shares of the mask keys of those who dropped out.
    seeds
        The seeds that it shared with those, 32 bytes each. They say nothing that the keys would
        not, and open the sum where somebody dealt shares that cannot be used.
    """

    KIND: ClassVar[bytes] = b"tss9"
    self_masks: Entries = field(repr=False)
    mask_keys: Entries = field(repr=False)
    seeds: Entries = field(repr=False)

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + b"".join(map(listed, (self.self_masks, self.mask_keys, self.seeds)))

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        return cls(*(reader.entries(size) for size in (SHARE_BYTES, SHARE_BYTES, HASH_BYTES)))


class _Kind(Protocol):
    KIND: ClassVar[bytes]

    @classmethod
    def read(cls, reader: Reader) -> Self: ...


_Message = TypeVar("_Message", bound=_Kind)


def decode(kind: type[_Message], content: bytes, sender: str) -> _Message:
    """Read the bytes of a message.

    Parameters
    ----------
    kind
        The class that it must be of.
    content
        The bytes.
    sender
        Whose they are, for the error.

    Raises
    ------
    WrongMessageError
        They are not of this kind, malformed, or written in another way than `encode` does.
    """
    reader = Reader(content)
    try:
        if reader.bytes(len(kind.KIND)) != kind.KIND:
            raise ValueError("is another message")
        message = kind.read(reader)
        reader.end()
    except ValueError as error:
        raise WrongMessageError(
            sender, f"this is not the {kind.__name__} that was awaited: it {error}"
        ) from error
    return message


def _deals(reader: Reader) -> tuple[Deal, ...]:
    deals = tuple(Deal.read(reader) for _ in range(reader.count()))
    check_order([deal.site for deal in deals])
    return deals

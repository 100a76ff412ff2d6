"""The first messages of a round: each site's public keys, and all of them together."""

from dataclasses import dataclass
from typing import ClassVar, Self

from tacit.secagg.wire import HASH_BYTES, SIGNATURE_BYTES, Reader, check_order, counted, named


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A site's public keys for the round and its commitment to its self-mask, signed."""

    KIND: ClassVar[bytes] = b"tss1"
    site: str
    mask_key: bytes
    channel_key: bytes
    commitment: bytes
    signature: bytes

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """Both public keys."""
        return self.mask_key, self.channel_key

    def body(self) -> bytes:
        """Write it without its kind."""
        keys = self.mask_key + self.channel_key + self.commitment
        return named(self.site) + keys + self.signature

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + self.body()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `body` wrote."""
        site = reader.name()
        keys = [reader.bytes(HASH_BYTES) for _ in range(3)]
        return cls(site, keys[0], keys[1], keys[2], reader.bytes(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Directory:
    """All advertisements of the round."""

    KIND: ClassVar[bytes] = b"tss2"
    advertisements: tuple[Advertisement, ...]

    def encode(self) -> bytes:
        """Write it."""
        return self.KIND + counted(listed.body() for listed in self.advertisements)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what `encode` wrote after its kind."""
        listed = tuple(Advertisement.read(reader) for _ in range(reader.count()))
        check_order([one.site for one in listed])
        return cls(listed)

"""Keys against RFC 7748 and an HKDF written out, and what they are bound to; sealed shares."""

import hashlib
import hmac
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from secagg_example import refused

from tacit.errors import WrongMessageError
from tacit.secagg.advertisement import Advertisement
from tacit.secagg.keys import (
    RoundKeys,
    check_key,
    commitment,
    mask_seed,
    receiving_key,
    sending_key,
)
from tacit.secagg.sealed import SEALED_BYTES, Bundle, Secret, seal, share_hash, unseal
from tacit.secagg.wire import digest, framed

SESSION, ANOTHER = bytes([7]) * 32, bytes([8]) * 32
SHARES = Bundle(bytes([1]) * 33, bytes([2]) * 33)

# RFC 7748, section 5.2: a scalar, a point, and what they make.
SCALAR = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
POINT = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
SHARED = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869, sections 2.2 and 2.3: no salt is zeros, and 32 bytes are one block."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def advertised(site: str, keys: RoundKeys) -> Advertisement:
    public = [key.public_key().public_bytes_raw() for key in (keys.mask, keys.channel)]
    return Advertisement(site, *public, bytes(32), bytes(64))


def test_known_answers():
    own = X25519PrivateKey.from_private_bytes(SCALAR)
    other = Advertisement("b", POINT, POINT, bytes(32), bytes(64))
    mask = hkdf(SHARED, framed(b"tacit secure sum: mask 1", SESSION, b"a", b"b"))
    assert mask_seed(own, "a", other, SESSION) == mask
    there = hkdf(SHARED, framed(b"tacit secure sum: channel 1", SESSION, b"a", b"b"))
    assert sending_key(own, "a", other, SESSION) == there
    back = hkdf(SHARED, framed(b"tacit secure sum: channel 1", SESSION, b"b", b"a"))
    assert receiving_key(own, "a", other, SESSION) == back


def test_the_hkdf_of_these_tests_gives_the_published_answer():
    """RFC 5869, appendix A.3: no salt and no info; the first of two blocks."""
    published = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert hkdf(bytes([0x0B]) * 22, b"").hex() == published


def test_two_sites_derive_the_same_and_others_do_not():
    a, b = RoundKeys(), RoundKeys()
    for_a, for_b = advertised("a", a), advertised("b", b)
    derived = {
        "mask": mask_seed(a.mask, "a", for_b, SESSION),
        "there": sending_key(a.channel, "a", for_b, SESSION),
        "back": sending_key(b.channel, "b", for_a, SESSION),
        "another session": mask_seed(a.mask, "a", for_b, ANOTHER),
        "another name": mask_seed(a.mask, "c", for_b, SESSION),
    }
    assert all(x != y for x, y in combinations(derived.values(), 2))
    assert derived["mask"] == mask_seed(b.mask, "b", for_a, SESSION)
    assert derived["there"] == receiving_key(b.channel, "b", for_a, SESSION)
    assert derived["back"] == receiving_key(a.channel, "a", for_b, SESSION)


def test_keys_are_fresh():
    one, two = RoundKeys(), RoundKeys()
    secrets = [
        secret
        for keys in (one, two)
        for secret in (
            keys.mask.private_bytes_raw(),
            keys.channel.private_bytes_raw(),
            keys.self_mask,
        )
    ]
    assert len(set(secrets)) == 6


@pytest.mark.parametrize("point", [bytes(32), bytes([1, *bytes(31)])])
def test_a_key_of_low_order_is_its_owners(point):
    """RFC 7748, section 6.1: the shared secret would be zero."""
    refused(WrongMessageError, lambda: check_key(point, "mallory"), "mallory", "low order")
    check_key(POINT, "county")


def test_a_commitment_binds_site_and_context_and_value():
    made = [
        commitment(SESSION, "a", bytes(32)),
        commitment(ANOTHER, "a", bytes(32)),
        commitment(SESSION, "b", bytes(32)),
        commitment(SESSION, "a", bytes([1]) * 32),
    ]
    assert len(set(made)) == 4


def test_framed_parts_are_never_mistaken():
    assert framed(b"ab", b"c") != framed(b"a", b"bc") != framed(b"abc")
    assert framed(b"a") == b"\0\0\0\x01a"
    assert digest(b"a") == hashlib.sha256(b"\0\0\0\x01a").digest()


def test_sealed_shares_open_for_their_holder_only():
    key = bytes(range(32))
    sealed = seal(SHARES, key, SESSION, "a", "b")
    assert len(sealed) == SEALED_BYTES
    assert unseal(sealed, key, SESSION, "a", "b") == SHARES
    for changed in (
        (key, ANOTHER, "a", "b"),
        (key, SESSION, "a", "c"),
        (key, SESSION, "b", "b"),
        (bytes(32), SESSION, "a", "b"),
    ):
        refused(WrongMessageError, lambda c=changed: unseal(sealed, *c), changed[2])


def test_every_changed_byte_of_sealed_shares_is_found():
    key = bytes(range(32))
    sealed = seal(SHARES, key, SESSION, "a", "b")
    for place in range(len(sealed)):
        wrong = bytearray(sealed)
        wrong[place] ^= 1
        refused(WrongMessageError, lambda w=wrong: unseal(bytes(w), key, SESSION, "a", "b"), "a: ")
    for wrong in (b"", sealed[:-1], sealed + b"\0"):
        refused(WrongMessageError, lambda w=wrong: unseal(w, key, SESSION, "a", "b"), "a: ")


def test_the_same_shares_are_never_sealed_to_the_same():
    assert seal(SHARES, bytes(32), SESSION, "a", "b") != seal(SHARES, bytes(32), SESSION, "a", "b")
    assert "\\x01" not in repr(SHARES)


def test_a_shares_hash_is_of_all_that_it_is():
    share = bytes(33)
    hashes = {
        share_hash(session, dealer, holder, secret, share)
        for session in (SESSION, ANOTHER)
        for dealer in ("a", "b")
        for holder in ("a", "b")
        for secret in Secret
    }
    assert len(hashes) == 16

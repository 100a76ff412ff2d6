"""Keys in files: who may read them, and that one key has one encoding."""

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from trust_example import refused

from tacit.trust import keys
from tacit.trust.keys import (
    ec_public_key,
    identity_public_key,
    load_ec_key,
    load_identity,
    make_ec_key,
    make_identity,
    public_bytes,
    read,
    write_private,
    write_public,
)

# RFC 8410, section 10: the private key of 10.3 and the public key of 10.1 that belongs to it.
RFC_PRIVATE = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
RFC_PUBLIC = bytes.fromhex(
    "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
)


def written(path, content: bytes, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def pkcs8(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    ("make", "load"), [(make_ec_key, load_ec_key), (make_identity, load_identity)]
)
def test_a_key_comes_back_and_only_its_owner_reads_the_file(make, load, tmp_path):
    key, path = make(), tmp_path / "x.key"
    before = os.umask(0)
    try:
        write_private(path, key)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert public_bytes(load(path).public_key()) == public_bytes(key.public_key())


def test_an_identity_is_read_as_rfc_8410_has_it(tmp_path):
    path = written(tmp_path / "x.key", RFC_PRIVATE.encode())
    assert public_bytes(load_identity(path).public_key()) == RFC_PUBLIC
    assert public_bytes(identity_public_key(RFC_PUBLIC)) == RFC_PUBLIC


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "x.key"
    write_private(path, make_ec_key())
    before = path.read_bytes()
    refused(lambda: write_private(path, make_ec_key()), str(path), "already")
    refused(lambda: write_public(path, b"x"), str(path), "already")
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_a_key_that_others_can_get_at_is_refused(mode, tmp_path, monkeypatch):
    path = written(tmp_path / "x.key", pkcs8(make_ec_key()), mode)
    refused(lambda: load_ec_key(path), str(path), f"{mode:04o}", f"chmod 600 {path}")
    # Planted: without the look at the mode it would be taken.
    monkeypatch.setattr(keys.stat, "S_IMODE", lambda mode: 0o600)
    load_ec_key(path)


def test_a_key_of_another_kind_is_refused(tmp_path):
    ed25519 = written(tmp_path / "a.key", pkcs8(make_identity()))
    p256 = written(tmp_path / "b.key", pkcs8(generate_private_key(SECP256R1())))
    p384 = written(tmp_path / "c.key", pkcs8(make_ec_key()))
    for path in (ed25519, p256):
        refused(lambda path=path: load_ec_key(path), str(path), "P-384")
    for path in (p256, p384):
        refused(lambda path=path: load_identity(path), str(path), "Ed25519")


def test_what_is_no_key_is_refused_by_name(tmp_path):
    refused(lambda: load_ec_key(tmp_path / "x.key"), str(tmp_path / "x.key"), "No such file")
    broken = written(tmp_path / "y.key", b"not a key")
    refused(lambda: load_ec_key(broken), str(broken), "PKCS 8")
    locked = written(tmp_path / "z.key", pkcs8(make_ec_key(), BestAvailableEncryption(b"x")))
    refused(lambda: load_ec_key(locked), str(locked), "passphrase")
    refused(lambda: read(locked, 10), str(locked), "10 bytes")


def test_a_public_key_has_one_encoding(monkeypatch):
    key = make_ec_key().public_key()
    # P-384 in DER: the 24 bytes before the point, with both lengths for 49 bytes instead of 97.
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    header = bytearray(public_bytes(key)[:23])
    header[1], header[21] = len(header) - 2 + len(point), 1 + len(point)
    compressed = bytes(header) + point
    refused(lambda: ec_public_key(compressed), "one encoding")
    # Planted: without the check the same key passes under other bytes.
    monkeypatch.setattr(keys, "_check_encoding", lambda key, encoded: None)
    assert ec_public_key(compressed).public_numbers() == key.public_numbers()


@pytest.mark.parametrize("encoded", [b"", b"x", RFC_PUBLIC[:-1], RFC_PUBLIC + b"\0"])
def test_bytes_that_are_no_public_key_are_refused(encoded):
    refused(lambda: ec_public_key(encoded))
    refused(lambda: identity_public_key(encoded))


def test_public_keys_of_the_other_kind_are_refused():
    refused(lambda: ec_public_key(public_bytes(Ed25519PrivateKey.generate().public_key())), "P-384")
    other = generate_private_key(SECP256R1()).public_key()
    refused(lambda: ec_public_key(public_bytes(other)), "P-384")
    refused(lambda: identity_public_key(public_bytes(make_ec_key().public_key())), "Ed25519")

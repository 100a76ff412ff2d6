"""What a site hands in: its name and keys, and that it holds them."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from trust_example import refused, roster

from tacit.errors import ConfigurationError
from tacit.trust import request as module
from tacit.trust.documents import encode, to_sign
from tacit.trust.keys import make_ec_key, make_identity, public_bytes
from tacit.trust.request import KIND, make_request, read_request


@pytest.fixture
def keys():
    return make_ec_key(), make_identity(), make_ec_key()


@pytest.fixture
def put(tmp_path):
    def put(content: bytes):
        path = tmp_path / "county.request.json"
        path.write_bytes(content)
        return path

    return put


def fields_of(content: bytes) -> dict:
    fields = json.loads(content)
    del fields["format"], fields["signatures"]
    return fields


def signed(fields, keys) -> bytes:
    what = to_sign(KIND, fields)
    signatures = {"node": keys[0].sign(what, ECDSA(SHA384())), "identity": keys[1].sign(what)}
    return encode(KIND, fields, signatures)


def test_a_request_comes_back(keys, put):
    found = read_request(put(make_request("county", *keys)))
    assert found.name == "county"
    assert [found.node, found.identity, found.watch] == [
        public_bytes(key.public_key()) for key in keys
    ]


def test_it_holds_nothing_private(keys):
    content = make_request("county", *keys)
    assert b"PRIVATE" not in content
    for key in keys:
        raw = (
            key.private_numbers().private_value.to_bytes(48, "big")
            if hasattr(key, "private_numbers")
            else key.private_bytes_raw()
        )
        assert raw not in content
        assert raw.hex().encode() not in content


def test_another_way_to_write_the_same_is_refused(keys, put):
    text = make_request("county", *keys).decode()
    for changed in (text + "\n", text.replace("\n ", "\n"), text.replace('": "', '":  "')):
        path = put(changed.encode())
        refused(lambda path=path: read_request(path), "altered")


def test_every_changed_byte_is_found(keys, put):
    content = make_request("county", *keys)
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1
        path = put(bytes(changed))
        refused(lambda path=path: read_request(path))


@pytest.mark.parametrize("which", [0, 1])
def test_a_key_that_its_maker_does_not_hold_is_refused(which, keys, put):
    """Somebody else's public node key or identity, handed in as one's own."""
    victim = (make_ec_key(), make_identity(), make_ec_key())
    fields = fields_of(make_request("county", *keys))
    fields |= {n: v for n, v in fields_of(make_request("county", *victim)).items() if n != "watch"}
    mixed = [*keys]
    mixed[1 - which] = victim[1 - which]
    path = put(signed(fields, mixed))
    refused(lambda: read_request(path), "does not hold")
    mixed[which] = victim[which]
    assert read_request(put(signed(fields, mixed))).node == public_bytes(victim[0].public_key())


def test_a_certificate_request_of_another_name_is_refused(keys, put):
    other = fields_of(make_request("referral", *keys))
    fields = {**fields_of(make_request("county", *keys)), "watch": other["watch"]}
    refused(lambda: read_request(put(signed(fields, keys))), "county")


def test_a_certificate_request_that_its_key_did_not_sign_is_refused(keys, put, monkeypatch):
    """Somebody else's key in a request for a certificate: its own signature does not fit."""
    from base64 import b64decode, b64encode

    victim = make_ec_key()
    fields = fields_of(make_request("county", *keys))
    der = b64decode(fields["watch"])
    mine, theirs = (public_bytes(k.public_key()) for k in (keys[2], victim))
    assert der.count(mine) == 1
    forged = {**fields, "watch": b64encode(der.replace(mine, theirs)).decode()}
    path = put(signed(forged, keys))
    refused(lambda: read_request(path), "own")

    # Planted: a reader that does not look enrols the victim's key.
    class Careless:
        is_signature_valid = True

        def __init__(self, signing):
            self.public_key, self.subject = signing.public_key, signing.subject

    load = module.x509.load_der_x509_csr
    monkeypatch.setattr(module.x509, "load_der_x509_csr", lambda der: Careless(load(der)))
    assert read_request(path).watch == theirs


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", 3), ("name", None), ("node", "AAAA"), ("identity", ""), ("watch", "AAAA")],
)
def test_nonsense_is_refused(key, value, keys, put):
    fields = {**fields_of(make_request("county", *keys)), key: value}
    refused(lambda: read_request(put(signed(fields, keys))))


def test_a_name_that_cannot_be_a_folder_is_refused_at_both_ends(keys, put, monkeypatch):
    with pytest.raises(ConfigurationError, match="site's name"):
        make_request("../county", *keys)
    with monkeypatch.context() as patch:
        patch.setattr(module, "check_name", lambda name: None)
        content = make_request("../county", *keys)
    with pytest.raises(ConfigurationError, match="site's name"):
        read_request(put(content))


def test_another_file_is_refused_by_name(put, tmp_path):
    refused(lambda: read_request(put(roster().to_bytes())), "county.request.json", KIND)
    refused(lambda: read_request(tmp_path / "x"), "x: ", "No such file")
    refused(lambda: read_request(put(b"{}")), "county.request.json", KIND)
    refused(lambda: read_request(put(b"x" * (module.MOST_BYTES + 1))), "larger")


def test_the_key_to_watch_must_be_of_its_kind(keys, put):
    assert isinstance(keys[2].public_key(), EllipticCurvePublicKey)
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    from tacit.trust.documents import to_text

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "county")])
    weak = x509.CertificateSigningRequestBuilder().subject_name(name)
    der = weak.sign(generate_private_key(SECP256R1()), SHA384()).public_bytes(Encoding.DER)
    fields = {**fields_of(make_request("county", *keys)), "watch": to_text(der)}
    refused(lambda: read_request(put(signed(fields, keys))), "P-384")

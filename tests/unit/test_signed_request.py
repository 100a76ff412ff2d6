"""A request's signature covers all of it."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tacit.signed_request import sign, signed_text, verified

KEY = ec.generate_private_key(ec.SECP384R1())
TEXT = signed_text("one", "/a", "2026-01-01T00:00:00+00:00", b"body")


def test_a_signature_fits_its_request():
    assert verified(KEY.public_key(), TEXT, sign(KEY, TEXT))


@pytest.mark.parametrize(
    "other",
    [
        signed_text("two", "/a", "2026-01-01T00:00:00+00:00", b"body"),
        signed_text("one", "/b", "2026-01-01T00:00:00+00:00", b"body"),
        signed_text("one", "/a", "2026-01-01T00:00:01+00:00", b"body"),
        signed_text("one", "/a", "2026-01-01T00:00:00+00:00", b"bodY"),
    ],
)
def test_a_signature_fits_no_other(other):
    assert not verified(KEY.public_key(), other, sign(KEY, TEXT))


@pytest.mark.parametrize(
    "signature", ["", "!", "AAAA", sign(ec.generate_private_key(ec.SECP384R1()), TEXT)]
)
def test_what_is_no_signature(signature):
    assert not verified(KEY.public_key(), TEXT, signature)

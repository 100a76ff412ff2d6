"""Messages come back the same, and nothing else is taken."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_example import refused

from tacit.errors import WrongMessageError
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.messages import (
    Agreement,
    Agreements,
    Deal,
    Dealing,
    Dealt,
    MaskedInput,
    Revealed,
    Survivors,
    decode,
)
from tacit.secagg.sealed import SEALED_BYTES
from tacit.secagg.wire import MOST_SITES


def h(number: int, size: int = 32) -> bytes:
    return bytes([number]) * size


ADVERTISED = [Advertisement(site, h(1), h(2), h(3), h(4, 64)) for site in ("county", "referral")]
DEALS = (Deal("county", h(5, SEALED_BYTES), h(6), h(7)), Deal("referral", b"", h(8), h(9)))
SIGNED = (("county", h(1, 64)), ("referral", h(2, 64)))
SHARES = (("county", h(3, 33)), ("referral", h(4, 33)))

MESSAGES = [
    ADVERTISED[0],
    Directory(tuple(ADVERTISED)),
    Directory(()),
    Dealing(DEALS),
    Dealt(("county", "north", "referral"), DEALS),
    MaskedInput(memoryview(bytes(range(20))), h(1, 64), ("county",)),
    Survivors(("county", "referral"), SIGNED),
    Agreement(h(9, 64)),
    Agreements(SIGNED),
    Revealed(SHARES, SHARES[:1], (("north", h(1)),)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_the_same(message):
    assert decode(type(message), message.encode(), "county") == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_cut_or_longer_it_is_not_taken_and_the_error_says_whose(message):
    content = message.encode()
    for wrong in (*(content[:end] for end in range(len(content))), content + b"\0"):
        refused(
            WrongMessageError,
            lambda w=wrong: decode(type(message), w, "mallory"),
            "mallory: ",
            type(message).__name__,
        )


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_it_is_not_taken_for_another(message):
    for other in {type(m) for m in MESSAGES} - {type(message)}:
        refused(WrongMessageError, lambda o=other: decode(o, message.encode(), "mallory"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MESSAGES), st.binary(max_size=200), st.data())
def test_garbage_gives_that_error_or_what_it_encodes(message, noise, data):
    """One sequence of bytes only says a thing."""
    kind, good = type(message), message.encode()
    at = data.draw(st.integers(4, len(good)))
    content = good[:at] + noise + good[at + data.draw(st.integers(0, 4)) :]
    try:
        decoded = decode(kind, content, "mallory")
    except WrongMessageError:
        return
    assert decoded.encode() == content


@pytest.mark.parametrize(
    "message",
    [
        Directory(tuple(reversed(ADVERTISED))),
        Directory((ADVERTISED[0], ADVERTISED[0])),
        Dealing(tuple(reversed(DEALS))),
        Dealt(("referral", "county"), ()),
        Survivors(("county", "county"), ()),
        Agreements((SIGNED[0], SIGNED[0])),
        MaskedInput(memoryview(b""), h(1, 64), ("b", "a")),
        Revealed((), (), (("b", h(1)), ("a", h(1)))),
    ],
    ids=lambda m: type(m).__name__,
)
def test_out_of_order_or_twice_is_not_taken(message):
    refused(
        WrongMessageError,
        lambda: decode(type(message), message.encode(), "mallory"),
        "not in order, or twice",
    )


def test_sizes_are_bounded():
    many = (MOST_SITES + 1).to_bytes(2, "big")
    refused(WrongMessageError, lambda: decode(Agreements, b"tss8" + many, "m"), str(MOST_SITES))
    huge = b"tss5" + bytes(4) + (2**63).to_bytes(8, "big")
    refused(WrongMessageError, lambda: decode(MaskedInput, huge, "m"), "too early")
    for name in (b"\0", b"\x40" + b"a" * 64, b"\x01\xff"):
        refused(WrongMessageError, lambda n=name: decode(Survivors, b"tss6\0\x01" + n, "m"))
    deal = Deal("county", b"short", h(1), h(2))
    refused(WrongMessageError, lambda: decode(Dealing, Dealing((deal,)).encode(), "m"), "county")


def test_a_vector_is_read_where_it_lies():
    vector = memoryview(bytes(range(256)))
    content = MaskedInput(vector, h(1, 64), ()).encode()
    assert content.index(vector) % 8 == 0
    assert decode(MaskedInput, content, "county").vector.obj is content


def test_secrets_are_not_shown():
    assert "\\x03" not in repr(Revealed(SHARES, SHARES, ()))

"""Shamir's sharing: a published vector, interpolation another way, and what t - 1 shares say."""

import secrets
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.secagg import shamir
from tacit.secagg.shamir import PRIME, SHARE_BYTES, join, split, value_at, weights_at_zero


def is_prime(n: int) -> bool:
    """Miller and Rabin, with the first 40 primes as bases."""
    bases = [p for p in range(2, 174) if all(p % q for q in range(2, p))]
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def test_the_field_is_the_smallest_prime_above_every_secret():
    assert is_prime(PRIME)
    assert not any(is_prime(n) for n in range(2**256, PRIME))
    # The test itself: 2**255 - 19 is prime, Carmichael's 1729 is not.
    assert is_prime(2**255 - 19)
    assert not is_prime(1729)


def test_a_published_vector():
    """RFC 9591 (FROST), appendix E.1: 2 of 3 over the order of Ed25519's group."""
    order = 2**252 + 27742317777372353535851937790883648493

    def number(text: str) -> int:
        return int.from_bytes(bytes.fromhex(text), "little")

    secret = number("7b1c33d3f5291d85de664833beb1ad469f7fb6025a0ec78b3a790c6e13a98304")
    coefficient = number("178199860edd8c62f5212ee91eff1295d0d670ab4ed4506866bae57e7030b204")
    shares = {
        1: number("929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509"),
        2: number("a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d"),
        3: number("d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02"),
    }
    for x, share in shares.items():
        assert value_at([secret, coefficient], x, order) == share
    for places in combinations(shares, 2):
        weights = weights_at_zero(places, order)
        joined = sum(w * shares[x] for w, x in zip(weights, places, strict=True)) % order
        assert joined == secret


def test_worked_by_hand_in_a_small_field():
    """Modulo 17: 13 + 10 x + 2 x² is 8, 7, 10 at 1, 2, 3; weights at 0 are 3, -3, 1."""
    assert [value_at([13, 10, 2], x, 17) for x in (1, 2, 3)] == [8, 7, 10]
    assert weights_at_zero((1, 2, 3), 17) == (3, 14, 1)
    assert (3 * 8 + 14 * 7 + 10) % 17 == 13


def test_shares_lie_on_the_drawn_polynomial(monkeypatch):
    """Against an interpolation in rational numbers."""
    drawn = iter([5, 7])
    monkeypatch.setattr(shamir.secrets, "randbelow", lambda below: next(drawn))
    secret = (11).to_bytes(32, "big")
    shares = [int.from_bytes(share, "big") for share in split(secret, 3, 4)]
    assert shares == [11 + 5 * x + 7 * x * x for x in (1, 2, 3, 4)]
    value = Fraction(0)
    for i, y in ((1, shares[0]), (3, shares[2]), (4, shares[3])):
        part = Fraction(y)
        for j in {1, 3, 4} - {i}:
            part *= Fraction(-j, i - j)
        value += part
    assert value == 11


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_t_of_n_give_it_back(secret, data):
    holders = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, holders))
    shares = dict(enumerate(split(secret, threshold, holders), 1))
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert join({x: shares[x] for x in chosen}) == secret
    assert join(shares) == secret
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(2, 9))
def test_fewer_fit_any_secret(secret, other, threshold):
    """For every other secret there is the one share that, with t - 1 true ones, gives it."""
    known = dict(enumerate(split(secret, threshold, threshold), 1))
    del known[threshold]
    *weights, last = weights_at_zero((*known, threshold))
    there = sum(w * int.from_bytes(s, "big") for w, s in zip(weights, known.values(), strict=True))
    missing = (int.from_bytes(other, "big") - there) * pow(last, -1, PRIME) % PRIME
    assert join({**known, threshold: missing.to_bytes(33, "big")}) == other


def test_coefficients_are_fresh_and_over_the_whole_field():
    zero = bytes(32)
    slopes = [int.from_bytes(split(zero, 2, 2)[0], "big") for _ in range(200)]
    assert len(set(slopes)) == 200
    # The highest of 200 uniform draws is below 0.9 of the field with chance 0.9^200 < 1e-9.
    assert max(slopes) > 0.9 * PRIME
    assert min(slopes) < 0.1 * PRIME
    assert shamir.secrets is secrets


def test_a_wrong_share_gives_another_secret():
    """At x = 1, 2, 3 a share that is 1 too high moves the secret by its weight, 3, -3 or 1."""
    secret = bytes(range(32))
    shares = dict(enumerate(split(secret, 3, 5), 1))
    for x, moved in ((1, 3), (2, -3), (3, 1)):
        high = (int.from_bytes(shares[x], "big") + 1) % PRIME
        joined = join({**{y: shares[y] for y in (1, 2, 3)}, x: high.to_bytes(33, "big")})
        assert int.from_bytes(joined, "big") == int.from_bytes(secret, "big") + moved


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: split(bytes(31), 2, 3), "32 bytes"),
        (lambda: split(bytes(32), 4, 3), "threshold=4"),
        (lambda: split(bytes(32), 0, 3), "threshold=0"),
        (lambda: join({1: bytes(32)}), "share 1"),
        (lambda: join({1: PRIME.to_bytes(33, "big")}), "share 1"),
        (lambda: join({0: bytes(33)}), "count from 1"),
        (lambda: join({}), "count from 1"),
        (lambda: join({1: (2**256).to_bytes(33, "big")}), "no secret of 32 bytes"),
    ],
)
def test_what_cannot_be_is_refused(action, words):
    with pytest.raises(ValueError, match=words):
        action()

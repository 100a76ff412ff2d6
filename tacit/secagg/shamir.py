"""Shamir's secret sharing, for secrets of 32 bytes.

Shamir 1979, "How to share a secret" (doi:10.1145/359168.359176): a polynomial of degree t - 1 over
a prime field, whose value at 0 is the secret; holder number x = 1, 2, ... has its value at x. Any t
values give the polynomial, and fewer leave every secret equally likely.

Nothing here tells a wrong share from a right one: compare shares with what their dealer published
of them first (`tacit.secagg.sealed.share_hash`), and check what comes out.
"""

import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

PRIME: Final = 2**256 + 297
"""The smallest prime above 2**256, so that every secret is an element of the field."""

SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """Share a secret among holders 1, 2, ..., so that any `threshold` of them have it.

    Parameters
    ----------
    secret
        32 bytes.
    threshold
        How many shares give the secret, at least 1.
    holders
        How many shares there are, at least `threshold`.

    Returns
    -------
    list of bytes
        33 bytes for each holder, in their order.

    Raises
    ------
    ValueError
        The secret has another length, or there are fewer holders than the threshold.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
    if not 1 <= threshold <= holders:
        raise ValueError(f"threshold={threshold} must be in 1..{holders}, the number of holders")
    # secrets.randbelow draws from os.urandom and rejects what is too large: no value is favoured.
    drawn = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    coefficients = [int.from_bytes(secret, "big"), *drawn]
    return [value_at(coefficients, x).to_bytes(SHARE_BYTES, "big") for x in range(1, holders + 1)]


def join(shares: Mapping[int, bytes]) -> bytes:
    """Give back the secret that as many shares as its threshold belong to.

    Parameters
    ----------
    shares
        33 bytes for each holder's number; exactly as many as the threshold, or more.

    Returns
    -------
    bytes
        The 32 bytes of the secret, or others if a share is wrong.

    Raises
    ------
    ValueError
        A share is malformed, or the shares belong to no secret of 32 bytes.
    """
    values = {x: _element(x, share) for x, share in shares.items()}
    weights = weights_at_zero(tuple(values))
    secret = sum(map(int.__mul__, weights, values.values())) % PRIME
    if secret >= 2**256:
        raise ValueError("the shares belong to no secret of 32 bytes: at least one is wrong")
    return secret.to_bytes(SECRET_BYTES, "big")


def value_at(coefficients: list[int], x: int, prime: int = PRIME) -> int:
    """Return a polynomial's value at x, by Horner's rule; coefficients begin with the constant."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % prime
    return value


@lru_cache(maxsize=1024)
def weights_at_zero(places: tuple[int, ...], prime: int = PRIME) -> tuple[int, ...]:
    """Return what the values at these places are multiplied by to sum to the value at 0.

    Lagrange's basis polynomials at 0: the product over j ≠ i of x_j / (x_j - x_i).

    Raises
    ------
    ValueError
        There is no place, or one is not a number of a holder.
    """
    if not places or min(places) < 1:
        raise ValueError(f"{places} are not numbers of holders, which count from 1")
    weights = []
    for place in places:
        above = below = 1
        for other in places:
            if other != place:
                above = above * other % prime
                below = below * (other - place) % prime
        weights.append(above * pow(below, -1, prime) % prime)
    return tuple(weights)


def _element(x: int, share: bytes) -> int:
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise ValueError(f"share {x} is not {SHARE_BYTES} bytes of a number below 2**256 + 297")
    return value

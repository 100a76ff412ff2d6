"""Sites with identities, contexts, and a server that does as it should or as a test says."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.messages import Agreement, Agreements, Stage, Survivors, decode
from tacit.secagg.server import Server
from tacit.secagg.site import Site
from tacit.secagg.unmasking import Total
from tacit.trust.keys import public_bytes

VICTIM = "site000"
WEIGHTS, CONFIGURATION = hashlib.sha256(b"weights").digest(), hashlib.sha256(b"conf").digest()


def names(count: int) -> list[str]:
    return [f"site{number:03d}" for number in range(count)]


@cache
def identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


@cache
def cohort(count: int) -> Cohort:
    return cohort_of(names(count))


def cohort_of(sites: Iterable[str]) -> Cohort:
    return Cohort({site: public_bytes(identity(site).public_key()) for site in sites})


def context(count: int = 4, **changed) -> Context:
    fields = {
        "run": "hearts",
        "round": 3,
        "cohort": cohort(count),
        "modulus": Modulus.BITS_32,
        "length": 5,
        "weights_hash": WEIGHTS,
        "configuration_hash": CONFIGURATION,
    }
    return Context(**{**fields, **changed})


def vectors(of: Context, seed: int = 0) -> dict[str, np.ndarray]:
    """A vector for each site, over the whole range."""
    drawn = np.random.default_rng(seed)
    size, dtype = 2**of.modulus.value, of.modulus.dtype
    return {site: drawn.integers(0, size, of.length, dtype) for site in of.cohort.identities}


def summed(of: Context, parts: Mapping[str, np.ndarray], sites: Iterable[str]) -> list[int]:
    """The sum by Python's integers."""
    rows = [parts[site].tolist() for site in sites]
    return [sum(column) % 2**of.modulus.value for column in zip(*rows, strict=True)]


class Round:
    """A round of sites and a server; a test may put something between them.

    Parameters
    ----------
    of
        The context of the server and of all sites but those in `contexts`.
    """

    def __init__(self, of: Context, *, least_sites: int = 3, contexts=None) -> None:
        self.context = of
        self.server = Server(of)
        self.vectors = vectors(of)
        self.sites = {
            name: Site(
                (contexts or {}).get(name, of), name, identity(name), least_sites=least_sites
            )
            for name in of.cohort.identities
        }
        self.requests: dict[str, bytes] = dict.fromkeys(self.sites, b"")

    def answers(self, stage: Stage, absent: Iterable[str] = ()) -> dict[str, bytes]:
        """What the sites that are asked and there answer."""
        asked = {name: self.requests[name] for name in self.requests if name not in set(absent)}
        return {name: self.answer(name, stage, request) for name, request in asked.items()}

    def answer(self, name: str, stage: Stage, request: bytes) -> bytes:
        site = self.sites[name]
        match stage:
            case Stage.ADVERTISED:
                return site.advertise()
            case Stage.SHARED:
                return site.share(request)
            case Stage.MASKED:
                return site.mask(request, self.vectors[name])
            case Stage.AGREED:
                return site.agree(request)
            case _:
                return site.reveal(request)

    def take(self, stage: Stage, answers: Mapping[str, bytes]) -> None:
        """Give answers to the server and close the stage."""
        for name, answer in answers.items():
            self.server.receive(name, answer)
        match stage:
            case Stage.ADVERTISED:
                self.requests = self.server.directory()
            case Stage.SHARED:
                self.requests = self.server.dealt()
            case Stage.MASKED:
                self.requests = self.server.survivors()
            case Stage.AGREED:
                self.requests = self.server.agreements()

    def until(self, last: Stage, absent: Mapping[Stage, Iterable[str]] | None = None) -> "Round":
        """Play the stages up to the one after which sites have done `last`."""
        for stage in Stage:
            if Stage.NOTHING < stage <= last:
                self.take(stage, self.answers(stage, (absent or {}).get(stage, ())))
        return self

    def total(self, absent: Mapping[Stage, Iterable[str]] | None = None) -> Total:
        """Play all of it."""
        return self.until(Stage.REVEALED, absent).server.total()

    def check(self, total: Total) -> None:
        """Check that a sum is that of the vectors of its sites."""
        assert total.vector.tolist() == summed(self.context, self.vectors, total.sites)


def refused(kind: type[Exception], action, *words: str) -> str:
    """Check that an action fails, with a message that has these words."""
    with pytest.raises(kind) as caught:
        action()
    said = str(caught.value)
    for word in words:
        assert word in said
    return said


def advertised(played: Round) -> dict[str, Advertisement]:
    answers = played.answers(Stage.ADVERTISED)
    return {name: decode(Advertisement, answer, name) for name, answer in answers.items()}


def directory(listed: dict[str, Advertisement]) -> bytes:
    return Directory(tuple(listed[name] for name in sorted(listed))).encode()


def without(request: bytes, *sites: str) -> bytes:
    """A survivors' list, and its signatures, without some of them."""
    survivors = decode(Survivors, request, "server")
    return Survivors(
        tuple(s for s in survivors.sites if s not in sites),
        tuple((s, signature) for s, signature in survivors.signatures if s not in sites),
    ).encode()


def signed(answers: dict[str, bytes]) -> bytes:
    """Agreements made of sites' answers."""
    entries = ((name, decode(Agreement, a, name).signature) for name, a in answers.items())
    return Agreements(tuple(sorted(entries))).encode()

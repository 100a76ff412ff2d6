"""Sites that have pinned one another, what all of them agree on, and a coordinator that sums."""

import hashlib
from dataclasses import replace
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from site_example import MODEL, ROUND, ROUNDS, RUN, TERMS, zero_weights

from client.allowed import Allowed
from client.secure import SecureSums
from tacit.joint_plan import JointPlan
from tacit.learning.plan import Part
from tacit.messages import SecureRequest, SecureStage, TrainRequest
from tacit.models.trainable import sha256_of
from tacit.privacy.chain import NO_ROWS, Receipt
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.server import Server
from tacit.trust.keys import public_bytes

SITES = ("east", "north", "south", "west")
PART = Part(bits=32, spacing=2.0**-20, dimension=8, sites=7, largest=2**27, weight=0.5)
PLAN = replace(ROUND, part=PART)
ALLOWED = Allowed("wards", MODEL)
WEIGHTS = sha256_of(zero_weights())


@cache
def identity(site):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(site.encode()).digest())


def roster_of(sites=SITES):
    return {site: public_bytes(identity(site).public_key()) for site in sites}


def sums_of(site, roster=None):
    return SecureSums(site, identity(site), roster or roster_of())


def joint_of(sites=SITES, plan=PLAN, **changed):
    """A joint plan of sites that do the same, in sums of as many as a quorum."""
    terms = replace(TERMS, others=2 * len(sites) // 3)
    fields = {"run": RUN, "rounds": ROUNDS, "terms": terms, "plans": dict.fromkeys(sites, plan)}
    return JointPlan.of(**fields | changed)


def stage_of(stage, content=b"", *, run=RUN, number=1, weights=""):
    return SecureRequest(run, number, stage, content, weights)


def advertise(joint, *, number=1, weights=WEIGHTS, run=RUN):
    return stage_of(SecureStage.ADVERTISE, joint.text(), run=run, number=number, weights=weights)


def train_request(plan=PLAN, *, number=1, run=RUN, rounds=ROUNDS, model=MODEL):
    return TrainRequest(run, 1, rounds, model, plan, Receipt(0, NO_ROWS), number)


def numbers_of_a(site, joint):
    """A vector over the whole range, of its own for each site."""
    modulus = Modulus(joint.bits)
    drawn = np.random.default_rng(sum(site.encode()))
    return drawn.integers(0, 1 << joint.bits, joint.dimension, modulus.dtype)


class Sum:
    """A secure sum up to some stage, by a coordinator that does as it should.

    `contents` holds what each site is to be sent next.
    """

    def __init__(self, joint=None, *, number=1, roster=None, allowed=ALLOWED, sums=None):
        self.joint = joint or joint_of()
        self.number = number
        self.allowed = allowed
        self.sums = sums or {site: sums_of(site, roster) for site in self.joint.sites}
        cohort = Cohort(roster or roster_of(self.joint.sites))
        self.server = Server(
            Context(
                run=RUN,
                round=number,
                cohort=cohort,
                modulus=Modulus(self.joint.bits),
                length=self.joint.dimension,
                weights_hash=bytes.fromhex(WEIGHTS),
                configuration_hash=self.joint.digest(),
            )
        )
        self.contents = dict.fromkeys(self.joint.sites, self.joint.text())

    def asked(self, stage, site, content=None):
        """What a site answers at a stage to what it is to be sent, or to something else."""
        content = self.contents[site] if content is None else content
        weights = WEIGHTS if stage is SecureStage.ADVERTISE else ""
        request = stage_of(stage, content, number=self.number, weights=weights)
        return self.sums[site].answer(request, self.allowed)

    def advertised(self):
        self._take({s: self.asked(SecureStage.ADVERTISE, s) for s in self.contents})
        self.contents = self.server.directory()
        return self

    def shared(self):
        self.advertised()
        self._take({s: self.asked(SecureStage.SHARE, s) for s in self.contents})
        self.contents = self.server.dealt()
        return self

    def masked(self):
        self.shared()
        self._take({s: self.trained(s) for s in self.contents})
        self.contents = self.server.survivors()
        return self

    def agreed(self):
        self.masked()
        self._take({s: self.asked(SecureStage.AGREE, s) for s in self.contents})
        self.contents = self.server.agreements()
        return self

    def revealed(self):
        self.agreed()
        self._take({s: self.asked(SecureStage.REVEAL, s) for s in self.contents})
        return self

    def ready(self, site, request=None, *, weights=WEIGHTS, dealt=None, allowed=None):
        self.sums[site].ready(
            request or train_request(number=self.number),
            weights,
            self.contents[site] if dealt is None else dealt,
            allowed or self.allowed,
        )

    def trained(self, site):
        self.ready(site)
        request = train_request(number=self.number)
        vector = numbers_of_a(site, self.joint)
        return self.sums[site].masked(request, self.contents[site], vector)

    def _take(self, answers):
        for site, answer in answers.items():
            self.server.receive(site, answer)

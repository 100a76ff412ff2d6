"""Real sites in this process, and a coordinator that does with them as a test says.

A site here is what a deployed process holds: a ledger on disk, a policy, a pinned roster, and an
app that answers Flower's messages. What goes under its masks is noted, so that a test can tell
whether the coordinator has come to read it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from client.allowed import Allowed
from client.app import build_client_app
from client.secure import SecureSums
from client.site import Site, system_streams
from simulations.flower import become_server, name_message, site_context
from strategies.records import numbers_of, to_record
from tacit.domains.domain import Examples
from tacit.joint_plan import JointPlan
from tacit.learning.local import Compute
from tacit.learning.plan import Part, RoundPlan
from tacit.messages import (
    ARRAYS,
    CONFIG,
    SECURE,
    SUM,
    RunRequest,
    SecureRequest,
    SecureStage,
    Terms,
    TrainRequest,
)
from tacit.models.linear import LinearModel
from tacit.models.trainable import sha256_of
from tacit.privacy.chain import NO_ROWS, Receipt
from tacit.privacy.events import Relation, Unit
from tacit.privacy.grid import finest_grid
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Policy, Reason
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.assumptions import quorum
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.keys import mask_seed
from tacit.secagg.masks import Mask, apply
from tacit.secagg.messages import (
    Agreement,
    Agreements,
    MaskedInput,
    Revealed,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.server import Server
from tacit.secagg.shamir import join
from tacit.secagg.unmasking import X25519PrivateKey
from tacit.trust.keys import make_identity, public_bytes

RUN, ROUNDS, MODEL = "run-1", 3, "f" * 64
VICTIM = "ward0"
DIMENSION = 8
GRID = finest_grid(32, DIMENSION, 10, 128.0)
PART = Part(GRID.bits, GRID.spacing, GRID.dimension, GRID.sites, GRID.largest, 1.0)
PLAN = RoundPlan(
    steps=1,
    sampling_rate=1.0,
    divisor=16.0,
    learning_rate=2.0,
    clipping_norm=1.0,
    noise_multiplier=20.0,
    part=PART,
)
EXACT = replace(PLAN, clipping_norm=None, noise_multiplier=None)
"""Without any noise: for what a secure sum does not protect."""
POLICY = Policy(epsilon_per_run=1.0, lifetime_epsilon=3.0, delta_per_run=1e-5)
ZERO = {"head.weight": np.zeros((2, 3), np.float32), "head.bias": np.zeros(2, np.float32)}
OTHER = ZERO | {"head.bias": np.array([3, 0], np.float32)}
STAGES = {
    Stage.ADVERTISED: SecureStage.ADVERTISE,
    Stage.SHARED: SecureStage.SHARE,
    Stage.AGREED: SecureStage.AGREE,
    Stage.REVEALED: SecureStage.REVEAL,
}
"""What a site is asked so that it has done a stage; between the second and the third it trains."""


def rows_of(number):
    """A site's rows."""
    drawn = torch.Generator().manual_seed(number)
    return Examples(torch.randn(16, 3, generator=drawn), torch.tensor([0, 1] * 8))


class Noted(SecureSums):
    """Secure sums that note each vector before it goes under masks."""

    def __init__(self, name, identity, roster):
        super().__init__(name, identity, roster)
        self.vectors = []

    def masked(self, request, dealt, vector):
        self.vectors.append(vector.copy())
        return super().masked(request, dealt, vector)


class Wards:
    """Sites, and the keys that a roster says are theirs.

    Parameters
    ----------
    folder
        Of their ledgers.
    log
        pytest's, of what sites say on their own terminals.
    count
        How many.
    demands
        Among how many others each wants its part to be hidden.
    exact
        Sites whose data are marked as test data, so that they add no noise.
    """

    def __init__(self, folder, log, count=5, demands=2, exact=()):
        self.names = tuple(f"ward{number}" for number in range(count))
        self.identities = {name: make_identity() for name in self.names}
        self.roster = {n: public_bytes(key.public_key()) for n, key in self.identities.items()}
        self.log = log
        self.sites = {}
        self.plans = {name: EXACT if name in exact else PLAN for name in self.names}
        for number, name in enumerate(self.names):
            test_data = name in exact
            ledger = Ledger.open(
                folder / f"{name}.sqlite",
                data_set=f"wards/{name}",
                unit=Unit.RECORD,
                relation=Relation.ADD_OR_REMOVE_ONE,
                delta=1e-5,
            )
            self.sites[name] = Site(
                name=name,
                data=rows_of(number),
                model=LinearModel(3, 2),
                allowed=Allowed("wards", MODEL, others=demands),
                ledger=ledger,
                policy=replace(POLICY, require_privacy=not test_data, test_data=test_data),
                streams=system_streams(),
                predictable=False,
                compute=Compute(torch.device("cpu")),
                sums=Noted(name, self.identities[name], self.roster),
            )

    def close(self):
        for site in self.sites.values():
            site.ledger.close()

    def restart(self, name):
        """The site's process ends and begins anew: what stands on disk is left."""
        sums = Noted(name, self.identities[name], self.roster)
        self.sites[name] = replace(self.sites[name], sums=sums)

    def terms(self, others=None):
        return Terms(
            "wards", MODEL, "fedavg", quorum(len(self.names)) - 1 if others is None else others
        )

    def joint(self, names=None, others=None, **plans):
        """What all are told; a test may change some sites' plans."""
        told = {name: self.plans.get(name, PLAN) for name in names or self.names} | plans
        return JointPlan.of(RUN, ROUNDS, self.terms(others), told)

    def tell(self, name, kind, content):
        """Send a site a message; its reply's content, or the reason for which it refuses."""
        become_server()
        node = 2 + self.names.index(name)
        message = Message(RecordDict(content), node, kind)
        name_message(message, "message-1")
        app = build_client_app(lambda context: self.sites[name])
        reply = app(message, site_context(node, name))
        return Reason(reply.error.reason) if reply.has_error() else dict(reply.content)

    def reserve(self, plans=None):
        """Have all set the run aside."""
        for name in self.names:
            plan = (plans or self.plans)[name]
            exact = plan.clipping_norm is None
            request = RunRequest(
                RUN,
                ROUNDS,
                self.terms(),
                plan,
                float("inf") if exact else POLICY.epsilon_per_run,
                0.0 if exact else POLICY.delta_per_run,
            )
            record = ConfigRecord(dict(request.to_config()))
            assert isinstance(self.tell(name, "query.reserve", {CONFIG: record}), dict)

    def kinds(self, name):
        """What stands in a ledger."""
        rows = self.sites[name].ledger.rows()
        return [json.loads(row.body)["kind"].split("/")[0] for row in rows][2:]

    def vector(self, name):
        """What a site put under its masks last, on the grid."""
        return self.sites[name].sums.vectors[-1]

    def refused(self, answer, *words, reason=Reason.SECURE_SUM):
        """Check that a site refused, and what its own terminal says of that."""
        assert answer == reason
        said = self.log.records[-1].getMessage()
        for word in words:
            assert word in said, said


class Sum:
    """A secure sum as an honest coordinator does it, stage by stage; a test may come between.

    Parameters
    ----------
    wards
        The sites.
    number
        Of the sum.
    joint
        What all are told.
    weights
        The round's.
    round
        Its number.
    roster
        Keys of the sites, where not those that the sites have pinned.
    run
        Whose sum it is.
    """

    def __init__(self, wards, number=1, joint=None, weights=ZERO, round=1, roster=None, run=RUN):
        self.wards, self.number, self.weights, self.round = wards, number, weights, round
        self.run = run
        self.joint = replace(wards.joint() if joint is None else joint, run=run)
        self.context = self._context(roster or wards.roster)
        self.server = Server(self.context)
        self.requests = dict.fromkeys(self.joint.sites, self.joint.text())
        self.sent = {}

    def _context(self, roster):
        joint = self.joint
        return Context(
            run=self.run,
            round=self.number,
            cohort=Cohort({name: roster[name] for name in joint.sites}),
            modulus=Modulus(joint.bits),
            length=joint.dimension,
            weights_hash=bytes.fromhex(sha256_of(self.weights)),
            configuration_hash=joint.digest(),
        )

    def ask(self, name, stage, content=None, *, weights=None):
        """Ask a site to do a stage; what it answers, or why it refuses."""
        content = self.requests[name] if content is None else content
        if stage is Stage.MASKED:
            return self.train(name, content)
        if stage is Stage.ADVERTISED and weights is None:
            weights = sha256_of(self.weights)
        request = SecureRequest(self.run, self.number, STAGES[stage], content, weights or "")
        record = ConfigRecord(dict(request.to_config()))
        reply = self.wards.tell(name, "query.secure", {SECURE: record})
        return reply[SECURE]["content"] if isinstance(reply, dict) else reply

    def train(self, name, dealt=None, *, weights=None, plan=None, round=None, secure=None):
        """Ask a site to train for the sum; its masked part, or why it refuses."""
        request = TrainRequest(
            self.run,
            round or self.round,
            ROUNDS,
            MODEL,
            plan or self.wards.plans[name],
            Receipt(0, NO_ROWS),
            self.number if secure is None else secure,
        )
        content = {
            ARRAYS: to_record(weights or self.weights),
            CONFIG: ConfigRecord(dict(request.to_config())),
            SECURE: ConfigRecord({"content": self.requests[name] if dealt is None else dealt}),
        }
        reply = self.wards.tell(name, "train", content)
        if not isinstance(reply, dict):
            return reply
        sent = numbers_of(reply[ARRAYS][SUM])
        return sent.tobytes() if sent.dtype == np.uint8 else sent

    def answers(self, stage, absent=()):
        """What all that are asked and there answer."""
        return {n: self.ask(n, stage) for n in self.requests if n not in set(absent)}

    def take(self, stage, answers):
        """Give answers to the honest machine and close the stage."""
        for name, answer in answers.items():
            if isinstance(answer, bytes):
                self.server.receive(name, answer)
        if stage is Stage.MASKED:
            self.sent = dict(answers)
        closing = {
            Stage.ADVERTISED: self.server.directory,
            Stage.SHARED: self.server.dealt,
            Stage.MASKED: self.server.survivors,
            Stage.AGREED: self.server.agreements,
            Stage.REVEALED: dict,
        }
        self.requests = closing[stage]()

    def until(self, last, absent: Mapping[Stage, Iterable[str]] | None = None):
        """Play all stages up to one."""
        for stage in list(Stage)[1 : last + 1]:
            self.take(stage, self.answers(stage, (absent or {}).get(stage, ())))
        return self

    def total(self, absent=None):
        """Play all of it; the sum, which is that of its sites' parts."""
        total = self.until(Stage.REVEALED, absent).server.total()
        assert total.vector.tolist() == self.truth(total.sites)
        return total

    def truth(self, names):
        """The sum of what sites put under their masks last, by Python's integers."""
        rows = [self.wards.vector(name).tolist() for name in names]
        return [sum(column) % 2**32 for column in zip(*rows, strict=True)]

    def opened(self, revealed, victim=VICTIM):
        """What holders' shares show of one site's masked part; None while one secret is short."""
        session = self.server._session
        holders = session.neighbourhoods.holders(victim)
        threshold = session.neighbourhoods.threshold
        parts = {x: revealed[h] for x, h in enumerate(holders, 1) if h in revealed}
        found = [
            {x: dict(shares)[victim] for x, shares in each.items() if victim in dict(shares)}
            for each in (
                {x: part.self_masks for x, part in parts.items()},
                {x: part.mask_keys for x, part in parts.items()},
            )
        ]
        if min(map(len, found)) < threshold:
            return None
        self_mask, mask_key = (join(dict(list(each.items())[:threshold])) for each in found)
        private = X25519PrivateKey.from_private_bytes(mask_key)
        masks = [Mask(self_mask, subtract=True)]
        for other in session.neighbourhoods.neighbours(victim):
            seed = mask_seed(private, victim, session.advertisements[other], session.digest)
            masks.append(Mask(seed, subtract=other > victim))
        vector = np.frombuffer(decode(MaskedInput, self.sent[victim], victim).vector, np.uint32)
        vector = vector.copy()
        apply(masks, vector)
        return vector.tolist()


def advertised(answers):
    return {name: decode(Advertisement, answer, name) for name, answer in answers.items()}


def directory(listed):
    return Directory(tuple(listed[name] for name in sorted(listed))).encode()


def without(request, *names):
    """A list of survivors, and its signatures, without some of them."""
    survivors = decode(Survivors, request, "coordinator")
    return Survivors(
        tuple(name for name in survivors.sites if name not in names),
        tuple((name, s) for name, s in survivors.signatures if name not in names),
    ).encode()


def signed(answers):
    """Agreements made of sites' answers."""
    entries = ((name, decode(Agreement, a, name).signature) for name, a in answers.items())
    return Agreements(tuple(sorted(entries))).encode()


def shares_of(answer, name):
    """What a holder has revealed."""
    return decode(Revealed, answer, name)

"""Planted: a check is taken away, and the attack of test_secure_attacks.py that it stops works.

So those tests rest on these checks, and not on something that fails for another reason.
"""

from dataclasses import replace

import numpy as np
from lying_coordinator import (
    EXACT,
    GRID,
    OTHER,
    PLAN,
    VICTIM,
    Sum,
    shares_of,
    signed,
    without,
)

from client.allowed import Allowed
from client.secure import SecureSums
from tacit import joint_plan
from tacit.joint_plan import JointPlan
from tacit.secagg.assumptions import Degree
from tacit.secagg.context import Cohort
from tacit.secagg.messages import MaskedInput, Stage, decode
from tacit.secagg.site import Site as Machine


def finished(sum_, told):
    """Go on with a sum from the answers to its advertisements; what the coordinator then reads."""
    sum_.take(Stage.ADVERTISED, told)
    for stage in list(Stage)[2:]:
        sum_.take(stage, sum_.answers(stage))
    return sum_.server.total().vector


def test_texts_that_are_not_bound_to_masks(wards, monkeypatch):
    """Others are told to send nothing much, the victim is not told so: it is alone in the sum."""
    monkeypatch.setattr(JointPlan, "digest", lambda self: bytes(32))
    sites = wards()
    faint = replace(PLAN, part=replace(PLAN.part, weight=1e-9))
    honest = Sum(sites)
    lying = Sum(sites, joint=sites.joint(**dict.fromkeys(sites.names[1:], faint)))
    told = {VICTIM: honest.ask(VICTIM, Stage.ADVERTISED)}
    told |= {name: lying.ask(name, Stage.ADVERTISED) for name in sites.names[1:]}
    sites.plans |= dict.fromkeys(sites.names[1:], faint)
    found = finished(lying, told)
    assert abs((found - sites.vector(VICTIM)).view(np.int32)).max() <= 4
    text = JointPlan.parse(honest.joint.text())
    assert {row["plan-part-weight"] for row in text.sites.values()} == {1.0}


def test_a_model_that_is_not_looked_at(wards, monkeypatch):
    """The victim trains from another model than the sum is about, and its part is in the sum."""
    checked = SecureSums.ready

    def careless(self, request, weights, dealt, allowed):
        checked(self, request, self._latest[request.run].weights, dealt, allowed)

    monkeypatch.setattr(SecureSums, "ready", careless)
    sites = wards(exact=[f"ward{number}" for number in range(5)])
    sum_ = Sum(sites).until(Stage.SHARED)
    answers = sum_.answers(Stage.MASKED, [VICTIM])
    answers[VICTIM] = sum_.train(VICTIM, weights=OTHER)
    sum_.take(Stage.MASKED, answers)
    for stage in (Stage.AGREED, Stage.REVEALED):
        sum_.take(stage, sum_.answers(stage))
    total = sum_.server.total()
    assert total.vector.tolist() == sum_.truth(sites.names)
    honest = Sum(sites, 2, round=2).until(Stage.SHARED)
    assert isinstance(honest.train(VICTIM), bytes)
    one, other = (GRID.values(each).numpy() for each in sites.sites[VICTIM].sums.vectors)
    # Rounding apart, the model decides what the part is.
    assert abs(one - other).max() > 1000 * GRID.spacing


def test_lists_that_nobody_holds_against_a_quorum(wards, monkeypatch):
    """Half are told that the victim is alive, half that it is not: both its secrets are known."""
    monkeypatch.setattr(Cohort, "quorum", 3)
    monkeypatch.setattr("tacit.secagg.neighbours.degree", lambda all, *_: Degree(all - 1, 3))
    sites = wards(7)
    sum_ = Sum(sites, joint=sites.joint(others=2)).until(Stage.MASKED)
    alive, dead = sites.names[:4], sites.names[4:]
    answers = {name: sum_.ask(name, Stage.AGREED) for name in alive}
    answers |= {n: sum_.ask(n, Stage.AGREED, without(sum_.requests[n], VICTIM)) for n in dead}
    revealed = {}
    for half in (alive, dead):
        told = signed({name: answers[name] for name in half})
        revealed |= {n: shares_of(sum_.ask(n, Stage.REVEALED, told), n) for n in half}
    assert sum_.opened(revealed) == sites.vector(VICTIM).tolist()


def test_a_machine_that_answers_a_stage_as_often_as_it_is_asked(wards, monkeypatch):
    """Two parts under the same masks: their difference is that of the parts."""
    monkeypatch.setattr(Machine, "_answer", lambda self, stage, request, make: make())
    monkeypatch.setattr(Machine, "ready", lambda self, dealt: None)
    sites = wards()
    sum_ = Sum(sites).until(Stage.SHARED)
    one, two = (
        np.frombuffer(decode(MaskedInput, sum_.train(VICTIM, round=number), VICTIM).vector, "<u4")
        for number in (1, 2)
    )
    before, after = sites.sites[VICTIM].sums.vectors
    assert (two - one).tolist() == (after - before).tolist()
    assert not np.array_equal(before, after)


def test_a_request_that_is_not_held_against_the_policy(wards, monkeypatch):
    """A site that demands a secure sum sends its part by itself."""
    monkeypatch.setattr(Allowed, "check_seen", lambda self, plan: None)
    monkeypatch.setattr(joint_plan, "_ALIKE", ())  # for a site without noise beside others with it
    sites = wards(exact=[VICTIM])
    part = Sum(sites).train(VICTIM, b"", secure=0, plan=EXACT)
    assert part.dtype == np.uint32
    assert part.any()


def test_a_request_that_is_not_held_against_the_text(wards, monkeypatch):
    """All are told of one plan, and the others are asked to send nothing much."""
    monkeypatch.setattr(JointPlan, "check", lambda self, site, run, rounds, plan: None)
    sites = wards()
    faint = replace(PLAN, part=replace(PLAN.part, weight=1e-9))
    sum_ = Sum(sites).until(Stage.SHARED)
    answers = {name: sum_.train(name, plan=faint) for name in sites.names[1:]}
    sum_.take(Stage.MASKED, answers | {VICTIM: sum_.train(VICTIM)})
    for stage in (Stage.AGREED, Stage.REVEALED):
        sum_.take(stage, sum_.answers(stage))
    found = sum_.server.total().vector
    assert abs((found - sites.vector(VICTIM)).view(np.int32)).max() <= 4

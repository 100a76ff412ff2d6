"""A coordinator that lies to sites, in Flower's messages: what they refuse, and what stays charged.

The sites are whole: ledger on disk, policy, pinned roster and app. Each test's docstring says the
assumption under which its attack fails; the attacks on the state machines alone are in
tests/unit/secagg. `test_secure_planted.py` takes the checks away and sees attacks succeed.
"""

import json
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
from flwr.app import ConfigRecord
from lying_coordinator import (
    DIMENSION,
    GRID,
    MODEL,
    OTHER,
    PLAN,
    POLICY,
    ROUNDS,
    RUN,
    STAGES,
    VICTIM,
    ZERO,
    Sum,
    advertised,
    directory,
    shares_of,
    signed,
    without,
)
from scipy.stats import chi2

from client.app import build_client_app
from client.secure import MOST_RUNS
from client.task import Task, train_alone
from server.replies import MALFORMED, NO_REPLY
from server.rounds import run_rounds
from server.run_plan import RunPlan, State
from server.secure import Secured
from simulations.grid import LocalGrid, loop_engine
from strategies.build import FEDAVG, build_strategy
from strategies.records import numbers_of, to_record
from tacit import joint_plan
from tacit.joint_plan import JointPlan
from tacit.learning.parts import flattened
from tacit.learning.plan import Share
from tacit.messages import ARRAYS, SECURE, SUM, SecureRequest, SecureStage
from tacit.models.trainable import sha256_of
from tacit.privacy.policy import Reason
from tacit.secagg.messages import (
    Agreement,
    Agreements,
    Dealing,
    Dealt,
    MaskedInput,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.site import Site as Machine
from tacit.secagg.statements import keys_statement, survivors_statement
from tacit.trust.keys import make_identity, public_bytes

SPENT = ["charged", "replied"]


def test_without_a_lie_the_sum_is_that_of_the_parts(wards):
    """What the attacks are held against: sums with and without somebody who drops out."""
    sites = wards(7)
    assert Sum(sites).total().sites == sites.names
    total = Sum(sites, 2, round=2).total({Stage.MASKED: ["ward1"], Stage.REVEALED: ["ward2"]})
    assert total.sites == ("ward0", *sites.names[2:])
    assert sites.kinds("ward0") == 2 * SPENT
    assert sites.kinds("ward1") == SPENT


def test_the_victim_is_alive_for_some_and_dead_for_others(wards):
    """Assumes that fewer than a third work for the coordinator: here 2 of 7.

    With its self-mask from some and its mask key from others the victim would be open. Those to
    whom it is dead come to no quorum, with the colluders' signatures either.
    """
    sites = wards(7)
    sum_ = Sum(sites).until(Stage.MASKED)
    colluders, alive, dead = sites.names[5:], sites.names[:3], sites.names[3:5]
    there = {name: sum_.ask(name, Stage.AGREED) for name in (*alive, *colluders)}
    lie = {n: sum_.ask(n, Stage.AGREED, without(sum_.requests[n], VICTIM)) for n in dead}
    revealed = {n: shares_of(sum_.ask(n, Stage.REVEALED, signed(there)), n) for n in alive}
    assert VICTIM in dict(revealed[alive[0]].self_masks)

    others = sites.names[1:]
    statement = survivors_statement(sum_.server._session.digest, sum_.server._dealers, others)
    for name in colluders:
        lie[name] = Agreement(sites.identities[name].sign(statement)).encode()
    answer = sum_.ask(dead[0], Stage.REVEALED, signed(lie))
    sites.refused(answer, "only 4 sites agreed, and 5 of the 7")
    answer = sum_.ask(dead[1], Stage.REVEALED, signed({**lie, alive[1]: there[alive[1]]}))
    sites.refused(answer, f"{alive[1]}: signed another list of survivors")
    # The colluders show all that they hold, and it is too little.
    for name in colluders:
        bundles = {**sites.sites[name].sums._latest["run-1"].machine._opened.bundles}
        mine = tuple((dealer, bundle.mask_key) for dealer, bundle in sorted(bundles.items()))
        revealed[name] = replace(revealed[alive[0]], mask_keys=mine)
    assert sum_.opened(revealed) is None
    assert all(sites.kinds(name) == SPENT for name in sites.names)


def test_two_lists_of_survivors(wards):
    """Assumes nothing of colluders: honest sites with different lists never open one sum."""
    sites = wards()
    sum_ = Sum(sites).until(Stage.MASKED)
    one, other = sites.names[:2], sites.names[2:4]
    answers = {n: sum_.ask(n, Stage.AGREED) for n in one}
    answers |= {n: sum_.ask(n, Stage.AGREED, without(sum_.requests[n], "ward4")) for n in other}
    for name, liar in ((one[0], other[0]), (other[0], one[0])):
        answer = sum_.ask(name, Stage.REVEALED, signed(answers))
        sites.refused(answer, f"{liar}: signed another list of survivors")
    assert sites.kinds(VICTIM) == SPENT


def test_keys_swapped_between_sites(wards):
    """Assumes that the roster was pinned: whose signature is whose."""
    sites = wards()
    sum_ = Sum(sites)
    listed = advertised(sum_.answers(Stage.ADVERTISED))
    one, other = listed["ward1"], listed["ward2"]
    lie = {**listed, "ward1": replace(other, site="ward1"), "ward2": replace(one, site="ward2")}
    answer = sum_.ask(VICTIM, Stage.SHARED, directory(lie))
    sites.refused(answer, "ward1: its keys are not signed by its identity", "exchanged")
    # That was the end of this sum here: it answers the truth no more, and trains for nothing.
    sites.refused(sum_.ask(VICTIM, Stage.SHARED, directory(listed)), "over here")
    sites.refused(sum_.train(VICTIM, b""), "over here")
    assert sites.kinds(VICTIM) == []


def test_keys_of_an_earlier_sum(wards):
    """Assumes that a sum's number is signed with its keys: old secrets may be known by now."""
    sites = wards()
    earlier = Sum(sites)
    old = advertised(earlier.answers(Stage.ADVERTISED))
    sum_ = Sum(sites, 2)
    listed = advertised(sum_.answers(Stage.ADVERTISED))
    answer = sum_.ask(VICTIM, Stage.SHARED, directory({**listed, "ward3": old["ward3"]}))
    sites.refused(answer, "ward3: its keys are not signed by its identity for round 2 of run-1")
    # And the earlier sum is over, as a whole.
    answer = earlier.ask(VICTIM, Stage.ADVERTISED)
    sites.refused(answer, "sum 1 is over: sum 2 came after it")
    sites.refused(earlier.ask("ward1", Stage.SHARED, directory(old)), "sum 1 did not begin here")
    assert all(sites.kinds(name) == [] for name in sites.names)


def test_keys_that_the_coordinator_signed_itself(wards):
    """Assumes that the roster was pinned: a signature of anybody else is nobody's."""
    sites = wards()
    sum_ = Sum(sites)
    listed = advertised(sum_.answers(Stage.ADVERTISED))
    own = replace(listed["ward1"], mask_key=bytes([7]) * 32, signature=b"")
    statement = keys_statement(sum_.context, own)
    forged = replace(own, signature=make_identity().sign(statement))
    answer = sum_.ask(VICTIM, Stage.SHARED, directory({**listed, "ward1": forged}))
    sites.refused(answer, "ward1: its keys are not signed by its identity")
    assert sites.kinds(VICTIM) == []


def test_another_model_is_announced_to_the_victim(wards):
    """Assumes nothing: masks are bound to the model's hash, and of two models nobody sums."""
    sites = wards()
    sum_ = Sum(sites)
    answers = {n: sum_.ask(n, Stage.ADVERTISED) for n in sites.names if n != VICTIM}
    other = sha256_of(OTHER)
    answers[VICTIM] = sum_.ask(VICTIM, Stage.ADVERTISED, weights=other)
    lie = directory(advertised(answers))
    sites.refused(sum_.ask(VICTIM, Stage.SHARED, lie), "ward1: its keys", "sent another model")
    sites.refused(sum_.ask("ward1", Stage.SHARED, lie), f"{VICTIM}: its keys are not signed")
    assert all(sites.kinds(name) == [] for name in sites.names)


def test_another_model_is_sent_to_the_victim(wards):
    """Assumes nothing: what it trains from is what all were told, or it does not train.

    Pasquini et al. 2022 (arXiv 2111.07380): a model from which the others learn nothing lets the
    victim's part through.
    """
    sites = wards()
    sum_ = Sum(sites).until(Stage.SHARED)
    answer = sum_.train(VICTIM, weights=OTHER)
    sites.refused(answer, "the model is not the one that the sum is about")
    assert sites.kinds(VICTIM) == []


def test_shares_that_were_dealt_in_another_sum(wards):
    """Assumes fresh keys a sum: what was dealt in one cannot be opened in another.

    The victim says of everybody that nothing usable came; the sum is right, and nothing of the
    earlier one is shown.
    """
    sites = wards()
    old = Sum(sites).until(Stage.SHARED).requests
    sum_ = Sum(sites, 2).until(Stage.SHARED)
    sum_.requests[VICTIM] = old[VICTIM]
    answers = sum_.answers(Stage.MASKED)
    assert decode(MaskedInput, answers[VICTIM], VICTIM).complaints == sites.names[1:]
    sum_.take(Stage.MASKED, answers)
    for stage in (Stage.AGREED, Stage.REVEALED):
        sum_.take(stage, sum_.answers(stage))
    revealed = sum_.server._revealed
    assert [dealer for dealer, _ in revealed[VICTIM].self_masks] == [VICTIM]
    assert sum_.server.total().vector.tolist() == sum_.truth(sites.names)
    assert sum_.opened(revealed) is None


def test_a_masked_part_of_another_sum(wards):
    """Assumes fresh keys a sum: masks of different sums never cancel."""
    sites = wards()
    first = Sum(sites).until(Stage.MASKED)
    old = decode(MaskedInput, first.sent[VICTIM], VICTIM)
    before = sites.vector(VICTIM)
    sum_ = Sum(sites, 2, round=2).until(Stage.SHARED)
    answers = sum_.answers(Stage.MASKED)
    # The coordinator puts the old part under the new signature: its own machine would take no less.
    new = decode(MaskedInput, answers[VICTIM], VICTIM)
    answers[VICTIM] = MaskedInput(old.vector, new.signature, ()).encode()
    sum_.take(Stage.MASKED, answers)
    for stage in (Stage.AGREED, Stage.REVEALED):
        sum_.take(stage, sum_.answers(stage))
    found = sum_.server.total().vector
    rest = np.array(sum_.truth(sites.names[1:]), np.uint32)
    assert not (found - rest == before).any()
    assert sites.kinds(VICTIM) == 2 * SPENT


@pytest.mark.parametrize(
    ("count", "others", "reason", "said"),
    [
        (5, 1, Reason.SECURE_AGGREGATION_REQUIRED, "the run hides an update among 1 others"),
        (5, 0, Reason.SECURE_AGGREGATION_REQUIRED, "the run hides an update among 0 others"),
        (2, 2, Reason.SECURE_SUM, "a sum of 2 sites shows too much of each"),
    ],
)
def test_a_cohort_of_fewer_than_the_site_demands(wards, count, others, reason, said):
    """Assumes that site.yaml says among how many others: 2 here, and never fewer than 2."""
    sites = wards()
    sum_ = Sum(sites, joint=sites.joint(sites.names[:count], others))
    sites.refused(sum_.ask(VICTIM, Stage.ADVERTISED), said, reason=reason)
    assert sites.kinds(VICTIM) == []


def test_fewest_below_the_quorum(wards):
    """Assumes nothing: a site works out the quorum from the cohort, whatever it is told: 5 of 7."""
    few = "4 sites", "5 of the 7"
    sites = wards(7)
    three = partial(Sum, sites, joint=sites.joint(others=2))

    sum_ = three(1)
    listed = advertised(sum_.answers(Stage.ADVERTISED))
    lie = directory({name: listed[name] for name in sites.names[:4]})
    sites.refused(sum_.ask(VICTIM, Stage.SHARED, lie), "keys of 4 sites only", few[1])

    sum_ = three(2).until(Stage.SHARED)
    dealt = decode(Dealt, sum_.requests[VICTIM], VICTIM)
    lie = replace(dealt, dealers=dealt.dealers[:4], deals=dealt.deals[:3]).encode()
    sites.refused(sum_.train(VICTIM, lie), *few)
    assert sites.kinds(VICTIM) == []

    sum_ = three(3).until(Stage.MASKED)
    lie = without(sum_.requests[VICTIM], *sites.names[4:])
    sites.refused(sum_.ask(VICTIM, Stage.AGREED, lie), *few)
    assert sites.kinds(VICTIM) == SPENT

    sum_ = three(4, round=2).until(Stage.MASKED)
    answers = {name: sum_.ask(name, Stage.AGREED) for name in sites.names[:4]}
    sites.refused(sum_.ask(VICTIM, Stage.REVEALED, signed(answers)), *few)
    assert sites.kinds(VICTIM) == 2 * SPENT


def test_fewer_survivors_than_all_were_told(wards):
    """Assumes nothing: who was told of 7 opens no sum of 6, though 6 are a quorum."""
    sites = wards(7)
    sum_ = Sum(sites, joint=sites.joint(others=6)).until(Stage.MASKED)
    lie = without(sum_.requests[VICTIM], "ward6")
    answer = sum_.ask(VICTIM, Stage.AGREED, lie)
    sites.refused(answer, "a sum of 6 sites", "in none of fewer than 7")
    assert sites.kinds(VICTIM) == SPENT


def test_a_victim_among_sites_of_the_coordinators_making(wards):
    """Assumes that the roster was pinned: nobody is added to it."""
    sites = wards()
    joint = sites.joint([VICTIM, "made-1", "made-2", "made-3"])
    made = {f"made-{n}": public_bytes(make_identity().public_key()) for n in (1, 2, 3)}
    sum_ = Sum(sites, joint=joint, roster=sites.roster | made)
    answer = sum_.ask(VICTIM, Stage.ADVERTISED)
    sites.refused(answer, "made-1, made-2, made-3: not in the roster that ward0 has pinned")
    assert sites.kinds(VICTIM) == []


def test_a_victim_among_known_names_with_other_keys(wards):
    """Assumes that the roster was pinned: no name gets another key, though all else is right."""
    sites = wards()
    own = {name: make_identity() for name in sites.names[1:]}
    false = {name: public_bytes(key.public_key()) for name, key in own.items()}
    sum_ = Sum(sites, roster=sites.roster | false)
    answers = {VICTIM: sum_.ask(VICTIM, Stage.ADVERTISED)}
    answers |= {name: Machine(sum_.context, name, key).advertise() for name, key in own.items()}
    answer = sum_.ask(VICTIM, Stage.SHARED, directory(advertised(answers)))
    sites.refused(answer, "ward1: its keys are not signed by its identity")
    assert sites.kinds(VICTIM) == []


def test_opening_asked_twice_with_other_survivors(wards):
    """Assumes one machine a sum: the first list stands, in every stage and also after a restart."""
    sites = wards()
    sum_ = Sum(sites).until(Stage.MASKED)
    fewer = without(sum_.requests[VICTIM], "ward4")
    sum_.take(Stage.AGREED, sum_.answers(Stage.AGREED))
    first = sum_.ask(VICTIM, Stage.REVEALED)
    assert VICTIM in dict(shares_of(first, VICTIM).self_masks)
    # The same again gets the same, while it is the last.
    assert sum_.ask(VICTIM, Stage.REVEALED) == first
    sites.refused(sum_.ask(VICTIM, Stage.AGREED, fewer), "was asked again, for something else")
    other = Agreements(tuple((name, bytes(64)) for name in sites.names[:4])).encode()
    sites.refused(sum_.ask(VICTIM, Stage.REVEALED, other), "over here")
    sites.refused(sum_.ask("ward1", Stage.AGREED, fewer), "was asked again, for something else")
    sites.refused(sum_.ask("ward1", Stage.REVEALED), "over here")
    sites.restart("ward2")
    sites.refused(sum_.ask("ward2", Stage.REVEALED), "was this process started again?")
    assert sites.kinds(VICTIM) == SPENT


def test_a_late_part_of_a_site_called_dropped(wards):
    """Assumes that its holders are honest but for fewer than a third.

    The victim's mask key is rebuilt, its self-mask is not: what came late stays random. Nor does it
    help to ask for another sum of the same parts, in which it is alive.
    """
    sites = wards()
    sum_ = Sum(sites).until(Stage.SHARED)
    dealt = sum_.requests[VICTIM]
    sum_.take(Stage.MASKED, sum_.answers(Stage.MASKED, [VICTIM]))
    late = sum_.train(VICTIM, dealt)
    for stage in (Stage.AGREED, Stage.REVEALED):
        sum_.take(stage, sum_.answers(stage))
    revealed = dict(sum_.server._revealed)
    total = sum_.server.total()
    assert total.sites == sites.names[1:]
    assert total.vector.tolist() == sum_.truth(total.sites)
    assert all(VICTIM in dict(one.mask_keys) for one in revealed.values())
    assert all(VICTIM not in dict(one.self_masks) for one in revealed.values())
    sum_.sent[VICTIM] = late
    assert sum_.opened(revealed) is None
    # It came, so it is told of a list with itself, and signs; nobody else does any more.
    signatures = {n: decode(MaskedInput, a, n).signature for n, a in sum_.sent.items()}
    everybody = Survivors(sites.names, tuple(sorted(signatures.items()))).encode()
    answers = {VICTIM: sum_.ask(VICTIM, Stage.AGREED, everybody)}
    assert isinstance(answers[VICTIM], bytes)
    for name in sites.names[1:]:
        sites.refused(sum_.ask(name, Stage.AGREED, everybody), "was asked again")
        answers[name] = Agreement(bytes(64)).encode()
    answer = sum_.ask(VICTIM, Stage.REVEALED, signed(answers))
    sites.refused(answer, "ward1: signed another list of survivors, or did not sign")
    assert sites.kinds(VICTIM) == SPENT


def test_honest_partners_kept_from_the_victim(wards):
    """Assumes fewer than a third for the coordinator: here 2 of 7.

    The victim is told that two honest sites dealt nothing. It masks with the others, who do not
    open its self-mask: its signature over whom it masked with is not theirs.
    """
    sites = wards(7)
    sum_ = Sum(sites).until(Stage.SHARED)
    dealt, kept = decode(Dealt, sum_.requests[VICTIM], VICTIM), ("ward1", "ward2")
    lie = Dealt(
        tuple(name for name in dealt.dealers if name not in kept),
        tuple(deal for deal in dealt.deals if deal.site not in kept),
    )
    answers = sum_.answers(Stage.MASKED, [VICTIM])
    answers[VICTIM] = sum_.train(VICTIM, lie.encode())
    signatures = {n: decode(MaskedInput, a, n).signature for n, a in answers.items()}
    told = Survivors(sites.names, tuple(sorted(signatures.items()))).encode()
    for name in ("ward1", "ward4"):
        answer = sum_.ask(name, Stage.AGREED, told)
        sites.refused(answer, f"{VICTIM}: did not sign that it masked with the same sites")
    assert sites.kinds(VICTIM) == SPENT


LITTLE = replace(PLAN.part, weight=1e-9)


@pytest.mark.parametrize(
    "changed",
    [{"part": LITTLE}, {"divisor": 1e9}, {"sampling_rate": 0.5}],
    ids=lambda changed: next(iter(changed)),
)
def test_others_are_told_to_send_nothing_much(wards, changed):
    """Assumes nothing: sites that were told different texts have masks of different sums."""
    sites = wards()
    faint = replace(PLAN, **changed)
    honest = Sum(sites)
    lying = Sum(sites, joint=sites.joint(**dict.fromkeys(sites.names[1:], faint)))
    answers = {VICTIM: honest.ask(VICTIM, Stage.ADVERTISED)}
    answers |= {name: lying.ask(name, Stage.ADVERTISED) for name in sites.names[1:]}
    told = directory(advertised(answers))
    sites.refused(honest.ask(VICTIM, Stage.SHARED, told), "ward1: its keys are not signed")
    sites.refused(lying.ask("ward1", Stage.SHARED, told), f"{VICTIM}: its keys are not signed")
    assert all(sites.kinds(name) == [] for name in sites.names)


@pytest.mark.parametrize("key", ["plan-learning-rate", "plan-clip-factor", "plan-clipping-norm"])
def test_others_who_would_take_next_to_no_step(wards, key):
    """Assumes nothing: what all do alike is alike in the text, or there is no sum."""
    sites = wards()
    sum_ = Sum(sites)
    text = json.loads(sum_.joint.text())
    usual = text["all"].pop(key)
    for name, row in text["sites"].items():
        row[key] = usual if name == VICTIM else 1e-9
    sum_.requests[VICTIM] = json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    answer = sum_.ask(VICTIM, Stage.ADVERTISED)
    sites.refused(answer, f"differ in {key}", reason=Reason.PLAN_DIFFERS)
    assert sites.kinds(VICTIM) == []


@pytest.mark.parametrize("changed", [{"part": LITTLE}, {"divisor": 1e9}, {"sampling_rate": 1e-9}])
def test_others_whose_declared_sizes_say_otherwise(wards, changed):
    """Assumes that the victim's own configuration has the sites' declared sizes."""
    sites = wards()
    size = round(PLAN.divisor / PLAN.sampling_rate)
    sites.sites[VICTIM].sums._declared_sizes = dict.fromkeys(sites.names, size)
    faint = dict.fromkeys(sites.names[1:], replace(PLAN, **changed))
    answer = Sum(sites, joint=sites.joint(**faint)).ask(VICTIM, Stage.ADVERTISED)
    sites.refused(answer, "declared size", reason=Reason.PLAN_DIFFERS)
    assert isinstance(Sum(sites, 2).ask(VICTIM, Stage.ADVERTISED), bytes)


def test_others_who_send_nothing_much_stand_in_the_text_that_all_get(wards):
    """Succeeds where the victim does not know the declared sizes: the text says so.

    What protects the victim then is its own noise, which no text makes less.
    """
    sites = wards()
    faint = replace(PLAN, part=LITTLE)
    sites.plans |= dict.fromkeys(sites.names[1:], faint)
    sum_ = Sum(sites)
    told = JointPlan.parse(sum_.joint.text())
    weights = {name: row["plan-part-weight"] for name, row in told.sites.items()}
    assert weights == {VICTIM: 1.0} | dict.fromkeys(sites.names[1:], 1e-9)
    total = sum_.total()
    # Rounded at random, what is next to nothing is at most one step of each.
    rest = (total.vector - sites.vector(VICTIM)).view(np.int32)
    assert abs(rest).max() <= 4
    assert_noised(sites, total.vector)


@pytest.mark.parametrize(
    "changed",
    [{"part": LITTLE}, {"learning_rate": 9.0}, {"steps": 2}, {"clipping_norm": 2.0}],
    ids=lambda changed: next(iter(changed)),
)
def test_one_is_asked_for_something_else_than_all_were_told(wards, changed):
    """Assumes nothing: each holds its own request against the text that all got."""
    sites = wards()
    sum_ = Sum(sites).until(Stage.SHARED)
    answer = sum_.train(VICTIM, plan=replace(PLAN, **changed))
    sites.refused(answer, "is asked of ward0, and all sites were told")
    assert sites.kinds(VICTIM) == []


@pytest.mark.parametrize("dimension", [DIMENSION - 1, DIMENSION + 1])
def test_a_sum_of_another_length_than_the_models(wards, dimension):
    """Assumes nothing: a part that could not be made is not charged for."""
    sites = wards()
    other = replace(PLAN, part=replace(PLAN.part, dimension=dimension))
    sites.plans = dict.fromkeys(sites.names, other)
    sum_ = Sum(sites).until(Stage.SHARED)
    said = f"a part of {dimension} numbers is asked for"
    sites.refused(sum_.train(VICTIM), said, reason=Reason.MODEL_DIFFERS)
    assert sites.kinds(VICTIM) == []


def test_a_training_asked_again_with_other_shares(wards):
    """Assumes one machine a sum: there is one masked part, and never a second."""
    sites = wards()
    sum_ = Sum(sites).until(Stage.SHARED)
    first = sum_.train(VICTIM)
    dealt = decode(Dealt, sum_.requests[VICTIM], VICTIM)
    other = Dealt(dealt.dealers[:4], dealt.deals[:3]).encode()
    # The same request gets what stands in the ledger, whoever is said to have dealt.
    assert sum_.train(VICTIM, other) == first
    assert sum_.train(VICTIM, b"garbage") == first
    assert sites.kinds(VICTIM) == SPENT
    # Another round in the same sum: charged and trained, and what leaves is the part of before.
    assert sum_.train(VICTIM, round=2) == first
    assert not np.array_equal(*sites.sites[VICTIM].sums.vectors)
    assert sites.kinds(VICTIM) == 2 * SPENT
    # With other shares it ends, and nothing is charged.
    sites.refused(sum_.train(VICTIM, other, round=3), "was asked again, for something else")
    sites.refused(sum_.train(VICTIM, round=3), "over here")
    assert sites.kinds(VICTIM) == 2 * SPENT


def test_a_site_that_began_anew_in_the_middle(wards):
    """Assumes that keys are only in memory: what the ledger kept goes out again, under old masks.

    The sum can begin again with new keys, of which none opens the part that was sent.
    """
    sites = wards()
    sum_ = Sum(sites).until(Stage.MASKED)
    first = sum_.sent[VICTIM]
    sites.restart(VICTIM)
    sites.refused(sum_.ask(VICTIM, Stage.AGREED), "was this process started again?")
    again = Sum(sites)
    for name in sites.names[1:]:
        sites.restart(name)
    again.until(Stage.SHARED)
    assert again.train(VICTIM) == first
    sites.refused(again.ask(VICTIM, Stage.AGREED, sum_.requests[VICTIM]), "asked again")
    assert all(sites.kinds(name) == SPENT for name in sites.names)


def test_a_sum_that_was_given_up_is_opened_after_all(wards):
    """Assumes nothing: its secrets are gone. The round is done in another sum, for another charge.

    What the coordinator has of both are two parts with noise of their own under masks of their own.
    """
    sites = wards()
    sum_ = Sum(sites).until(Stage.MASKED)
    request = SecureRequest(RUN, 1, SecureStage.GIVEN_UP, b"too few\n\x1b[2J sites")
    told = {SECURE: ConfigRecord(dict(request.to_config()))}
    for name in sites.names:
        assert sites.tell(name, "query.secure", told)[SECURE]["content"] == b""
    assert "the coordinator gives up sum 1: too few ?[2J sites" in sites.log.messages
    sites.refused(sum_.ask(VICTIM, Stage.AGREED), "sum 1 did not begin here, or is over")
    again = sum_.ask(VICTIM, Stage.ADVERTISED, sum_.joint.text())
    sites.refused(again, "sum 1 did not begin here, or is over")
    assert sites.kinds(VICTIM) == SPENT
    assert Sum(sites, 2).total().sites == sites.names
    assert sites.kinds(VICTIM) == 2 * SPENT
    assert not np.array_equal(*sites.sites[VICTIM].sums.vectors)


def test_more_runs_than_anybody_has(wards):
    """Assumes nothing: of sums that are begun and left a site keeps a few, and goes on."""
    sites = wards()
    sums = sites.sites[VICTIM].sums
    for number in range(3 * MOST_RUNS):
        sum_ = Sum(sites, run=f"made-up-{number}")
        assert isinstance(sum_.ask(VICTIM, Stage.ADVERTISED), bytes)
    assert len(sums._latest) == MOST_RUNS
    assert Sum(sites).total().sites == sites.names


@pytest.mark.parametrize("demands", [2, 0])
def test_its_part_by_itself(wards, demands):
    """Assumes that site.yaml demands a secure sum.

    A site without that demand answers, with its own noise: then the coordinator sees its update.
    """
    sites = wards(demands=demands)
    sum_ = Sum(sites).until(Stage.SHARED)
    answer = sum_.train(VICTIM, secure=0)
    if demands:
        sites.refused(
            answer,
            "a request is for this site's part by itself",
            reason=Reason.SECURE_AGGREGATION_REQUIRED,
        )
        assert sites.kinds(VICTIM) == []
        return
    assert_noised(sites, answer)
    assert sites.kinds(VICTIM) == SPENT


def test_its_share_of_a_noise_by_itself(wards):
    """Assumes nothing: what has a share of noise only is never shown, whatever site.yaml says."""
    sites = wards(demands=0, reserved=False)
    shared = replace(
        PLAN,
        noise_multiplier=None,
        share=Share((200 * PLAN.clipping_norm / PLAN.divisor / GRID.spacing) ** 2, 3),
    )
    sites.plans = dict.fromkeys(sites.names, shared)
    for name, site in sites.sites.items():
        sites.sites[name] = replace(site, policy=replace(site.policy, epsilon_alone=1.0))
    sites.reserve()
    sum_ = Sum(sites).until(Stage.SHARED)
    sites.refused(
        sum_.train(VICTIM, secure=0),
        "only a sum may be seen here",
        reason=Reason.SECURE_AGGREGATION_REQUIRED,
    )
    # More honest shares than this many sites less one that colludes can have.
    counted = replace(shared, share=replace(shared.share, honest=4))
    sum_ = Sum(sites, 2, joint=sites.joint(**dict.fromkeys(sites.names, counted)))
    sum_.until(Stage.SHARED)
    sites.refused(
        sum_.train(VICTIM, plan=counted),
        "the plan counts on 4 sites' shares",
        reason=Reason.SECURE_AGGREGATION_REQUIRED,
    )
    assert sites.kinds(VICTIM) == []
    assert Sum(sites, 3).total().sites == sites.names


def test_two_sums_that_differ_by_one_site(wards, monkeypatch):
    """Succeeds: a sum is not privacy by itself. What protects the victim then is its noise.

    The others add none here and send the same twice, as those who work with the coordinator might:
    the difference is the victim's part, and of that nothing but its noise is unknown.
    """
    monkeypatch.setattr(joint_plan, "_ALIKE", ())  # for sites without noise beside one with it
    sites = wards(exact=["ward1", "ward2", "ward3", "ward4"])
    with_it = Sum(sites).total().vector
    part = sites.vector(VICTIM)
    without_it = Sum(sites, 2, round=2).total({Stage.MASKED: [VICTIM]}).vector
    # Rounding at random is drawn anew: each of four moves a coordinate by one step at most.
    difference = with_it - without_it
    assert abs((difference - part).view(np.int32)).max() <= 4
    assert_noised(sites, difference)


LIAR, OTHERS = "ward2", ("ward0", "ward1", "ward3", "ward4")


def wrong_share(answer):
    revealed = shares_of(answer, LIAR)
    return replace(revealed, self_masks=((VICTIM, bytes(33)),)).encode()


def shares_that_nobody_can_open(answer):
    dealing = decode(Dealing, answer, LIAR)
    deals = tuple(replace(deal, sealed=bytes(len(deal.sealed))) for deal in dealing.deals)
    return Dealing(deals).encode()


def other_vector(answer):
    masked = decode(MaskedInput, answer, LIAR)
    return replace(masked, vector=memoryview(bytes(4))).encode()


LIES = {
    "garbage for keys": (Stage.ADVERTISED, lambda answer: b"garbage", "is not the Advertisement"),
    "garbage for shares": (Stage.SHARED, lambda answer: b"garbage", "is not the Dealing"),
    "shares that nobody can open": (
        Stage.SHARED,
        shares_that_nobody_can_open,
        "its shares for ward0 cannot be used",
    ),
    "garbage for a part": (Stage.MASKED, lambda answer: b"garbage", "is not the MaskedInput"),
    "a part of another length": (Stage.MASKED, other_vector, "a vector of 4 bytes, not 32"),
    "a part signed by another": (
        Stage.MASKED,
        lambda answer: replace(decode(MaskedInput, answer, LIAR), signature=bytes(64)).encode(),
        "did not sign that it masked",
    ),
    "garbage for a signature": (Stage.AGREED, lambda answer: b"garbage", "is not the Agreement"),
    "a signature of another list": (
        Stage.AGREED,
        lambda answer: Agreement(bytes(64)).encode(),
        "signed another list of survivors",
    ),
    "garbage for opened shares": (Stage.REVEALED, lambda answer: b"", "is not the Revealed"),
    "a wrong share": (Stage.REVEALED, wrong_share, "revealed a wrong share of ward0"),
}


@pytest.mark.parametrize(("stage", "lie", "said"), LIES.values(), ids=LIES)
def test_a_site_that_lies_is_named_and_the_run_goes_on(wards, stage, lie, said):
    """Assumes that more than two thirds are left: here four of five.

    Whose part had come is in the sum all the same; whose part had not is left out of the round.
    """
    sites = wards()
    first, second = rounds_with(sites, stage, lie)
    assert any(f"{LIAR}: " in line and said in line for line in sites.log.messages)
    if stage < Stage.AGREED:
        assert (first.replied, first.failed) == (OTHERS, {LIAR: MALFORMED})
    else:
        assert (first.replied, first.failed) == (sites.names, {})
    assert (second.replied, second.failed) == (sites.names, {})


def test_a_site_that_says_nothing_any_more(wards):
    """Assumes the same; that a site is silent is its own affair, and no other is blamed."""
    sites = wards()
    first, second = rounds_with(sites, Stage.SHARED, lambda answer: None)
    assert (first.replied, first.failed) == (OTHERS, {LIAR: NO_REPLY})
    assert second.replied == sites.names


def rounds_with(sites, stage, lie):
    """The last two rounds of a run; the liar changes what it answers in one stage of the first.

    The weights that come out are the mean of the parts of those that are said to be in it.
    """
    kind = "train" if stage is Stage.MASKED else "query.secure"
    app, lies = build_client_app(lambda context: sites.sites[context.node_config["site"]]), [lie]

    def engine(cohort):
        replies = loop_engine(app)(cohort)
        return [changed(*each) for each in zip(cohort, replies, strict=True)]

    def changed(asked, reply):
        message, name = asked
        asks = message.content.get(SECURE, {}).get("stage")
        if name != LIAR or message.metadata.message_type != kind or not lies:
            return reply
        if stage is Stage.MASKED:
            sent = numbers_of(reply.content[ARRAYS][SUM]).tobytes()
            told = np.frombuffer(lies.pop()(sent), np.uint8)
            reply.content[ARRAYS] = to_record({SUM: told})
        elif asks == STAGES[stage].value:
            told = lies.pop()(reply.content[SECURE]["content"])
            if told is None:
                return None
            reply.content[SECURE] = ConfigRecord({"content": told})
        return reply

    plan = RunPlan(
        run=RUN,
        rounds=ROUNDS,
        terms=sites.terms(),
        sites=sites.plans,
        declared_sizes=dict.fromkeys(sites.names, 16),
        epsilons=dict.fromkeys(sites.names, POLICY.epsilon_per_run),
        delta=POLICY.delta_per_run,
        min_replies=4,
        summed=sites.plans,
    )
    grid, outcomes, weights = LocalGrid(sites.names, engine), [], [ZERO]

    def on_round(after, outcome):
        expected = sum(GRID.values(sites.vector(name)).numpy() for name in outcome.replied)
        moved = flattened(after.weights, weights[-1])
        # Weights are fp32: their differences are right to some 1e-6 of what they are.
        np.testing.assert_allclose(moved, expected / len(outcome.replied), rtol=1e-5, atol=1e-5)
        weights.append(after.weights)
        outcomes.append(outcome)

    run_rounds(
        grid,
        build_strategy(FEDAVG),
        plan,
        grid.names,
        State(1, ZERO, model=MODEL),
        on_round,
        secured=Secured(sites.roster, count(1)),
    )
    return outcomes


def assert_noised(sites, part):
    """A part of the victim's is its update without noise, and noise as large as its plan says.

    The sum of its squares follows chi² of d degrees: outside of these bounds it is with a chance of
    two in a billion.
    """
    site = sites.sites[VICTIM]
    update = exact_update(site)
    noise = PLAN.learning_rate * PLAN.noise_multiplier * PLAN.clipping_norm / PLAN.divisor
    found = (GRID.values(part.copy()).numpy() - update) / noise
    assert chi2.ppf(1e-9, DIMENSION) < (found**2).sum() < chi2.isf(1e-9, DIMENSION)
    assert np.linalg.norm(update) < 0.1 * noise * np.sqrt(DIMENSION)


def exact_update(site):
    """What a site's rows would add to the model were its noise next to nothing."""
    plan = replace(PLAN, noise_multiplier=1e-9, part=None)
    task = Task(site.name, site.data, site.streams, 1, plan, ZERO)
    return flattened(train_alone(site.model, task, site.compute), ZERO)

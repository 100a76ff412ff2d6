"""Rounds as they should be: the exact sum, with any dropouts that the threshold allows."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from secagg_example import Round, cohort, context, identity, names, refused

from tacit.errors import ConfigurationError, SecureSumError, TooFewSitesError
from tacit.secagg import directory, server, site
from tacit.secagg.assumptions import ALL_WITH_ALL, Assumptions
from tacit.secagg.context import Cohort, Modulus
from tacit.secagg.messages import Agreements, MaskedInput, Stage, decode
from tacit.secagg.site import Site
from tacit.secagg.statements import signed_by

STAGES = [Stage.ADVERTISED, Stage.SHARED, Stage.MASKED, Stage.AGREED, Stage.REVEALED]
IN_THE_SUM = STAGES[:3]
"""Who drops out in one of these is not in the sum; later it is."""


@pytest.fixture(autouse=True, scope="module")
def _same_signatures_once():
    """All sites of a test check the same signatures: remembered, so that 200 of them are quick."""
    with pytest.MonkeyPatch.context() as patch:
        # A name has one identity in all cohorts of these tests.
        checked = lru_cache(maxsize=None)(
            lambda name, signature, statement: signed_by(cohort(200), name, signature, statement)
        )

        def remembered(of, name, signature, statement):
            assert of.identities[name] == cohort(200).identities[name]
            return checked(name, signature, statement)

        for module in (directory, server, site):
            patch.setattr(module, "signed_by", remembered)
        yield


@settings(max_examples=25, deadline=None)
@given(
    st.one_of(st.integers(2, 16), st.integers(2, ALL_WITH_ALL)), st.sampled_from(Modulus), st.data()
)
def test_the_sum_is_exact_whoever_drops_out_down_to_a_quorum(count, modulus, data):
    assert played_out(count, modulus, data)


@settings(max_examples=6, deadline=None)
@given(st.integers(ALL_WITH_ALL + 1, 200), st.sampled_from(Modulus), st.data())
def test_on_a_ring_it_is_exact_or_too_few_are_left_around_somebody(count, modulus, data):
    """A quorum may be there that lacks the holders of one site: then there is no sum."""
    if not played_out(count, modulus, data):
        event("given up")


def played_out(count, modulus, data):
    """Play a round with dropouts down to a quorum; check its sum, or why there is none."""
    of = context(count, modulus=modulus, length=data.draw(st.integers(1, 9)))
    lost = data.draw(st.integers(0, count - of.cohort.quorum))
    gone = data.draw(st.randoms(use_true_random=False)).sample(names(count), lost)
    when = {name: data.draw(st.sampled_from(STAGES)) for name in gone}
    absent = {stage: [name for name in gone if when[name] <= stage] for stage in STAGES}
    played = Round(of, least_sites=2)
    try:
        total = played.total(absent)
    except (TooFewSitesError, SecureSumError):
        assert least_held(played, gone) < played.server._session.neighbourhoods.threshold
        return False
    played.check(total)
    assert set(total.sites) == {n for n in names(count) if when.get(n) not in IN_THE_SUM}
    assert total.vector.dtype == modulus.dtype
    assert not played.server.faults
    return True


def least_held(played, gone):
    """How many holders are left of the site of which fewest are, of all in the directory."""
    hoods, left = played.server._session.neighbourhoods, set(played.sites).difference(gone)
    return min(
        len(left.intersection(hoods.holders(site)))
        for site in played.server._session.advertisements
    )


@pytest.mark.parametrize("stage", STAGES)
def test_four_sites_bear_one_dropout_and_are_given_up_at_two(stage):
    played = Round(context(4))
    total = played.total({later: ["site001"] for later in STAGES[stage - 1 :]})
    played.check(total)
    late = {later: ["site001", "site003"] for later in STAGES[stage - 1 :]}
    said = refused(TooFewSitesError, lambda: Round(context(4)).total(late), "given up: 2 sites")
    assert f"have {stage.name.lower()}, and 3 of the 4 in the cohort must" in said


@pytest.mark.parametrize("stage", STAGES)
def test_three_sites_bear_none(stage):
    played = Round(context(3))
    played.check(played.total())
    refused(
        TooFewSitesError,
        lambda: Round(context(3)).total({s: ["site002"] for s in STAGES[stage - 1 :]}),
    )


def test_masks_of_a_dropped_site_are_rebuilt_from_shares():
    """One that masked with it does not reveal, so that nobody tells that seed."""
    gone = {stage: ["site001"] for stage in STAGES[2:4]} | {Stage.REVEALED: ["site001", "site002"]}
    played = Round(context(7))
    total = played.total(gone)
    played.check(total)
    assert "site002" in total.sites


def test_dropouts_of_several_stages_together_are_too_many():
    """Seven sites bear two: three are too many though each stage lost but one."""
    absent = {}
    for number, stage in enumerate(STAGES[:3]):
        absent[stage] = names(7)[: number + 1]
    played = Round(context(7))
    refused(TooFewSitesError, lambda: played.total(absent), "4 sites have masked, and 5 of the 7")


@pytest.mark.slow
def test_two_hundred_sites_on_a_ring():
    of = context(200)
    absent = {stage: names(200)[: 4 * stage] for stage in STAGES}
    played = Round(of)
    total = played.total(absent)
    played.check(total)
    assert list(total.sites) == names(200)[12:]


def test_too_many_lost_around_one_site_on_a_ring_lose_the_round():
    """More than it bears of its neighbours are gone, though two thirds of the sites are there."""
    played = Round(context(70)).until(Stage.SHARED)
    hoods = played.server._session.neighbourhoods
    lost = hoods.neighbours("site000")[: len(hoods.holders("site000")) - hoods.threshold + 1]
    assert 70 - len(lost) > played.context.cohort.quorum
    answers = played.answers(Stage.MASKED, lost)
    said = refused(TooFewSitesError, lambda: played.take(Stage.MASKED, answers), "given up")
    assert f"are left, and {hoods.threshold} are needed" in said


@pytest.mark.parametrize("count", [4, 7, 70])
def test_a_site_gets_the_signatures_of_a_quorum_its_own_and_enough_holders_among_them(count):
    """All have signed: whoever checked them all would check a third of them for nothing."""
    played = Round(context(count)).until(Stage.AGREED)
    hoods = played.server._session.neighbourhoods
    for name, request in played.requests.items():
        signers = [site for site, _ in decode(Agreements, request, "server").signatures]
        assert len(signers) == played.context.cohort.quorum
        assert name in signers
        assert len(set(signers).intersection(hoods.holders(name))) >= hoods.threshold
    played.take(Stage.REVEALED, played.answers(Stage.REVEALED))
    played.check(played.server.total())


def test_a_repeated_request_gets_the_same_bytes():
    played = Round(context(4))
    for stage in STAGES:
        first = played.answers(stage)
        if stage is Stage.MASKED:
            played.vectors = {name: v + 1 for name, v in played.vectors.items()}
        assert played.answers(stage) == first
        if stage is Stage.MASKED:
            played.vectors = {name: v - 1 for name, v in played.vectors.items()}
        played.take(stage, first)
        for name, answer in first.items():
            if stage is not Stage.REVEALED:
                played.server.receive(name, answer)
    # Sent again too late, the server notes it and goes on.
    played.check(played.server.total())


def test_a_vector_is_not_changed_and_its_masks_hide_it():
    """All of 20000 words are under uniform masks: none equal to the input but by chance 2^-32."""
    played = Round(context(4, length=20_000)).until(Stage.SHARED)
    before = {name: vector.copy() for name, vector in played.vectors.items()}
    answers = played.answers(Stage.MASKED)
    for name, answer in answers.items():
        masked = np.frombuffer(decode(MaskedInput, answer, name).vector, np.uint32)
        assert (played.vectors[name] == before[name]).all()
        assert (masked == before[name]).sum() <= 1
    played.take(Stage.MASKED, answers)


@pytest.mark.parametrize("modulus", Modulus)
def test_a_vector_costs_little_more_than_its_numbers(modulus):
    of = context(10, modulus=modulus, length=100_000)
    played = Round(of)
    sent = 0
    for stage in STAGES:
        answers = played.answers(stage)
        sent += sum(map(len, answers.values()))
        played.take(stage, answers)
        sent += sum(map(len, played.requests.values())) if stage is not Stage.REVEALED else 0
    assert sent < 1.1 * 10 * of.length * modulus.value // 8
    played.check(played.server.total())


def test_secrets_are_gone_after_the_round_and_after_a_refusal():
    played = Round(context(4)).until(Stage.REVEALED)
    assert all(site._keys is None and not site._seeds for site in played.sites.values())
    refusing = Round(context(4)).until(Stage.SHARED).sites["site000"]
    refused(SecureSumError, lambda: refusing.reveal(b""), "asked again", "shared")
    assert refusing._keys is None
    refused(SecureSumError, lambda: refusing.reveal(b""), "over here")


def test_a_wrong_vector_is_the_callers_and_ends_nothing():
    played = Round(context(4)).until(Stage.SHARED)
    wrong = np.zeros(4, np.uint32), np.zeros(5, np.uint16), np.zeros((5, 1), np.uint32)
    for vector in wrong:
        with pytest.raises(ValueError, match="uint32 of shape"):
            played.sites["site000"].mask(played.requests["site000"], vector)
    for stage in STAGES[2:]:
        played.take(stage, played.answers(stage))
    played.check(played.server.total())


def test_the_least_number_of_sites_is_the_sites_own():
    played = Round(context(4), least_sites=4).until(Stage.MASKED, {Stage.MASKED: ["site003"]})
    for name, request in played.requests.items():
        refused(SecureSumError, lambda n=name, r=request: played.sites[n].agree(r), "fewer than 4")
    two = Round(context(2)).until(Stage.MASKED)
    refused(SecureSumError, lambda: two.answers(Stage.AGREED), "a sum of 2 sites")


def test_the_server_closes_each_stage_once_and_in_turn():
    played = Round(context(4))
    with pytest.raises(RuntimeError, match="in its turn"):
        played.server.survivors()
    played.until(Stage.ADVERTISED)
    with pytest.raises(RuntimeError, match="in its turn"):
        played.server.directory()


def test_whom_there_is_no_sum_with():
    keys = cohort(2).identities
    one = {"site000": keys["site000"]}
    refused(ConfigurationError, lambda: Cohort(one), "1 sites")
    refused(ConfigurationError, lambda: Cohort({**one, "other": keys["site000"]}), "same identity")
    refused(ConfigurationError, lambda: Cohort({**keys, "Bad Name": b""}), "Bad Name")
    refused(ConfigurationError, lambda: Site(context(4), "site000", identity("site001")), "site000")
    refused(ConfigurationError, lambda: Site(context(4), "other", identity("other")), "other")
    for wrong in ({"round": -1}, {"length": 0}, {"weights_hash": b"short"}):
        refused(ConfigurationError, lambda w=wrong: context(4, **w))


def test_quorums():
    assert [cohort(n).quorum for n in (2, 3, 4, 5, 6, 7, 10, 100)] == [2, 3, 3, 4, 5, 5, 7, 67]


def test_a_contexts_digest_is_of_all_that_it_is():
    changes = [
        {},
        {"run": "other"},
        {"round": 4},
        {"cohort": cohort(5)},
        {"modulus": Modulus.BITS_16},
        {"length": 6},
        {"weights_hash": bytes(32)},
        {"configuration_hash": bytes(32)},
        {"assumptions": Assumptions(11)},
    ]
    assert len({context(4, **change).digest for change in changes}) == len(changes)

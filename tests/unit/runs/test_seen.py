"""What the coordinator sees, in words: by mechanism, with a secure sum and without."""

from dataclasses import replace

import pytest
from deployed_run import deployed
from example_run import RESULTS, without_privacy

from tacit.runs.results import Mechanism, SecureSum
from tacit.runs.seen import what_the_coordinator_sees

SUMS = SecureSum(sites=7, fewest=5, bits=32, corrupt=2)


def words(results):
    return {each.about: each.text for each in what_the_coordinator_sees(results)}


def by(mechanism, results=RESULTS):
    (guarantee, *_) = results.privacy.guarantees
    changed = replace(guarantee, mechanism=mechanism)
    return replace(results, privacy=replace(results.privacy, guarantees=(changed,)))


def test_a_secure_sum_says_what_hides_a_site_and_on_whom_that_rests():
    found = words(replace(deployed(), secure_sum=SUMS))
    assert "the sum over at least 5 of 7 sites, and no site's own part" in found["What is seen"]
    assert "At most 2 of the 7 sites work with the coordinator" in found["On what that rests"]
    assert "another round without it" in found["What it does not hide"]
    assert "who took part" in found["In any case"]


@pytest.mark.parametrize("corrupt", [0, 2])
def test_whoever_has_the_keys_of_sites_or_authority_is_not_held_off(corrupt):
    found = words(replace(deployed(), secure_sum=replace(SUMS, corrupt=corrupt)))
    assert (
        "neither made the sites' keys nor holds the authority's: with these it could sign as any"
        in found["On what that rests"]
    )


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (by(Mechanism.GAUSSIAN_AT_SITE), "Against that there is the noise that is in it"),
        (by(Mechanism.SKELLAM_IN_SHARES), "Against that there is the noise that is in it"),
        (by(Mechanism.GAUSSIAN_AT_SERVER), "The coordinator sees it exact, and is trusted with it"),
        (without_privacy(), "Against that there is nothing"),
    ],
    ids=["at site", "in shares", "at server", "none"],
)
def test_noise_is_against_the_coordinator_only_where_it_is_in_the_sum(results, said):
    hidden = words(replace(results, secure_sum=SUMS))["What it does not hide"]
    assert said in hidden
    assert hidden.count("Against that there is the noise") == ("in it" in said)


def test_of_three_nobody_may_be_missing_and_nobody_collude():
    found = words(replace(deployed(), secure_sum=SecureSum(3, 3, 32, 0)))
    assert "No site works with the coordinator" in found["On what that rests"]
    assert "nobody may be missing" in found["On what that rests"]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (by(Mechanism.GAUSSIAN_AT_SITE), "Each site's noised update, by itself and by name"),
        (by(Mechanism.GAUSSIAN_AT_SERVER), "Each client's exact update"),
        (without_privacy(), "Each site's exact update"),
        (by(Mechanism.SKELLAM_IN_SHARES), "In a deployment only their secure sum is seen"),
    ],
    ids=["at site", "at server", "none", "in shares"],
)
def test_without_a_sum_it_is_said_what_is_seen_of_each(results, said):
    assert said in words(results)["What is seen"]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (2, "A sum of two tells each what the other sent"),
        (3, "nobody is missing in a round and no site works with the coordinator"),
        (4, "what a deployment does by itself"),
    ],
)
def test_in_the_open_it_is_said_what_a_sum_of_so_many_would_bear(sites, said):
    found = words(replace(deployed(), secure_sum=None, site_count=sites))
    assert said in found["What would be seen otherwise"]
    assert "With secure_aggregation=required" in found["What would be seen otherwise"]


@pytest.mark.parametrize("mechanism", Mechanism)
def test_every_mechanism_has_its_words(mechanism):
    for sums in (None, SUMS):
        found = what_the_coordinator_sees(replace(by(mechanism), secure_sum=sums))
        assert len({each.about for each in found}) == len(found) >= 2

"""Which sites take part in a round: all equally often, none more often than budgets are for."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.planning import rounds_of_a_site
from simulations.draw import Draw
from tacit.settings import Training


def training(rounds, cohort):
    return Training(rounds, 1, "full", 1.0, cohort=cohort)


@settings(deadline=None)
@given(
    sites=st.integers(1, 40), share=st.floats(0, 1), rounds=st.integers(1, 60), seed=st.integers(0)
)
def test_nobody_is_drawn_more_often_than_was_planned(sites, share, rounds, seed):
    size = max(1, round(sites * share))
    draw = Draw(range(100, 100 + sites), size, seed)
    cohorts = [draw.cohort(number) for number in range(1, rounds + 1)]
    for cohort in cohorts:
        assert len(cohort) == len(set(cohort)) == size
        assert cohort == sorted(cohort)
    taken = Counter(site for cohort in cohorts for site in cohort)
    assert max(taken.values()) <= rounds_of_a_site(training(rounds, size), sites)
    # In a pass nobody comes twice.
    passes = sites // size
    for start in range(0, rounds, passes):
        seen = [site for cohort in cohorts[start : start + passes] for site in cohort]
        assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("sites", "cohort", "rounds", "most"),
    [(1000, 50, 20, 1), (1000, 50, 21, 2), (10, 6, 7, 7), (7, 3, 5, 3), (4, "all", 9, 9)],
)
def test_most_rounds_of_a_site(sites, cohort, rounds, most):
    assert rounds_of_a_site(training(rounds, cohort), sites) == most


def test_flowers_ids_of_nodes_stay_what_they_are():
    nodes = [2**64 - 1, 2**63 + 1, 5]
    assert sorted(Draw(nodes, 3, 0).cohort(1)) == sorted(nodes)


def test_whole_passes_are_fair():
    draw = Draw(range(12), 3, seed=4)
    taken = Counter(site for number in range(1, 13) for site in draw.cohort(number))
    assert set(taken.values()) == {3}


def test_the_seed_and_the_round_decide_and_nothing_else():
    one, other = Draw(range(50), 7, 1), Draw(range(50), 7, 1)
    numbers = [9, 2, 30, 1]
    assert {n: one.cohort(n) for n in numbers} == {n: other.cohort(n) for n in sorted(numbers)}
    assert [one.cohort(n) for n in range(1, 8)] != [
        Draw(range(50), 7, 2).cohort(n) for n in range(1, 8)
    ]


def test_sites_of_one_cohort_differ_from_pass_to_pass():
    """Whoever is together in one pass is not together in the next."""
    draw = Draw(range(1000), 500, seed=0)
    assert 200 < len(set(draw.cohort(1)) & set(draw.cohort(3))) < 300

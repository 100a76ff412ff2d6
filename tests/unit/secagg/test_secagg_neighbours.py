"""Neighbourhoods: their sizes against exact sums, the ring, and what a lying server can cut."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_example import names, refused

from tacit.errors import ConfigurationError
from tacit.secagg.assumptions import ALL_WITH_ALL, Assumptions, Degree, degree, log2_tail
from tacit.secagg.neighbours import Neighbourhoods

SOME = Assumptions()


def exact_tail(least: int, population: int, marked: int, drawn: int) -> Fraction:
    """P[at least `least` marked] of a draw without replacement, by counting."""
    ways = sum(
        math.comb(marked, hit) * math.comb(population - marked, drawn - hit)
        for hit in range(max(least, 0), min(marked, drawn) + 1)
    )
    return Fraction(ways, math.comb(population, drawn))


def log2(chance: Fraction) -> float:
    """Of a chance that may be too small for a float."""
    return math.log2(chance.numerator) - math.log2(chance.denominator) if chance else -math.inf


def bears(size: Degree, advertised: int, cohort: int, assumed: Assumptions) -> bool:
    """The two conditions of `degree`, by exact sums."""
    k, t, others = size.neighbours, size.threshold, advertised - 1
    corrupt = assumed.corrupt_percent * cohort // 100
    dropped = assumed.dropout_percent * advertised // 100
    open_to_server = 2 * advertised * exact_tail(t - 1 - k // 2, others, corrupt, k // 2)
    lost = advertised * exact_tail(k - t + 1, others, dropped, k)
    return (
        open_to_server * 2**assumed.tries_bits <= Fraction(1, 2**assumed.security_bits)
        and lost <= Fraction(1, 2**assumed.failure_bits)
        and 3 * t > 2 * (k + 1)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.data())
def test_tails_are_the_exact_sums(population, data):
    marked = data.draw(st.integers(0, population))
    drawn = data.draw(st.integers(1, population))
    least = data.draw(st.integers(0, drawn + 2))
    exact, found = (
        exact_tail(least, population, marked, drawn),
        log2_tail(least, population, marked, drawn),
    )
    if exact == 0:
        assert found == -math.inf
    else:
        assert found == pytest.approx(log2(exact), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("sites", [65, 100, 200, 1000])
@pytest.mark.parametrize(
    "assumed", [SOME, Assumptions(5, 5), Assumptions(20, 10), Assumptions(10, 10, 20, 10, 0)]
)
def test_sizes_bear_what_is_assumed_and_no_smaller_one_does(sites, assumed):
    size = degree(sites, sites, assumed)
    assert bears(size, sites, sites, assumed)
    k = size.neighbours - 2
    assert not any(bears(Degree(k, t), sites, sites, assumed) for t in range(1, k + 1))


def test_sizes_for_readers():
    found = {n: degree(n, n, SOME) for n in (64, 65, 100, 200, 1000)}
    assert found == {
        64: Degree(63, 43),
        65: Degree(28, 22),
        100: Degree(44, 34),
        200: Degree(82, 63),
        1000: Degree(202, 157),
    }


def test_everybody_up_to_64_and_where_no_ring_would_do():
    assert degree(4, 4, SOME) == Degree(3, 3)
    assert degree(3, 3, SOME) == Degree(2, 3)
    assert degree(ALL_WITH_ALL, 80, SOME) == Degree(63, 54)
    assert degree(65, 65, Assumptions(32, 32)) == Degree(64, 44)


def ring(count: int, session: bytes = bytes(32), assumed: Assumptions = SOME) -> Neighbourhoods:
    return Neighbourhoods(names(count), session, count, assumed)


@pytest.mark.parametrize("count", [3, 64, 65, 100])
def test_neighbours_are_mutual_and_as_many(count):
    hoods = ring(count)
    for site in names(count):
        holders = hoods.holders(site)
        assert list(holders) == sorted(set(holders))
        assert site in holders
        assert len(hoods.neighbours(site)) == degree(count, count, SOME).neighbours
        assert all(site in hoods.neighbours(other) for other in hoods.neighbours(site))


def test_the_order_is_anothers_in_every_session_and_the_same_for_all():
    one, same, other = ring(100), ring(100), ring(100, bytes([1]) * 32)
    assert [one.holders(s) for s in names(100)] == [same.holders(s) for s in names(100)]
    assert one.holders("site000") != other.holders("site000")


def test_every_pair_is_as_likely():
    """70 sites, 400 sessions: a pair is met k/69 of the time, within 5 deviations of a binomial."""
    k = degree(70, 70, SOME).neighbours
    p, sessions = k / 69, 400
    found = [
        sum(
            "site001" in ring(70, bytes([n % 256, n // 256])).neighbours(other)
            for n in range(sessions)
        )
        for other in ("site000", "site002", "site069")
    ]
    assert all(abs(f - sessions * p) < 5 * math.sqrt(sessions * p * (1 - p)) for f in found)


def opened(hoods: Neighbourhoods, alive: set[str], corrupt: set[str], of: list[str]) -> bool:
    """Whether a part of the honest survivors comes apart and all its self-masks can be opened."""
    honest, seen = alive - corrupt, set()
    for start in of:
        if start not in honest or start in seen:
            continue
        part, todo = {start}, [start]
        while todo:
            for other in hoods.neighbours(todo.pop()):
                if other in honest and other not in part:
                    part.add(other)
                    todo.append(other)
        seen |= part
        if part != honest and all(
            len((alive | corrupt).intersection(hoods.holders(site))) >= hoods.threshold
            for site in part
        ):
            return True
    return False


def test_a_server_that_picks_who_drops_out_cuts_nobody_off():
    """It knows the ring and calls two stretches dropped, as long as a quorum lets it."""
    drawn = random.Random(0)
    for trial in range(20):
        hoods = ring(100, bytes([trial]) * 32)
        corrupt = set(drawn.sample(names(100), 10))
        for _ in range(10):
            first, second, width = drawn.randrange(100), drawn.randrange(100), 16
            gone = {hoods._ring[(at + n) % 100] for at in (first, second) for n in range(width)}
            assert not opened(hoods, set(names(100)) - gone, corrupt, names(100))


def test_it_does_where_the_threshold_is_too_low(monkeypatch):
    """Planted: half of the holders is not enough. Two stretches of k/2 isolate what is between."""
    hoods = ring(100, assumed=Assumptions(5, 5))
    half = degree(100, 100, Assumptions(5, 5)).neighbours // 2
    gone = {hoods._ring[at] for at in (*range(half), *range(half + 5, 2 * half + 5))}
    assert not opened(hoods, set(names(100)) - gone, set(), names(100))
    monkeypatch.setattr(hoods, "threshold", 5)
    assert opened(hoods, set(names(100)) - gone, set(), names(100))


@pytest.mark.parametrize(
    "name", ["corrupt_percent", "dropout_percent", "security_bits", "failure_bits", "tries_bits"]
)
def test_assumptions_out_of_range_are_refused(name):
    for value in (-1, 200):
        refused(ConfigurationError, lambda v=value: Assumptions(**{name: v}), name, str(value))

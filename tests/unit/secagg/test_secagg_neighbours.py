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


def cut(hoods: Neighbourhoods, drawn: random.Random, corrupt: set[str]) -> set[str]:
    """Who is left where a server calls two stretches of the ring dropped, to cut it in two."""
    half, count = hoods._half, len(hoods._ring)
    first = drawn.randrange(count)
    second = first + half + drawn.randrange(1, count - 2 * half)
    gone = {hoods._ring[(at + n) % count] for at in (first, second) for n in range(half)}
    return set(hoods._ring) - (gone - corrupt)


def parts(hoods: Neighbourhoods, honest: set[str]) -> list[set[str]]:
    """The parts into which honest survivors come apart."""
    found, left = [], set(honest)
    while left:
        part = todo = {left.pop()}
        while todo:
            todo = {n for site in todo for n in hoods.neighbours(site)}.intersection(left)
            left -= todo
            part = part | todo
        found.append(part)
    return found


def is_open(hoods: Neighbourhoods, alive: set[str], part: set[str]) -> bool:
    """Whether the self-masks of all of a part can be rebuilt: by holders on the list, or corrupt.

    `alive` has the corrupt sites too, whatever the list says of them.
    """
    return all(len(alive.intersection(hoods.holders(site))) >= hoods.threshold for site in part)


@pytest.mark.parametrize("trial", range(3))
def test_a_server_that_picks_who_drops_out_opens_no_part(trial):
    """A thousand sites, a tenth corrupt. It cuts the ring in two, and both parts stay closed."""
    drawn = random.Random(trial)
    hoods = ring(1000, bytes([trial]) * 32)
    corrupt = set(drawn.sample(names(1000), 100))
    alive = cut(hoods, drawn, corrupt)
    assert len(alive) > 2 * 1000 / 3
    found = parts(hoods, alive - corrupt)
    assert len(found) == 2
    assert not any(is_open(hoods, alive, part) for part in found)


def test_a_lower_threshold_would_open_a_part(monkeypatch):
    """Planted: who is at a part's end still has the half of its neighbours that is inside."""
    drawn = random.Random(0)
    hoods = ring(1000)
    corrupt = set(drawn.sample(names(1000), 100))
    alive = cut(hoods, drawn, corrupt)
    monkeypatch.setattr(hoods, "threshold", hoods._half + 1)
    found = parts(hoods, alive - corrupt)
    assert len(found) == 2
    assert any(is_open(hoods, alive, part) for part in found)


@pytest.mark.parametrize(
    "name", ["corrupt_percent", "dropout_percent", "security_bits", "failure_bits", "tries_bits"]
)
def test_assumptions_out_of_range_are_refused(name):
    for value in (-1, 200):
        refused(ConfigurationError, lambda v=value: Assumptions(**{name: v}), name, str(value))

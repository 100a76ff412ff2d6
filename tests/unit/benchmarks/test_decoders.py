"""A few hundred odd inputs to every decoder of what comes from outside; 100,000 are a soak's."""

import logging
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.decoders import Decoder, changed, changed_config, decoders
from benchmarks.soak_decoders import Outcome, _peak, feed

NAMES = (
    "objects of a message",
    "Terms of a record",
    "Limits of a record",
    "RunRequest of a record",
    "TrainRequest of a record",
    "bodies of the Fleet API",
    "heads of requests",
    "answers of the server",
    "signatures of requests",
    "status for watchers",
    "rosters",
    "certificates",
    "authorities",
    "requests of sites",
    "signed requests of sites",
    "weights in a file",
    "checkpoints",
)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    before = logging.getLogger("flwr").level
    yield {each.name: each for each in decoders(tmp_path_factory.mktemp("decoders"))}
    logging.getLogger("flwr").setLevel(before)


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_decoder_is_here(known):
    assert tuple(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**64))
def test_no_input_is_more_than_a_refusal(known, name, seed):
    """By a seed: what is valid holds signatures, which are new at each start."""
    try:
        known[name].feed(Random(seed))
    except known[name].declared:
        return


@given(st.binary(max_size=100), st.randoms(use_true_random=False))
def test_inputs_stay_small(valid, random):
    assert len(changed(random, valid)) <= max(200, len(valid) + 4 * 40)


def test_an_undeclared_error_is_found_and_made_again():
    planted = Decoder("int", lambda random: int("x" * random.randrange(2) or "1"))
    outcome, again = Outcome(), Outcome()
    for number in range(20):
        feed(planted, 0, number, outcome)
    assert 0 < outcome.taken == 20 - len(outcome.findings)
    feed(planted, 0, int(outcome.findings[0].split()[1].rstrip(":")), again)
    assert again.findings == outcome.findings[:1]
    assert "ValueError" in again.findings[0]


def test_memory_that_one_input_takes_is_found():
    outcome = Outcome()
    # More than the process has had before.
    feed(Decoder("bytes", lambda random: b"x" * int((_peak() + 100) * 1e6)), 0, 0, outcome)
    assert "MB" in outcome.findings[0]


def test_a_config_is_changed():
    valid = {"a": 1, "b": "text"}
    assert all(changed_config(Random(seed), valid) is not valid for seed in range(10))
    assert any(changed_config(Random(seed), valid) != valid for seed in range(10))

"""Requests: read back as they were written, and one to train identified by all it asks."""

import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import ConfigurationError
from tacit.learning.plan import Part, Persons, RoundPlan, Share, Within
from tacit.messages import (
    Limits,
    RunRequest,
    SecureRequest,
    SecureStage,
    Terms,
    TrainRequest,
    request_hash,
)
from tacit.privacy.chain import Receipt
from tacit.privacy.events import Unit
from tacit.privacy.grid import Grid

REQUEST = TrainRequest(
    run="run-1",
    round=2,
    rounds=5,
    model="f" * 64,
    plan=RoundPlan(3, 0.5, 8.0, 0.1, 1.5, 20.0, proximal_mu=0.5),
    receipt=Receipt(4, "a" * 64),
)
TERMS = Terms("wards", "f" * 64, "fedavg")
CONFIG = REQUEST.to_config()
WEIGHTS = "0" * 64

positive = st.floats(min_value=1e-6, max_value=1e6)
private = st.tuples(positive, positive)
counts = st.integers(1, 2**31)
rates = st.floats(min_value=1e-9, max_value=1)
grids = st.builds(
    Grid,
    bits=st.sampled_from([16, 32]),
    spacing=st.integers(-30, 20).map(lambda exponent: 2.0**exponent),
    dimension=counts,
    sites=st.integers(1, 100),
    largest=st.integers(1, 300),
)
parts = st.builds(lambda grid, weight: Part(**asdict(grid), weight=weight), grids, rates)
plans = st.builds(
    lambda steps, rate, divisor, learning_rate, noise, mu, part: RoundPlan(
        steps, rate, divisor, learning_rate, *noise, proximal_mu=mu, part=part
    ),
    counts,
    rates,
    positive,
    positive,
    private | st.just((None, None)),
    st.just(0.0) | positive,
    st.none() | parts,
) | st.builds(
    lambda rate, part, share: RoundPlan(1, rate, 1.0, 0.5, 1.0, part=part, share=share),
    rates,
    parts,
    st.builds(Share, variance=positive, honest=counts),
)
plans |= st.builds(
    lambda plan, persons: replace(plan, unit=Unit.PERSON, persons=persons),
    plans,
    st.builds(Persons, counts, st.sampled_from(Within)),
)
requests = st.builds(
    lambda round, later, **more: TrainRequest(round=round, rounds=round + later, **more),
    run=st.text(),
    round=counts,
    later=st.integers(0, 2**31),
    model=st.text(),
    plan=plans,
    receipt=st.builds(Receipt, st.integers(0, 2**31), st.text()),
    secure=st.integers(0, 2**62),
)


@given(requests)
def test_a_request_is_read_as_it_was_written(request):
    assert TrainRequest.from_config(request.to_config()) == request


@given(
    st.builds(
        RunRequest,
        run=st.text(),
        rounds=counts,
        terms=st.builds(
            Terms,
            domain=st.text(),
            model=st.text(),
            strategy=st.text(),
            others=st.integers(0, 2**31),
        ),
        plan=plans,
        epsilon=positive | st.just(math.inf),
        delta=st.floats(0, 1),
    )
)
def test_a_reservation_is_read_as_it_was_written(request):
    assert RunRequest.from_config(request.to_config()) == request


@pytest.mark.parametrize(
    "change", [{"epsilon": None}, {"epsilon": "1"}, {"note": 1}, {"plan-steps": 0}, {"rounds": 1.5}]
)
def test_a_reservation_of_another_form_is_refused(change):
    config = RunRequest("run-1", 5, TERMS, REQUEST.plan, 1.0, 1e-5).to_config()
    with pytest.raises(ConfigurationError):
        RunRequest.from_config({k: v for k, v in (config | change).items() if v is not None})


@given(requests)
def test_a_request_is_plain_scalars(request):
    """An enum would arrive as text, and the request have another hash here than there."""
    assert {type(value) for value in request.to_config().values()} <= {str, int, float}


def test_without_privacy_clip_and_noise_do_not_travel():
    plain = replace(REQUEST, plan=RoundPlan(3, 0.5, 8.0, 0.1, proximal_mu=0.5))
    assert plain.to_config().keys() == CONFIG.keys() - {
        "plan-clipping-norm",
        "plan-noise-multiplier",
    }


@pytest.mark.parametrize("key", sorted(CONFIG))
def test_a_missing_key_is_refused(key):
    with pytest.raises(ConfigurationError):
        TrainRequest.from_config({k: v for k, v in CONFIG.items() if k != key})


@pytest.mark.parametrize("key", ["round", "plan-lr", "plan-", "receipt-note", "Run"])
def test_an_unknown_key_is_refused_by_name(key):
    with pytest.raises(ConfigurationError, match=key):
        TrainRequest.from_config({**CONFIG, key: 1})


@pytest.mark.parametrize("round", [-1, 0, 6])
def test_a_round_that_is_not_of_the_run_is_refused(round):
    with pytest.raises(ConfigurationError, match=f"round {round} of 5"):
        TrainRequest.from_config({**CONFIG, "server-round": round})


def test_without_a_sum_no_part_travels_and_with_one_all_of_it():
    part = Part(32, 2.0**-20, 8, 4, 1000, 0.5)
    summed = replace(REQUEST, plan=replace(REQUEST.plan, part=part)).to_config()
    keys = {f"plan-part-{key}" for key in ("bits", "spacing", "dimension", "sites", "largest")}
    keys |= {"plan-part-weight"}
    assert summed.keys() - CONFIG.keys() == keys
    for key in keys:
        fewer = {k: v for k, v in summed.items() if k != key}
        with pytest.raises(ConfigurationError, match=key):
            TrainRequest.from_config(fewer)


def test_where_a_person_is_the_unit_it_travels_how_its_rows_count():
    persons = Persons(6, Within.SUM)
    asked = replace(REQUEST, plan=replace(REQUEST.plan, unit=Unit.PERSON, persons=persons))
    own = {"plan-unit": "person", "plan-persons-rows": 6, "plan-persons-within": "sum"}
    assert asked.to_config() == CONFIG | own
    for key, wrong in (("plan-persons-rows", 0), ("plan-persons-within", "most")):
        with pytest.raises(ConfigurationError):
            TrainRequest.from_config(CONFIG | own | {key: wrong})
    for key in own:
        with pytest.raises(ConfigurationError):
            TrainRequest.from_config({k: v for k, v in (CONFIG | own).items() if k != key})


def test_a_request_belongs_to_no_sum_or_to_one_with_a_number():
    assert REQUEST.secure == CONFIG["secure"] == 0
    summed = TrainRequest.from_config({**CONFIG, "secure": 2**32 + 1})
    assert summed == replace(REQUEST, secure=2**32 + 1)
    with pytest.raises(ConfigurationError, match="secure=-1 of a request is no number of a sum"):
        TrainRequest.from_config({**CONFIG, "secure": -1})


OF_ANOTHER_TYPE = {str: [7, b"run", None], int: ["2", 2.0, True, None], float: ["0.5", True, [1.0]]}


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, old in CONFIG.items() for v in OF_ANOTHER_TYPE[type(old)]]
)
def test_a_value_of_another_type_is_refused(key, value):
    with pytest.raises(ConfigurationError):
        TrainRequest.from_config({**CONFIG, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("plan-steps", 0),
        ("plan-sampling-rate", 1.5),
        ("plan-sampling-rate", float("nan")),
        ("plan-divisor", -1.0),
        ("plan-noise-multiplier", 0.0),
        ("plan-clipping-norm", float("inf")),
        ("plan-proximal-mu", -0.5),
        ("plan-unit", "person"),
        ("plan-unit", "household"),
    ],
)
def test_a_plan_out_of_range_is_refused(key, value):
    with pytest.raises(ConfigurationError):
        TrainRequest.from_config({**CONFIG, key: value})


def test_the_receipt_is_not_what_is_asked():
    later = replace(REQUEST, receipt=Receipt(9, "b" * 64)).to_config()
    assert later != CONFIG
    assert request_hash(later, WEIGHTS) == request_hash(CONFIG, WEIGHTS)


@pytest.mark.parametrize("key", sorted(key for key in CONFIG if not key.startswith("receipt-")))
def test_whatever_else_differs_is_another_request(key):
    old = CONFIG[key]
    other = old + "x" if isinstance(old, str) else old + 1
    assert request_hash({**CONFIG, key: other}, WEIGHTS) != request_hash(CONFIG, WEIGHTS)
    fewer = {k: v for k, v in CONFIG.items() if k != key}
    assert request_hash(fewer, WEIGHTS) != request_hash(CONFIG, WEIGHTS)


def test_other_weights_are_another_request():
    assert request_hash(CONFIG, "1" * 64) != request_hash(CONFIG, WEIGHTS)


def test_the_order_of_keys_says_nothing():
    turned = dict(reversed(CONFIG.items()))
    assert request_hash(turned, WEIGHTS) == request_hash(CONFIG, WEIGHTS)


tricky = st.text(alphabet="'\",: {}\\a1")


@given(tricky, tricky, st.integers(0, 9), st.integers(0, 9))
def test_text_cannot_pass_for_another_request(run, other_run, rounds, other_rounds):
    """`rounds` and `run` are neighbours where the request is hashed."""
    one = {**CONFIG, "rounds": rounds, "run": run}
    other = {**CONFIG, "rounds": other_rounds, "run": other_run}
    same = request_hash(one, WEIGHTS) == request_hash(other, WEIGHTS)
    assert same is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rounds": 1, "run": "2x"}, {"rounds": 12, "run": "x"}),
        ({"run": "x', 'server-round': 3"}, {"run": "x", "server-round": 3}),
        ({"run": "1"}, {"run": 1}),
        ({"plan-divisor": 8}, {"plan-divisor": 8.0}),
    ],
)
def test_these_are_two_requests(one, other):
    hashes = {request_hash({**CONFIG, **fields}, WEIGHTS) for fields in (one, other)}
    assert len(hashes) == 2


LIMITS = Limits(1.5, 1e-5, 0.5, 20, False)


def test_limits_are_read_as_they_were_written():
    assert Limits.from_config(LIMITS.to_config()) == LIMITS


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"delta": 1.0},
        {"delta": "1e-5"},
        {"least-noise-multiplier": -1.0},
        {"least-noise-multiplier": math.inf},
        {"most-rounds": -1},
        {"most-rounds": 2.5},
        {"note": 1},
        {"predictable": 1},
        {"epsilon": None},
    ],
)
def test_limits_that_cannot_be_are_refused(change):
    config = {k: v for k, v in (LIMITS.to_config() | change).items() if v is not None}
    with pytest.raises(ConfigurationError):
        Limits.from_config(config)


STAGE = SecureRequest("run-1", 3, SecureStage.ADVERTISE, b"{}", "a" * 64)


@given(
    st.builds(
        SecureRequest,
        run=st.text(),
        number=st.integers(0, 2**62),
        stage=st.sampled_from(SecureStage),
        content=st.binary(),
        weights=st.text(),
    )
)
def test_a_stage_of_a_sum_is_read_as_it_was_written(request):
    config = request.to_config()
    assert SecureRequest.from_config(config) == request
    assert {key: type(value) for key, value in config.items()} == {
        "run": str,
        "number": int,
        "stage": str,
        "content": bytes,
        "weights": str,
    }


@pytest.mark.parametrize("key", sorted(STAGE.to_config()))
def test_a_stage_with_a_missing_key_is_refused_by_name(key):
    fewer = {k: v for k, v in STAGE.to_config().items() if k != key}
    with pytest.raises(ConfigurationError, match=key):
        SecureRequest.from_config(fewer)


@pytest.mark.parametrize(
    "change",
    [
        {"run": b"run-1"},
        {"number": "3"},
        {"number": 3.0},
        {"number": True},
        {"stage": "open"},
        {"stage": 1},
        {"stage": "ADVERTISE"},
        {"content": "{}"},
        {"content": [1]},
        {"weights": 0},
        {"note": 1},
        {"receipt-count": 4},
    ],
    ids=str,
)
def test_a_stage_of_another_form_is_refused(change):
    with pytest.raises(ConfigurationError):
        SecureRequest.from_config(STAGE.to_config() | change)

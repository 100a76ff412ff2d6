"""Events as values: what is written is what is read, and damage is never read as an event."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import LedgerError
from tacit.privacy.events import (
    Event,
    ExactRelease,
    GaussianSteps,
    Relation,
    SkellamSteps,
    Unit,
    from_json,
    to_json,
)

POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
EVENTS = st.one_of(
    st.builds(
        GaussianSteps,
        noise_multiplier=POSITIVE,
        sampling_rate=st.floats(0, 1, exclude_min=True),
        steps=st.integers(min_value=0),
        clipping_norm=POSITIVE,
        unit=st.sampled_from(Unit),
        relation=st.sampled_from(Relation),
    ),
    st.builds(
        SkellamSteps,
        l2_sensitivity=POSITIVE,
        variance=POSITIVE,
        dimension=st.integers(1, 2**48),
        sampling_rate=st.floats(0, 1, exclude_min=True),
        steps=st.integers(min_value=0),
        unit=st.sampled_from(Unit),
        relation=st.sampled_from(Relation),
        shares=st.integers(min_value=1),
    ),
    st.builds(
        ExactRelease,
        what=st.text(),
        unit=st.sampled_from(Unit),
        relation=st.sampled_from(Relation),
    ),
)
STEPS = GaussianSteps(1.5, 0.25, 40, 2.0, Unit.PERSON)
SKELLAM = SkellamSteps(4096.5, 2.0**30, 14, 1.0, 20, shares=3)
RELEASE = ExactRelease("mean age", Unit.CLIENT, Relation.REPLACE_WITH_ZERO)


@given(EVENTS)
def test_what_is_written_is_read(event: Event) -> None:
    read = from_json(to_json(event))
    assert read == event
    assert to_json(read) == to_json(event)


def test_the_written_form_is_fixed() -> None:
    """A ledger hashes these bytes: they may never change for these kinds."""
    assert to_json(STEPS) == (
        '{"clipping_norm":2.0,"kind":"gaussian_steps/1","noise_multiplier":1.5,'
        '"relation":"add_or_remove_one","sampling_rate":0.25,"steps":40,"unit":"person"}'
    )
    assert to_json(SKELLAM) == (
        '{"dimension":14,"kind":"skellam_steps/1","l2_sensitivity":4096.5,'
        '"relation":"add_or_remove_one","sampling_rate":1.0,"shares":3,"steps":20,'
        '"unit":"record","variance":1073741824.0}'
    )
    assert to_json(RELEASE) == (
        '{"kind":"exact_release/1","relation":"replace_with_zero","unit":"client",'
        '"what":"mean age"}'
    )


@pytest.mark.parametrize(
    "kind", ["gaussian_steps/2", "skellam_steps/2", "laplace/1", "", None, 7, ["x"]]
)
def test_an_unknown_kind_is_refused(kind: object) -> None:
    fields = json.loads(to_json(STEPS)) | {"kind": kind}
    with pytest.raises(LedgerError, match="unknown event kind"):
        from_json(json.dumps(fields))


@pytest.mark.parametrize("event", [STEPS, SKELLAM, RELEASE], ids=["steps", "skellam", "release"])
def test_each_field_is_needed(event: Event) -> None:
    for missing in json.loads(to_json(event)).keys() - {"shares"}:
        fields = json.loads(to_json(event))
        del fields[missing]
        with pytest.raises(LedgerError, match="cannot be read"):
            from_json(json.dumps(fields))


def test_noise_that_was_written_before_there_were_shares_is_one_share() -> None:
    fields = json.loads(to_json(SKELLAM))
    del fields["shares"]
    read = from_json(json.dumps(fields))
    assert isinstance(read, SkellamSteps)
    assert (read.shares, read.counted_variance) == (1, SKELLAM.variance)


DAMAGED = [
    *(("noise_multiplier", value) for value in (0, -1, math.nan, math.inf, "much", None, [1])),
    *(("sampling_rate", value) for value in (0, 1.5, -0.1, math.nan, "half", None)),
    *(("steps", value) for value in (-1, 2.5, "ten", None)),
    *(("clipping_norm", value) for value in (0, -2, math.nan, math.inf, None)),
    *(("unit", value) for value in ("household", "", None, 1)),
    *(("relation", value) for value in ("replace_one", None)),
]


@pytest.mark.parametrize(("field", "value"), DAMAGED)
def test_a_damaged_field_is_refused(field: str, value: object) -> None:
    fields = json.loads(to_json(STEPS)) | {field: value}
    with pytest.raises(LedgerError, match="cannot be read"):
        from_json(json.dumps(fields))


DAMAGED_SKELLAM = [
    *(("l2_sensitivity", value) for value in (0, -1, math.nan, math.inf, "much", None)),
    *(("variance", value) for value in (0, -1, math.nan, math.inf, [2.0])),
    *(("dimension", value) for value in (0, -3, 1.5, 2**48 + 1, 10**400, None)),
    *(("sampling_rate", value) for value in (0, 1.5, math.nan)),
    *(("steps", value) for value in (-1, 2.5)),
    *(("shares", value) for value in (0, -1, 1.5, "all", None)),
    ("unit", "household"),
    ("relation", "replace_one"),
]


@pytest.mark.parametrize(("field", "value"), DAMAGED_SKELLAM)
def test_a_damaged_field_of_integer_noise_is_refused(field: str, value: object) -> None:
    fields = json.loads(to_json(SKELLAM)) | {field: value}
    with pytest.raises(LedgerError, match="cannot be read"):
        from_json(json.dumps(fields))


def test_the_sensitivities_of_integer_vectors() -> None:
    """Whichever is less: √d Δ₂ of Cauchy and Schwarz, or Δ₂² because |k| ≤ k²."""
    assert SkellamSteps(3.0, 36.0, 100, 1.0, 1).l1_sensitivity == 9
    assert SkellamSteps(30.0, 36.0, 100, 1.0, 1).l1_sensitivity == 300
    assert SkellamSteps(3.0, 36.0, 100, 1.0, 1).noise_multiplier == 2


def test_what_is_counted_is_the_noise_of_all_its_shares() -> None:
    event = SkellamSteps(3.0, 9.0, 100, 1.0, 1, shares=4)
    assert event.counted_variance == 36
    assert event.noise_multiplier == 2


@pytest.mark.parametrize("text", ["", "{", "null", "7", '"kind"', "[]", "[1, 2]", "{}"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        from_json(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier=0.0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"sampling_rate": 0.0}, "sampling_rate=0.0"),
        ({"sampling_rate": 1.01}, "sampling_rate=1.01"),
        ({"steps": -1}, "steps=-1"),
        ({"clipping_norm": math.inf}, "clipping_norm=inf"),
    ],
)
def test_an_event_out_of_range_cannot_be_made(change: dict[str, float], words: str) -> None:
    fields = {"noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 5, "clipping_norm": 1.0}
    with pytest.raises(ValueError, match=words):
        GaussianSteps(**(fields | change))  # type: ignore[arg-type]

"""What is shown of a run, key by key, and its JSON."""

import json
import math
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import replies
from server.status import REASONS, SCHEMA, Phase, Presence, SiteStatus, Status, printable
from tacit.errors import InputError
from tacit.privacy.policy import Reason

SITE_KEYS = {
    "name",
    "state",
    "reason",
    "last_seen",
    "replied",
    "epsilon",
    "epsilon_budget",
    "declared_size",
}
KEYS = {
    "schema",
    "experiment",
    "run",
    "phase",
    "round",
    "rounds",
    "sites",
    "metrics",
    "seconds_per_round",
    "seconds_left",
    "version",
    "started",
    "written",
}
"""All that may leave: a new key is a decision, and is made here too."""

FULL = Status(
    experiment="hospitals",
    run="run-1",
    rounds=40,
    sites=(
        SiteStatus("berlin", Presence.PRESENT, None, 1e9, 12, 2.5, 8.0, 200),
        SiteStatus("lyon", Presence.REFUSED, Reason.BUDGET, 1e9 + 1, 3, math.inf, math.inf, 100),
    ),
    started=1e9,
    phase=Phase.TRAINING,
    round=12,
    metrics={"AUC": 0.9, "loss": math.nan},
    seconds_per_round=1.5,
    seconds_left=42.0,
    version="0.1.0",
    written=1e9 + 20,
)


def test_nothing_but_these_keys_leaves():
    found = json.loads(FULL.to_json())
    assert found.keys() == KEYS
    for site in found["sites"]:
        assert site.keys() == SITE_KEYS
    # The one mapping whose keys are free holds numbers only.
    assert found["metrics"] == {"AUC": 0.9, "loss": None}


def test_the_example_leaves_no_field_empty():
    """So that the test above sees every field that there is."""
    assert all(getattr(FULL, field.name) is not None for field in fields(Status))
    filled = [replace(FULL.sites[0], reason=Reason.BUDGET), FULL.sites[1]]
    assert all(
        getattr(site, field.name) is not None for site in filled for field in fields(SiteStatus)
    )


def test_the_walk_over_the_keys_notices_a_new_one(monkeypatch):
    """Planted: a coordinator that also shows its weights."""
    honest = Status.to_json

    def leaking(status):
        found = json.loads(honest(status))
        return json.dumps(found | {"weights": [1.0, 2.0]}).encode()

    monkeypatch.setattr(Status, "to_json", leaking)
    with pytest.raises(AssertionError):
        test_nothing_but_these_keys_leaves()


def test_the_reasons_are_those_of_the_round_loop():
    assert {*replies.KNOWN, replies.NO_REPLY, replies.MALFORMED} == REASONS


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_of_the_closed_list_is_shown(reason):
    assert SiteStatus("berlin", Presence.REFUSED, reason).reason == reason


@pytest.mark.parametrize("reason", ["patient 17 has HIV", "", "Budget", "budget "])
def test_other_words_of_a_site_are_never_shown(reason):
    site = SiteStatus("berlin", Presence.REFUSED, reason)
    assert site.reason == "malformed"
    assert replace(site, reason=reason).reason == "malformed"


def test_the_metrics_are_a_copy():
    mine = {"AUC": 0.9}
    status = replace(FULL, metrics=mine)
    mine["AUC"] = 0.1
    assert status.metrics == {"AUC": 0.9}


names = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
epsilons = st.none() | st.floats(min_value=0, allow_nan=False)
sites = st.builds(
    SiteStatus,
    names,
    st.sampled_from(Presence),
    st.none() | st.sampled_from(sorted(REASONS)) | names,
    st.none() | finite,
    st.integers(0, 10**9),
    epsilons,
    epsilons,
    st.none() | st.integers(0, 10**9),
)
written = st.builds(
    Status,
    names,
    names,
    st.integers(0, 10**6),
    st.lists(sites, max_size=4).map(tuple),
    finite,
    st.sampled_from(Phase),
    st.integers(0, 10**6),
    st.dictionaries(names, st.none() | st.floats(), max_size=4),
    st.none() | finite,
    st.none() | finite,
    names,
    finite,
)


@given(written)
def test_what_was_written_is_read(status):
    text = status.to_json()
    assert Status.from_json(text) == status
    assert text.isascii()
    assert b"\n" not in text


def test_an_infinite_budget_survives_and_json_stays_json():
    text = FULL.to_json()
    assert b"Infinity" not in text
    assert json.loads(text)["sites"][1]["epsilon_budget"] == "infinity"
    assert Status.from_json(text).sites[1].epsilon_budget == math.inf


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_other_bytes_are_refused_in_a_line(text):
    with pytest.raises(InputError):
        Status.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(KEYS - {"schema"})), json_values)
def test_a_field_of_another_kind_is_refused_or_harmless(key, value):
    """Whatever one field holds, the reader gives a status of the right kinds or an `InputError`."""
    found = json.loads(FULL.to_json()) | {key: value}
    with suppress(InputError):
        read = Status.from_json(json.dumps(found).encode())
        assert Status.from_json(read.to_json()) == read


@pytest.mark.parametrize("text", [b"[" * 100_000, b"1" * 5000, b'"\\ud800"', b"", b"\xff"])
def test_awkward_bytes_are_refused(text):
    with pytest.raises(InputError):
        Status.from_json(text)


def test_a_number_beyond_all_floats_is_refused():
    found = json.loads(FULL.to_json()) | {"started": 10**400}
    with pytest.raises(InputError, match="too large"):
        Status.from_json(json.dumps(found).encode())


def test_another_schema_names_both():
    text = FULL.to_json().replace(SCHEMA.encode(), b"tacit/status/9")
    with pytest.raises(InputError, match=r"\"tacit/status/9\".*'tacit/status/1'"):
        Status.from_json(text)


def test_a_newer_coordinator_may_say_more():
    found = json.loads(FULL.to_json()) | {"weather": "fine"}
    assert Status.from_json(json.dumps(found).encode()) == Status.from_json(FULL.to_json())


def test_a_key_that_is_missing_is_named():
    found = json.loads(FULL.to_json())
    del found["rounds"]
    with pytest.raises(InputError, match="'rounds'"):
        Status.from_json(json.dumps(found).encode())


@given(st.text())
def test_what_could_steer_a_terminal_is_never_printed(text):
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


def test_a_name_with_an_escape_sequence_stays_a_name():
    assert printable("\x1b[2Jbérlin\x9b1m") == "?[2Jbérlin?1m"

"""A ledger keeps what it was opened with, and all that was written, for whoever opens it again."""

import json

import pytest
from ledger_example import PLAN, POLICY, ROUND, fill, open_ledger

from tacit.errors import ConfigurationError
from tacit.privacy.events import Relation, Unit


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("data_set", "ward 4", "'ward 3', not 'ward 4'"),
        ("unit", Unit.PERSON, "'record', not .*person"),
        ("relation", Relation.REPLACE_WITH_ZERO, "'add_or_remove_one', not .*replace_with_zero"),
        ("delta", 1e-6, "1e-05, not 1e-06"),
    ],
)
def test_a_ledger_keeps_what_it_was_opened_with(ledger, path, key, value, shown):
    with pytest.raises(ConfigurationError, match=f"{key}={shown}"):
        open_ledger(path, **{key: value})


@pytest.mark.parametrize("change", [{"data_set": ""}, {"delta": 0.0}, {"delta": 1.0}])
def test_a_ledger_needs_a_name_and_a_delta(path, change):
    with pytest.raises(ConfigurationError):
        open_ledger(path, **change)
    assert not path.exists()


def test_a_ledger_in_no_directory_is_named(path):
    with pytest.raises(ConfigurationError, match=r"nowhere.*directory"):
        open_ledger(path.parent / "nowhere" / "ward.sqlite")


def test_everything_stands_after_reopening(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        before = ledger.rows(), ledger.spent_events(), ledger.receipt()
    with open_ledger(path) as ledger:
        assert (ledger.rows(), ledger.spent_events(), ledger.receipt()) == before
        assert ledger.stored_reply("a", "r2") == [b"second"]
        ledger.reserve(PLAN, POLICY)
        ledger.charge("a", "r3", ROUND, POLICY)


def test_two_hold_one_ledger_and_each_sees_the_others_rows(ledger, path):
    with open_ledger(path) as other:
        ledger.reserve(PLAN, POLICY)
        charge = other.charge("a", "r1", ROUND, POLICY)
        ledger.store_reply(charge, [b"reply"])
        assert other.stored_reply("a", "r1") == [b"reply"]
        assert other.rows() == ledger.rows()


def test_the_head_may_lie_elsewhere(path, tmp_path):
    elsewhere = tmp_path / "other disk"
    elsewhere.mkdir()
    with open_ledger(path, head_path=elsewhere / "head") as ledger:
        fill(ledger)
    assert json.loads((elsewhere / "head").read_text())["count"] == 10
    with open_ledger(path, head_path=elsewhere / "head"):
        pass

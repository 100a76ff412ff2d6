"""A plan comes back from disk as it was, or not at all."""

import json
from dataclasses import replace

import pytest
from rounds_example import ROUND, run_plan

from server.kept_plan import read_plan, write_plan
from tacit.errors import RunDirectoryError

PLAN = run_plan()
PLAN = replace(
    PLAN,
    sites={**PLAN.sites, "west": replace(ROUND, noise_multiplier=9.0)},
    epsilons={**PLAN.epsilons, "west": 0.25},
)


def test_a_plan_is_read_as_it_was_written(tmp_path):
    write_plan(tmp_path / "plan.json", PLAN)
    assert read_plan(tmp_path / "plan.json") == PLAN


def test_before_anybody_joined_there_is_none(tmp_path):
    assert read_plan(tmp_path / "plan.json") is None


def cut(text):
    return text[:-9]


def of_another_format(text):
    return text.replace("tacit/plan/1", "tacit/plan/2")


def without_sites(text):
    return json.dumps({**json.loads(text), "sites": {}})


def with_a_strange_key(text):
    found = json.loads(text)
    found["sites"]["west"]["code"] = "print(1)"
    return json.dumps(found)


@pytest.mark.parametrize("spoil", [cut, of_another_format, without_sites, with_a_strange_key])
def test_a_damaged_plan_is_refused(tmp_path, spoil):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RunDirectoryError, match=r"plan\.json: "):
        read_plan(path)

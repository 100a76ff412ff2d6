"""What follows from stages: the outcome of an audit and its exit code."""

import pytest

from audits.verdict import NEEDED, Audit, Finding, Outcome, Stage, StageName
from tacit.errors import ExitCode

GOOD, BAD = Finding("a test", "all is well"), Finding("a test", "it is not", contradicted=True)


def audit(**stages):
    made = {name: Stage(name, why="not here") for name in StageName}
    made |= {StageName(name): stage for name, stage in stages.items()}
    return Audit("RUN", tuple(made.values()))


def passed(*names):
    return {name.value: Stage(name, (GOOD,)) for name in names}


def test_the_needed_stages_are_enough():
    found = audit(**passed(*NEEDED))
    assert found.outcome is Outcome.NOT_CONTRADICTED
    assert found.exit_code is ExitCode.DONE


@pytest.mark.parametrize("missing", NEEDED)
def test_without_a_needed_stage_nothing_is_tested(missing):
    found = audit(**passed(*(name for name in StageName if name is not missing)))
    assert found.outcome is Outcome.NOT_TESTED
    assert found.exit_code is ExitCode.INCOMPLETE


@pytest.mark.parametrize("name", StageName)
def test_one_contradiction_in_any_stage_is_enough(name):
    found = audit(**{**passed(*NEEDED), name.value: Stage(name, (GOOD, BAD))})
    assert found.outcome is Outcome.CONTRADICTED
    assert found.exit_code is ExitCode.CONTRADICTED


def test_a_stage_without_findings_is_not_tested():
    assert Stage(StageName.LEDGER).outcome is Outcome.NOT_TESTED
    assert Stage(StageName.LEDGER, (GOOD,), why="half of it").outcome is Outcome.NOT_TESTED


def test_what_is_written_names_every_stage():
    fields = audit(**passed(*NEEDED)).to_fields()
    assert [stage["name"] for stage in fields["stages"]] == list(StageName)
    assert fields["outcome"] == "not_contradicted"

"""What follows from stages: the outcome of an audit and its exit code."""

from dataclasses import replace

import pytest
from example_run import CONFIG, RESULTS, history

from tacit.errors import ExitCode, RunDirectoryError
from tacit.runs.audited import (
    FILE,
    NEEDED,
    Audit,
    Finding,
    Outcome,
    Stage,
    StageName,
    read_audit,
)
from tacit.runs.report import render

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


def test_a_test_that_could_not_be_done_leaves_its_stage_not_tested():
    open_ = Finding("a test", "there is nothing to look at", tested=False)
    assert Stage(StageName.LEDGER, (GOOD, open_)).outcome is Outcome.NOT_TESTED
    assert Stage(StageName.LEDGER, (open_, BAD)).outcome is Outcome.CONTRADICTED


def test_what_is_written_names_every_stage():
    fields = audit(**passed(*NEEDED)).to_fields()
    assert [stage["name"] for stage in fields["stages"]] == list(StageName)
    assert fields["outcome"] == "not_contradicted"


def test_what_is_written_is_read_back(tmp_path):
    made = audit(**{**passed(*NEEDED), "mechanism": Stage(StageName.MECHANISM, (GOOD, BAD))})
    made.write(tmp_path / FILE)
    assert read_audit(tmp_path / FILE) == made
    assert read_audit(tmp_path / "nothing.json") is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": "tacit/audit/0"}', '{"schema": "tacit/audit/1", "what": 1}']
)
def test_what_is_no_audit_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunDirectoryError, match="audit"):
        read_audit(tmp_path / FILE)


def test_the_report_has_a_chapter_on_it_and_none_without():
    whole = audit(**passed(*NEEDED))
    page = render(RESULTS, history(), CONFIG, whole)
    assert "What an audit found" in page
    assert "Not contradicted by the tests below" in page
    broken = audit(**{**passed(*NEEDED), "ledger": Stage(StageName.LEDGER, (BAD,))})
    assert "No ε in this report holds" in render(RESULTS, history(), CONFIG, broken)
    assert "What an audit found" not in render(RESULTS, history(), CONFIG)


def test_a_fault_of_use_leaves_epsilon_as_it_is():
    use = Finding("parts of a sum", "they do not fit", contradicted=True)
    page = render(RESULTS, history(), CONFIG, audit(mechanism=Stage(StageName.MECHANISM, (use,))))
    assert "a fault of use, and not of privacy" in page
    assert "No ε in this report" not in page
    both = audit(mechanism=Stage(StageName.MECHANISM, (use, BAD)))
    assert "No ε in this report holds" in render(RESULTS, history(), CONFIG, both)
    assert "a fault of use" not in render(RESULTS, history(), CONFIG, both)


def test_a_report_without_any_epsilon_says_nothing_of_it():
    broken = audit(ledger=Stage(StageName.LEDGER, (BAD,)))
    page = render(replace(RESULTS, privacy=None), history(), CONFIG, broken)
    assert "Contradicted." in page
    assert "No ε in this report" not in page

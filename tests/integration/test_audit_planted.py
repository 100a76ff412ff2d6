"""Faults that the audit has to find, and honest runs beside them that it has to leave alone.

One seed of each; `python -m benchmarks.audits` makes the many. A fault that the probes beside a run
show is looked for by them alone, and by the whole audit in the slow tests.
"""

import pytest

from benchmarks import audit_faults as faults
from benchmarks.audit_cases import CODE, FILES, HONEST, WHOLE, audited, hurried, probed, simulated
from tacit.runs.audited import Outcome


def cases(table, slow=lambda each: False):
    return [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if slow(each) else [])
        for each in table
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    hurried(monkeypatch)


@pytest.fixture(scope="module")
def to_probe(tmp_path_factory):
    """Gives an honest run for some words; each is made once."""
    made = {}

    def run(words):
        if words not in made:
            made[words] = simulated(tmp_path_factory.mktemp("honest") / "run", words)
        return made[words]

    return run


@pytest.mark.parametrize("case", cases(each for each in CODE if each.put_in not in WHOLE))
def test_a_fault_of_the_code_shows_beside_a_run(to_probe, monkeypatch, case):
    run = to_probe(case.words)
    case.put_in(monkeypatch, faults.seeds(case.put_in, 0))
    assert case.test in probed(run, 0)


@pytest.mark.parametrize("case", cases(CODE, lambda each: each.put_in not in WHOLE))
def test_a_fault_of_the_code_is_found(tmp_path, monkeypatch, case):
    case.put_in(monkeypatch, faults.seeds(case.put_in, 0))
    audit, tests = audited(simulated(tmp_path / "run", case.words))
    assert audit.outcome is Outcome.CONTRADICTED
    assert case.test in tests


@pytest.mark.parametrize("case", cases(FILES))
def test_a_fault_of_the_files_is_found(tmp_path, case):
    path = simulated(tmp_path / "run", case.words)
    case.put_in(path)
    audit, tests = audited(path)
    assert audit.outcome is Outcome.CONTRADICTED
    assert case.test in tests


@pytest.mark.parametrize("words", HONEST.values(), ids=[*HONEST])
def test_an_honest_run_that_looks_alike_is_left_alone(tmp_path, words):
    audit, tests = audited(simulated(tmp_path / "run", words))
    assert tests == []
    assert audit.outcome is Outcome.NOT_CONTRADICTED

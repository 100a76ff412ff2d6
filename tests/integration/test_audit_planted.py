"""Faults that the audit has to find, and honest runs beside them that it has to leave alone.

One seed of each; `python -m benchmarks.audits` makes the many.
"""

import pytest

from benchmarks import audit_faults as faults
from benchmarks.audit_cases import CODE, FILES, HONEST, audited, hurried, simulated
from tacit.runs.audited import Outcome

QUICK = {faults.no_noise_on_one_layer, faults.exact_count_released}


def cases(table, quick=frozenset()):
    return [
        pytest.param(each, id=each.name, marks=[] if each.put_in in quick else pytest.mark.slow)
        for each in table
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    hurried(monkeypatch)


@pytest.mark.parametrize("case", cases(CODE, QUICK))
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


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[] if name == "together" else pytest.mark.slow)
        for name, words in HONEST.items()
    ],
)
def test_an_honest_run_that_looks_alike_is_left_alone(tmp_path, words):
    audit, tests = audited(simulated(tmp_path / "run", words))
    assert tests == []
    assert audit.outcome is Outcome.NOT_CONTRADICTED

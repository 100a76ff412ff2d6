"""What stands on the terminal when a deployed run has ended."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from deployed_run import WHY, deployed, history
from example_run import accuracies
from rich.console import Console

from tacit.runs.guarantee import TEST_DATA
from tacit.runs.results import Results, Round
from tacit.runs.terminal import deployed_table

REPORT = Path("/a/folder [with] a name that is long enough for a narrow terminal/report.html")


def printed(results: Results, lines: tuple[Round, ...] | None = None, width: int = 80) -> list[str]:
    out = io.StringIO()
    lines = history() if lines is None else lines
    deployed_table(results, lines, REPORT, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def cells(lines: list[str]) -> dict[str, str]:
    rows = (line.split() for line in lines if line.startswith(" "))
    return {name: " ".join(figures) for name, *figures in rows}


@pytest.mark.parametrize("width", [80, 200])
def test_rounds_and_cost_of_each_site(width: int):
    lines = printed(deployed(), width=width)
    assert lines[1] == "Heart disease at four hospitals: 8 of 8 rounds"
    found = cells(lines)
    assert found["site"] == "replied not asked missing ε budget σ steps"
    assert found["cleveland"] == "8 0 0 1.00 1.00 10.7 8"
    assert found["hungarian"] == "8 0 0 0.500 0.500 20.1 8"
    assert found["switzerland"] == "6 2 0 0.252 0.800 25 8"
    assert found["va"] == "5 0 3 0.998 1.00 8.4 8"
    assert f"What the model is worth is not measured: {WHY}." in lines
    assert "ε is per record at δ = 0.0001, of this run alone." in lines
    assert lines[-2] == "note: ε follows from what was asked"
    assert lines[-1] == f"report: {REPORT}"
    assert not any("imulation" in line for line in lines)


def test_test_data_hold_no_promise():
    lines = printed(deployed(test_data=True))
    assert f"Test data. {TEST_DATA}" in lines
    assert not any(line.startswith("ε is per record") for line in lines)
    assert not any(TEST_DATA in line for line in printed(deployed()))


def test_a_site_of_which_no_guarantee_speaks_has_none():
    stranger = Round(9, 0.1, 0.1, ("basel",), {})
    assert cells(printed(deployed(), (stranger,)))["basel"] == "1 0 0 ∞ – – –"
    lines = printed(replace(deployed(), privacy=None))
    assert cells(lines)["va"] == "5 0 3 ∞ – – –"
    assert not any("per record" in line for line in lines)


def test_what_was_measured_is_not_denied():
    measured = deployed(evaluation=accuracies(0.9, 0.8, 0.7, 0.6))
    assert not any("not measured" in line for line in printed(measured))

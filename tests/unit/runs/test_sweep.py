"""sweep.json and sweep.html: a row a job, also for those that failed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from example_run import (
    GUARANTEE,
    PRIVACY,
    RESULTS,
    accuracies,
    with_spending,
    without_privacy,
)
from html_page import Page, check

from tacit.errors import ExitCode, RunDirectoryError
from tacit.runs.results import Results, SiteSpending
from tacit.runs.sweep import SweepRow, write_sweep

HOSTILE = "<script>alert(1)</script>"


def at(epsilon: float, accuracy: float) -> Results:
    sites = {site: replace(one, epsilon=epsilon) for site, one in GUARANTEE.sites.items()}
    privacy = replace(PRIVACY, guarantees=(replace(GUARANTEE, sites=sites),))
    found = accuracies(accuracy, accuracy, accuracy + 0.1, accuracy - 0.1)
    return replace(RESULTS, privacy=privacy, evaluation=found)


ROWS = (
    SweepRow("0", ("privacy.epsilon=0.5",), 0, at(0.5, 0.74)),
    SweepRow("1", ("privacy.epsilon=8",), 0, at(8, 0.82)),
    SweepRow("2", ("privacy=none",), 0, without_privacy()),
    SweepRow("3", ("privacy.epsilon=-1", HOSTILE), ExitCode.BAD_INPUT, None, f"wrong: {HOSTILE}"),
    SweepRow("4", (), 77, None, None),
)


def test_a_row_a_job(tmp_path: Path):
    path = write_sweep(tmp_path, ROWS)
    assert path == tmp_path / "sweep.html"
    page = Page(path.read_text(encoding="utf-8"))
    check(page, links=tuple(f"{number}/report.html" for number in range(3)))
    assert page.tags.count("svg") == 1
    assert page.tags.count("tr") == 1 + len(ROWS)
    assert "5 jobs; 3 done." in page.words
    for text in ("privacy.epsilon=0.5", "0.500", "0.740", "0.640 va", "no privacy guarantee"):
        assert text in page.words
    assert f"bad input (2) wrong: {HOSTILE}" in page.words.replace("(2)wrong", "(2) wrong")
    assert "exit code 77" in page.words


def test_json_of_a_sweep(tmp_path: Path):
    write_sweep(tmp_path, ROWS)
    text = (tmp_path / "sweep.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert found["schema"] == "tacit/sweep/1"
    assert [job["job"] for job in found["jobs"]] == [row.job for row in ROWS]
    assert [job["epsilon"] for job in found["jobs"]] == [0.5, 8, None, None, None]
    assert [job["delta"] for job in found["jobs"]] == [1e-4, 1e-4, None, None, None]
    assert [job["exit_code"] for job in found["jobs"]] == [0, 0, 0, 2, 77]
    assert found["jobs"][0]["evaluation"]["mean_of_sites"] == pytest.approx(0.74)
    assert found["jobs"][3] == {
        "job": "3",
        "overrides": ["privacy.epsilon=-1", HOSTILE],
        "exit_code": 2,
        "error": f"wrong: {HOSTILE}",
        "epsilon": None,
        "delta": None,
        "evaluation": None,
    }


def test_an_infinite_epsilon(tmp_path: Path):
    endless = with_spending("va", SiteSpending(math.inf, 1.0, 20, 1.0, 0.0, 1.0))
    page = Page(write_sweep(tmp_path, (SweepRow("0", (), 0, endless), *ROWS[:2])).read_text())
    check(page, links=("0/report.html", "1/report.html"))
    assert "∞" in page.words
    assert json.loads((tmp_path / "sweep.json").read_text())["jobs"][0]["epsilon"] == "infinity"


@pytest.mark.parametrize("rows", [(), ROWS[:1], ROWS[2:], (ROWS[0], ROWS[0])])
def test_no_plot_where_epsilon_does_not_vary(rows, tmp_path: Path):
    page = Page(write_sweep(tmp_path, rows).read_text(encoding="utf-8"))
    check(page, links=("0/report.html", "2/report.html"))
    assert "svg" not in page.tags


def test_equal_sweeps_give_equal_bytes(tmp_path: Path):
    first = write_sweep(tmp_path, ROWS).read_bytes()
    assert write_sweep(tmp_path, ROWS).read_bytes() == first
    assert write_sweep(tmp_path, ROWS[1:]).read_bytes() != first


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "sweep").write_text("")
    with pytest.raises(RunDirectoryError, match=r"sweep\.json cannot be written"):
        write_sweep(tmp_path / "sweep", ROWS)

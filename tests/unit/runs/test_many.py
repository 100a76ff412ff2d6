"""A report and a terminal's table of very many sites stay readable: what is said of whom."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from deployed_run import deployed
from example_run import GUARANTEE, PRIVACY, RESULTS
from html_page import Page, check
from many_sites import lines, many, names, spending, values
from rich.console import Console

from simulations.progress import LiveProgress, final_table
from tacit.privacy.events import Unit
from tacit.runs import many as many_module
from tacit.runs.attendance import attendance, attendance_rows
from tacit.runs.encoding import encode
from tacit.runs.evaluation import Direction, evaluation
from tacit.runs.guarantee import guarantee_in_words
from tacit.runs.many import LISTED, WORST, spending_left_out, spending_rows, spread
from tacit.runs.report import render
from tacit.runs.results import Results, Round, SiteSpending, read, write
from tacit.runs.sweep import SweepRow, write_sweep
from tacit.runs.terminal import deployed_table

SCHEMA = Path(many_module.__file__).with_name("results.schema.json")


def report(results: Results, failed: int = 0) -> Page:
    page = Page(render(results, lines(results, failed), "seed: 0\n"))
    check(page)
    return page


def printed(results: Results, width: int = 80) -> list[str]:
    out = io.StringIO()
    final_table(results, Path("report.html"), Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_of_many_sites_the_worst_are_named_and_the_rest_summed_up():
    page = report(many(200))
    assert page.html.count('<th scope="row">user-') == 2 * WORST  # metric, and site by site
    assert page.words.index("user-000199 worst") < page.words.index("user-000011")
    assert "Over 200 sites: 0.462 at the least" in page.words
    assert "200 sites trained one model" in page.words
    assert "Accuracy over 200 sites" in page.words
    assert "Shaded: all sites" in page.words
    assert "worse at 200 of 200 sites" in page.words
    assert "And 180 more, in results.json." in page.words


def test_equal_costs_are_one_row():
    page = report(many(200, kinds=3))
    assert "67 sites1.001.00" in page.words.replace(" ", "").replace("67sites", "67 sites")
    assert "ε from 0.980 to 1.00 at 200 sites" in page.words
    assert "ε over 200 sites" in page.words
    alike = report(many(200, kinds=1))
    assert "ε = 1.00 at each of 200 sites" in alike.words
    assert "ε over 200 sites" not in alike.words


def test_with_one_test_set_no_site_is_named():
    page = report(many(1000, one_test_set=True))
    assert "All 1,000 sites are measured on the same 360 test records" in page.words
    assert "1,000 sites trained one model" in page.words
    assert "at no site worse" not in page.words
    assert "this run is 5.0 points better in the mean of sites." in page.words
    assert "user-000000" not in page.words


def test_listed_sites_that_are_all_alike_are_not_ranked():
    same = evaluation("accuracy", Direction.MAXIMIZE, dict.fromkeys(names(60), 0.75), pooled=0.75)
    results = replace(many(60), evaluation=same, comparison=())
    page = report(results)
    assert "At each of 60 sites it is the same: 0.750." in page.words
    assert '<th scope="row">user-' not in page.html
    assert not any(row.startswith(" user-") for row in printed(results))


@pytest.mark.parametrize("same", [True, False])
def test_at_a_terminal_sites_that_cannot_be_told_apart_are_not_ranked(same):
    values = dict(zip(names(3), (0.75, 0.75, 0.75 if same else 0.5), strict=True))
    found = evaluation("accuracy", Direction.MAXIMIZE, values, pooled=0.75)
    lines = printed(replace(many(3), evaluation=found, comparison=()), width=300)
    assert any("All 3 sites have the same figure, 0.750." in line for line in lines) == same
    assert any("worst: user-000002" in line for line in lines) != same
    assert any("gap to the best" in line for line in lines) != same


def test_sites_without_a_figure_are_not_called_alike():
    none = evaluation(
        "auc",
        Direction.MAXIMIZE,
        dict.fromkeys(names(3)),
        pooled=None,
        reasons=dict.fromkeys(names(3), "its held-out rows are of one class"),
    )
    lines = printed(replace(many(3), evaluation=none, comparison=()), width=300)
    assert not any("have the same figure" in line for line in lines)


@pytest.mark.parametrize("unit", Unit)
def test_epsilon_is_per_what_the_guarantee_is_of(unit):
    guarantee = replace(GUARANTEE, unit=unit, sites=spending(3, 1))
    domain = replace(RESULTS.domain, unit_protected="one engine")
    privacy = replace(PRIVACY, guarantees=(guarantee,))
    lines = printed(replace(many(3), domain=domain, privacy=privacy), width=300)
    (said,) = [line for line in lines if line.startswith("ε is per ")]
    assert said.startswith(f"ε is per {domain.named(unit)}")
    assert ("(one engine)" in said) == (unit is Unit.PERSON)


def test_who_did_not_take_part_is_said():
    guarantee = replace(GUARANTEE, sites=spending(60, 3))
    results = replace(
        many(1000, one_test_set=True), privacy=replace(PRIVACY, guarantees=(guarantee,))
    )
    assert "1,000 sites, of which 60 took part, trained one model" in report(results).words
    assert any(row.startswith(" 60 of 1,000 sites, from") for row in printed(results))


def test_replies_that_did_not_come_are_counted():
    assert "7100 sites: timeout" in report(many(200), failed=100).words
    assert "user-000002: timeout" in report(many(200), failed=3).words


@pytest.mark.parametrize("count", [1000, 100_000])
def test_a_page_does_not_grow_with_the_sites(count: int):
    few = len(report(many(LISTED + 70, one_test_set=True, kinds=3)).html)
    results = many(count, one_test_set=True, kinds=3)
    assert len(render(results, lines(many(100, one_test_set=True)), "")) < 1.2 * few


def test_the_form_is_that_of_the_schema(tmp_path: Path):
    for results in (many(200), many(200, one_test_set=True)):
        jsonschema.validate(encode(results), json.loads(SCHEMA.read_text()))
        write(results, tmp_path / "results.json")
        assert read(tmp_path / "results.json") == results
    old = encode(RESULTS)
    old.pop("site_count")
    jsonschema.validate(old, json.loads(SCHEMA.read_text()))


def test_the_table_names_the_worst_and_how_figures_spread():
    rows = printed(many(200))
    assert all(len(row) <= 80 for row in rows[:24])
    assert sum(row.startswith(" user-") for row in rows) == WORST
    at = next(n for n, row in enumerate(rows) if row.startswith(" 200 sites, from"))
    assert rows[at].split()[3:] == ["0.462", "0.312", "0.760", "1.00", "9.3", "20"]
    assert rows[at + 4].split() == ["to", "0.850", "0.700", "1.00", "1.00", "33.3", "20"]
    assert rows[-2] == "note: 180 more are in results.json"


def test_the_table_of_sites_that_are_all_alike_has_one_row():
    rows = printed(many(1000, one_test_set=True, kinds=1))
    (row,) = (row for row in rows if "1,000 sites" in row)
    assert row.split() == ["1,000", "sites", "360", "0.750", "–", "1.00", "1.00", "9.3", "20"]
    without = printed(replace(many(1000, one_test_set=True), privacy=None))
    assert any(row.split()[:5] == ["1,000", "sites", "360", "0.750", "–"] for row in without)


def test_a_round_does_not_name_a_thousand_sites():
    out = io.StringIO()
    failed = dict.fromkeys(names(1000), "timeout")
    with LiveProgress(Console(file=out, width=200)) as progress:
        progress.round(Round(2, 0.1, 0.1, (), failed), 2, None)
    assert "missing: 1,000 sites" in out.getvalue()


def test_the_spread_is_of_values_that_are_there():
    found = spread([3.0, None, 1.0, math.inf, 2.0])
    assert found is not None
    assert (found.least, found.median, found.most) == (1.0, 2.0, math.inf)
    assert spread([None]) is None


def test_more_kinds_of_cost_than_rows_are_summed_up():
    sites = spending(200, 25)
    rows = spending_rows(sites)
    assert len(rows) == WORST
    assert [each.epsilon for _, each in rows] == sorted((e.epsilon for _, e in rows), reverse=True)
    assert spending_left_out(sites) == (
        "120 more sites: ε from 0.760 to 0.900. results.json has them all."
    )
    assert spending_left_out(spending(200, 3)) is None
    alone = {**spending(200, 1), "user-000007": SiteSpending(2.0, 2.0, 1, 1.0, 1.0, 1.0)}
    assert [name for name, _ in spending_rows(alone)] == ["user-000007", "199 sites"]


def test_many_sites_without_a_guarantee_are_counted():
    endless = replace(GUARANTEE.sites["va"], epsilon=math.inf)
    sites = {**spending(40, 2), **dict.fromkeys(names(40)[:20], endless)}
    guarantee = replace(GUARANTEE, sites=sites)
    said = guarantee_in_words(guarantee, PRIVACY, RESULTS.domain, simulation=True)[0].text
    assert "At 20 sites ε is infinite: there is no privacy guarantee at these sites." in said


def test_attendance_of_many_sites_names_who_missed_most():
    results = replace(deployed(), evaluation=values(100, 0.5))
    history = tuple(
        Round(
            number, 0.1, 0.1, tuple(names(100)[number:]), dict.fromkeys(names(100)[:number], "late")
        )
        for number in (1, 2, 3)
    )
    found = attendance(results, history)
    rows = attendance_rows(found)
    assert [rows[0].site, rows[0].missing, rows[1].missing] == ["user-000000", 3, 2]
    assert len(rows) == WORST + 1
    assert sum(each.replied for each in rows) == sum(each.replied for each in found)
    assert rows[-1].site == "90 other sites, together"
    out = io.StringIO()
    deployed_table(results, history, Path("report.html"), Console(file=out, width=80))
    assert "90 other sites" in out.getvalue()


def test_a_sweep_of_runs_with_one_test_set_has_its_figure(tmp_path: Path):
    rows = [
        SweepRow(str(n), (f"kinds={n}",), 0, many(200, one_test_set=True, kinds=1))
        for n in range(2)
    ]
    halved = replace(GUARANTEE, sites=dict.fromkeys(names(200), SiteSpending(0.5, 1, 1, 1, 1, 1)))
    rows[1] = replace(
        rows[1], results=replace(rows[1].results, privacy=replace(PRIVACY, guarantees=(halved,)))
    )
    assert write_sweep(tmp_path, rows).read_text().count("<svg") == 1

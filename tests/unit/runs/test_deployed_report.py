"""report.html of a deployed run: nothing is measured, nothing is empty, and it says why."""

import re
from dataclasses import replace

import pytest
from deployed_run import SPENDING, UNMEASURED, WHY, deployed, history
from example_run import DOMAIN, RESULTS, SITES, accuracies
from example_run import history as simulated_history
from html_page import Page, check

from tacit.runs import report as reports
from tacit.runs.guarantee import (
    SIMULATED_NOISE,
    TEST_DATA,
    format_epsilon,
    guarantee_in_words,
)
from tacit.runs.report import render
from tacit.runs.results import Results, Round
from tacit.runs.summary import Fact, facts, why_unmeasured

HOSTILE = "<script>alert(1)</script>"
PUBLIC = accuracies(0.9, 0.8, 0.7, 0.6, pooled=0.77)


def page_of(results: Results, lines: tuple[Round, ...] | None = None) -> Page:
    page = Page(render(results, history() if lines is None else lines, "seed: 0\n"))
    check(page)
    return page


def rows_of(page: Page, caption: str) -> list[list[str]]:
    (table,) = (t for t in page.html.split("<table")[1:] if caption in t.split("</caption>")[0])
    body = table.split("<tbody>")[1].split("</tbody>")[0]
    cells = (re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:])
    return [[" ".join(re.sub(r"<.*?>", " ", cell).split()) for cell in row] for row in cells]


def assert_nothing_is_empty(page: Page) -> None:
    assert "–" not in page.words
    assert "not measurable" not in page.words
    assert page.words.count("ε by") == page.tags.count("svg") == 2


def test_it_says_that_nothing_is_measured_and_what_a_site_can_do():
    page = page_of(deployed())
    assert "Report of a federated run" in page.words
    assert f"What this model is worth is not measured: {WHY}." in page.words
    assert "A site can measure for itself" in page.words
    assert "model.json, which lie beside this report" in page.words
    assert_nothing_is_empty(page)
    assert "simulat" not in page.words.lower()
    for metric in ("Accuracy", "Test records", "public data"):
        assert metric not in page.words


def test_an_empty_figure_would_be_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reports, "why_unmeasured", lambda results: None)
    with pytest.raises(AssertionError):
        assert_nothing_is_empty(page_of(deployed()))


def test_the_strip_of_a_deployed_run():
    assert facts(deployed(), history()) == [
        Fact("Sites", "4", "2 replied in every round"),
        Fact("Replies missing", "3", "of 30 asked for"),
        Fact("Largest ε", "1.00", "of a site, per record, at δ = 0.0001"),
        Fact("Rounds", "8", "of 8"),
        Fact("Time", "9.8 s", "420 ms a round"),
    ]


def test_the_rounds_of_each_site():
    page = page_of(deployed())
    assert rows_of(page, "Rounds of each site, of 8 that ended") == [
        ["cleveland", "8", "0", "0", ""],
        ["hungarian", "8", "0", "0", ""],
        ["switzerland", "6", "2", "0", ""],
        ["va", "5", "0", "3", "no_reply in 2, not_available in 1"],
    ]


def test_each_site_has_a_budget_of_its_own():
    page = page_of(deployed())
    for site, found in zip(SITES, rows_of(page, "of the budget it set aside"), strict=True):
        spent = SPENDING[site]
        epsilon, budget = format_epsilon(spent.epsilon), format_epsilon(spent.epsilon_budget)
        assert found[:3] == [site, epsilon, budget]
        assert found[5] == f"{spent.noise_multiplier:.4g}"
        assert f"{epsilon} of {budget}" in page.words
    assert "0.252 of 0.800" in page.words


def words(results: Results) -> dict[str, str]:
    guarantee = results.privacy.guarantees[0]
    found = guarantee_in_words(guarantee, results.privacy, DOMAIN, simulation=results.simulation)
    return {statement.about: statement.text for statement in found}


def test_the_guarantee_of_a_deployment():
    found = words(deployed())
    assert "is (ε, δ)-differentially private" in found["Guarantee"]
    assert "Each site draws its noise itself" in found["Mechanism"]
    assert found["Ledger"].startswith("ε here is the most that the coordinator asked of each site")
    assert "The truth is the site's own ledger, which stays at the site" in found["Ledger"]
    assert "over the life of the data set" in found["Ledger"]
    assert "simulation only" not in " ".join(found.values())
    assert "Test data" not in found
    shown = page_of(deployed()).words
    assert all(f"{about} {text}" in shown for about, text in found.items())
    assert "each under differential privacy of its own" in shown
    assert TEST_DATA not in shown


def test_a_simulation_says_nothing_of_a_deployment():
    found = words(RESULTS)
    assert "Ledger" not in found
    assert "draws its noise itself" not in found["Mechanism"]
    page = page_of(RESULTS, simulated_history())
    for said in ("Rounds of each site", "is not measured", "asked for"):
        assert said not in page.words


def test_test_data_hold_no_promise():
    results = deployed(test_data=True)
    page = page_of(results)
    assert f"Test data. {TEST_DATA}" in page.words
    assert page.words.count(TEST_DATA) == 2
    assert SIMULATED_NOISE not in page.words
    assert "simulat" not in page.words.lower()
    assert "each under differential privacy of its own" not in page.words
    assert facts(results, history())[2].detail.endswith(", on paper only")
    found = words(results)
    assert "during this run would be (ε, δ)-differentially private" in found["Guarantee"]
    assert "draws its noise itself" not in found["Mechanism"]
    assert found["Test data"] == TEST_DATA


def test_what_was_measured_on_public_data_is_shown():
    results = deployed(evaluation=PUBLIC)
    measured = replace(history()[-1], evaluation=PUBLIC, loss=0.4, loss_on="public records")
    page = page_of(results, (*history()[:-1], measured))
    assert "is not measured" not in page.words
    assert "Accuracy of the final model on public data" in page.words
    assert "Measured on public records." in page.words
    assert [fact.label for fact in facts(results, history())] == [
        "Accuracy",
        "Worst site",
        "Largest ε",
        "Rounds",
        "Time",
    ]
    assert [row[1] for row in rows_of(page, "on public data")] == [
        "0.900",
        "0.800",
        "0.700",
        "0.600",
    ]
    assert "Test records" not in page.words
    assert "95 %" not in page.words
    assert page.tags.count("svg") == 5
    assert len(rows_of(page, "Rounds of each site")) == len(SITES)
    assert "simulation" not in page.words


@pytest.mark.parametrize(
    ("results", "why"),
    [
        (deployed(), WHY),
        (deployed(evaluation=PUBLIC), None),
        (deployed(evaluation=replace(UNMEASURED, pooled=0.8)), None),
        (deployed(evaluation=accuracies(None, 0.8, None, None, pooled=None)), None),
        (deployed(evaluation=replace(UNMEASURED, reasons={})), "nobody measured it"),
        (
            deployed(evaluation=replace(UNMEASURED, reasons={"va": "a", "hungarian": "b"})),
            "a; b",
        ),
        (replace(RESULTS, evaluation=UNMEASURED), None),
    ],
    ids=["deployed", "public", "together", "one site", "no reason", "two reasons", "simulated"],
)
def test_why_nothing_is_measured(results: Results, why: str | None):
    assert why_unmeasured(results) == why


def test_names_and_reasons_of_the_history_are_only_text():
    line = replace(history()[-1], failed={HOSTILE: HOSTILE})
    page = page_of(deployed(), (line,))
    assert page.words.count(HOSTILE) == 4  # who took part, and replies that did not come


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_run_that_ended_at_once(rounds: int):
    page = page_of(replace(deployed(), rounds=rounds), history()[:rounds])
    assert f"of {rounds} that ended" in page.words
    assert "ended early" in page.words

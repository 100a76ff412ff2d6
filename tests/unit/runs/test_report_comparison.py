"""What the report says of other ways to get a model."""

from dataclasses import replace

import pytest
from example_run import RESULTS, history
from html_page import Page

from tacit.runs.report import render
from tacit.runs.results import Comparison, Results

FEDERATED, POOLED = RESULTS.comparison[1:]
SAME = "“Pooled” equals “Federated” by construction: a round is one step on all records of a site"


def report(results: Results) -> Page:
    return Page(render(results, history(), "seed: 0\n"))


@pytest.mark.parametrize(
    ("same_as", "evaluation", "said"),
    [
        ("federated", FEDERATED.evaluation, True),
        (None, FEDERATED.evaluation, False),
        ("federated", POOLED.evaluation, False),
        ("nobody", FEDERATED.evaluation, False),
    ],
    ids=["the same", "equal by chance", "not equal", "no such row"],
)
def test_rows_that_are_one_model_are_no_finding(same_as, evaluation, said):
    pooled = replace(POOLED, same_as=same_as, evaluation=evaluation)
    words = report(replace(RESULTS, comparison=(FEDERATED, pooled))).words
    assert (SAME in words) == said
    assert ("Against “Pooled”" in words) == (not said)
    assert "Against “Federated”" in words


def test_the_best_single_site_is_named_shortly_where_room_is_short():
    title = "The best single site's model (va) at all sites"
    best = Comparison("best_single", title, FEDERATED.evaluation, 1.0, "")
    singles = {"cleveland": POOLED.evaluation, "va": FEDERATED.evaluation}
    page = report(replace(RESULTS, comparison=(best,), single_models=singles))
    assert page.words.count("Best single site: va") == 2  # in the figure and site by site
    assert page.words.count(title) == 2  # in the comparison's table and in a sentence
    unknown = report(replace(RESULTS, comparison=(best,)))
    assert unknown.words.count(title) == 4

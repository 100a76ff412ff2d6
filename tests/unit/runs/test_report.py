"""report.html: whole, self-contained, harmless, the same for the same run."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from example_run import (
    DOMAIN,
    GUARANTEE,
    PRIVACY,
    RESULTS,
    SITES,
    accuracies,
    history,
    leave_run,
    with_spending,
    without_privacy,
)
from html_page import Page, check

from tacit.errors import RunDirectoryError
from tacit.runs import page as pages
from tacit.runs.evaluation import Direction, Evaluation, evaluation
from tacit.runs.guarantee import SIMULATED_NOISE, guarantee_in_words
from tacit.runs.page import format_duration, format_figure, metric_title
from tacit.runs.report import render, write_report
from tacit.runs.results import OutOfScope, Results, Round, SiteSpending

ENDLESS = SiteSpending(math.inf, 1.0, 20, 1.0, 0.0, 1.0)
HOSTILE = "<script>alert('$x_{$')</script>"


def rename(found: Evaluation, name: str) -> Evaluation:
    values = {name if site == "va" else site: found.value(site) for site in found.sites}
    return evaluation(found.metric, found.direction, values, pooled=found.pooled)


def with_hostile_site(name: str) -> Results:
    sites = {name if site == "va" else site: one for site, one in GUARANTEE.sites.items()}
    return replace(
        RESULTS,
        experiment=name,
        notes=(f"{name} lost a round",),
        domain=replace(DOMAIN, title=name, description=name, not_protected=(name,)),
        evaluation=rename(RESULTS.evaluation, name),
        comparison=tuple(
            replace(row, title=name, evaluation=rename(row.evaluation, name))
            for row in RESULTS.comparison
        ),
        privacy=replace(PRIVACY, guarantees=(replace(GUARANTEE, sites=sites),)),
    )


def report(results: Results = RESULTS, lines: tuple[Round, ...] | None = None) -> Page:
    lines = history(results=results) if lines is None else lines
    return Page(render(results, lines, "seed: 0\n"))


def test_the_report_is_whole(tmp_path: Path):
    path = write_report(leave_run(tmp_path))
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    check(page)
    assert page.tags.count("svg") == 7
    assert "each under differential privacy" in page.words
    for chapter in (
        "What was learned",
        "What it cost",
        "What federation and privacy bought and cost",
        "How this run was made",
    ):
        assert chapter in page.words
    # The strip: accuracy, majority class, worst site, largest ε, rounds, time.
    for figure in ("0.815", "0.719", "0.674", "1.00", "20", "9.8 s"):
        assert figure in page.words
    assert "this run is 9.5 points better" in page.words
    assert RESULTS.weights_sha256 in page.words
    assert "dir: <outputs>" in page.words
    assert "va: not available" in page.words
    assert "Against “Federated”, this run is 1.6 points worse in the mean of sites" in page.words
    assert "va (0.674 against 0.717)" in page.words
    assert "5.3 points better in the mean of sites; at no site worse." in page.words


def test_the_whole_guarantee_stands_in_it():
    words = report().words
    for statement in guarantee_in_words(GUARANTEE, PRIVACY, DOMAIN, simulation=True):
        assert f"{statement.about} {statement.text}" in words
        for point in statement.points:
            assert point in words
    for spending in GUARANTEE.sites.values():
        assert f"{spending.noise_multiplier:.4g}" in words
    assert words.count(SIMULATED_NOISE) == 2


def test_every_guarantee_stands_in_it():
    second = replace(GUARANTEE, honest_sites=3)
    page = report(replace(RESULTS, privacy=replace(PRIVACY, guarantees=(GUARANTEE, second))))
    check(page)
    assert "The guarantee, 1 of 2" in page.words
    assert "The guarantee, 2 of 2" in page.words
    assert "At least 3 sites" in page.words


def test_held_out_measurements_are_marked():
    page = report()
    for caption in page.html.split("<figcaption>")[1:]:
        text = caption.split("</figcaption>")[0]
        assert "simulation only" in text or "δ" in text or "accountant" in text
    deployed = replace(RESULTS, simulation=False, privacy=replace(PRIVACY, simulated_noise=False))
    lines = tuple(replace(line, loss_on="a benchmark") for line in history())
    assert "simulation only" not in report(deployed, lines).words
    assert "Measured on a benchmark." in report(deployed, lines).words


def test_the_loss_says_where_it_was_measured():
    assert "Loss" in report().words
    assert "Measured on held-out rows (simulation only)." in report().words
    assert "held_out" not in report().words


@pytest.mark.parametrize(
    ("head", "pretraining", "said"),
    [
        (28, None, "none: the model starts from zero weights"),
        (4, None, "none: the head starts from zero weights, all else from random ones"),
        (28, "the weights of a.safetensors", "the weights of a.safetensors"),
    ],
)
def test_it_says_from_which_weights_the_model_starts(head, pretraining, said):
    model = replace(RESULTS.model, parameters_head=head, pretraining=pretraining)
    words = report(replace(RESULTS, model=model)).words
    assert f"Pretraining{said}" in words
    assert ("starts from zero weights" in words) == (pretraining is None)


def test_without_privacy_it_says_so():
    page = report(without_privacy())
    check(page)
    assert page.words.count("no privacy guarantee") >= 5
    assert "No privacy guarantee: nothing limits what the server" in page.words
    assert "ε by site" not in page.words
    assert SIMULATED_NOISE not in page.words


def test_rows_without_privacy_are_marked():
    page = report()
    # Federated, pooled and majority class: in the figure and in both tables.
    assert page.words.count("no privacy guarantee") == 9


@pytest.mark.parametrize(
    "name", [HOSTILE, '"><img src=x onerror=alert(1)>', "a&b;--><!--", "long" * 25]
)
def test_names_are_only_text(name: str):
    page = Page(render(with_hostile_site(name), history(), f"a: 1\n</pre>{name}"))
    check(page)
    assert name in page.text


def test_a_page_that_did_not_escape_would_be_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages.jinja2, "Environment", _careless(pages.jinja2.Environment))
    with pytest.raises(AssertionError):
        check(Page(render(with_hostile_site(HOSTILE), history(), "")))


def _careless(environment):
    return lambda **options: environment(**{**options, "autoescape": False})


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(tmp_path: Path):
    script = "import sys, pathlib; from tacit.runs.report import write_report as w; " + (
        "w(pathlib.Path(sys.argv[1]))"
    )
    taste = tmp_path / "matplotlibrc"
    taste.write_text("font.size: 30\naxes.grid: False\n")
    found = []
    for number, extra in enumerate(({}, {"MATPLOTLIBRC": str(taste)})):
        run = leave_run(tmp_path / str(number))
        environment = {**os.environ, "PYTHONHASHSEED": str(number + 1), **extra}
        subprocess.run([sys.executable, "-c", script, str(run)], env=environment, check=True)
        found.append((run / "report.html").read_bytes())
    assert found[0] == found[1]
    assert found[0] != write_report(leave_run(tmp_path / "2", without_privacy())).read_bytes()


def test_a_site_without_a_value_shows_the_reason():
    found = replace(
        accuracies(0.8, 0.7, None, 0.6), reasons={"switzerland": "its test set has one class"}
    )
    page = report(replace(RESULTS, evaluation=found))
    check(page)
    assert "– its test set has one class" in page.words
    assert "not measurable" in page.words
    assert "0.700" in page.words


def test_an_infinite_epsilon_is_shown():
    page = report(with_spending("va", ENDLESS))
    check(page)
    assert "∞ of 1.00" in page.words
    assert "each under differential privacy" not in page.words
    assert page.words.count("no privacy guarantee") == 9 + 3 + 1  # this run, and the guarantee
    assert "At va ε is infinite: there is no privacy guarantee at this site." in page.words


@pytest.mark.parametrize(
    "results",
    [
        replace(RESULTS, evaluation=accuracies(None, None, None, None, pooled=None)),
        replace(RESULTS, baselines={}, comparison=(), calibration=None, notes=()),
        replace(RESULTS, rounds=12, test_records={}),
    ],
    ids=["nothing measured", "bare", "ended early"],
)
@pytest.mark.parametrize("rounds", [0, 1, 20])
def test_reports_of_poor_runs(results: Results, rounds: int):
    page = report(results, history(20)[:rounds])
    check(page)
    assert ("ended early" in page.words) == (results.rounds < results.planned_rounds)


def test_a_falling_metric_is_better_when_it_is_lower():
    values = dict(zip(SITES, (14.0, 15.0, 19.0, 16.0), strict=True))
    found = evaluation("rmse", Direction.MINIMIZE, values, pooled=15.0)
    base = evaluation("rmse", Direction.MINIMIZE, dict.fromkeys(SITES, 40.0), pooled=40.0)
    page = report(replace(RESULTS, evaluation=found, baselines={"majority_class": base}))
    check(page)
    assert "RMSE" in page.words
    assert "this run is 24 better" in page.words
    assert "19.00 switzerland" in page.words


def test_many_sites():
    names = [f"clinic number {number:03d}" for number in range(30)]
    values = {name: 0.9 - number / 100 for number, name in enumerate(names)}
    found = evaluation("accuracy", Direction.MAXIMIZE, values, pooled=0.7)
    sites = dict.fromkeys(names, GUARANTEE.sites["va"])
    page = report(
        replace(
            RESULTS,
            evaluation=found,
            baselines={"majority_class": found},
            comparison=(),
            privacy=replace(PRIVACY, guarantees=(replace(GUARANTEE, sites=sites),)),
        )
    )
    check(page)
    assert "the 12 worst of 30 sites" in page.words
    assert "clinic …mber 029" in page.words
    assert all(name in page.words for name in names)


@pytest.mark.parametrize("name", ["results.json", "history.jsonl", "config.yaml"])
def test_a_missing_file_is_named(name: str, tmp_path: Path):
    run = leave_run(tmp_path)
    (run / name).unlink()
    with pytest.raises(RunDirectoryError, match=name):
        write_report(run)
    assert not (run / "report.html").exists()


def test_figures_as_a_person_reads_them():
    assert [format_figure(value) for value in (None, 0.81549, 14.234, 12345.0)] == [
        "–",
        "0.815",
        "14.23",
        "12,345",
    ]
    assert [format_duration(value) for value in (None, 0.42, 9.84, 72.4, 3725)] == [
        "–",
        "420 ms",
        "9.8 s",
        "1 min 12 s",
        "1 h 2 min",
    ]
    assert [metric_title(name) for name in ("accuracy", "auc", "rmse", "mean_error")] == [
        "Accuracy",
        "AUC",
        "RMSE",
        "Mean error",
    ]


def test_where_the_model_is_useless_is_said():
    """Good on average, and no better than the majority class at the smallest hospital."""
    nothing = accuracies(0.54, 0.62, 0.94, 0.75, pooled=0.6)
    found = accuracies(0.84, 0.82, 0.94, 0.78)
    page = report(replace(RESULTS, evaluation=found, baselines={"majority_class": nothing}))
    assert (
        "At 1 of 4 sites the model is no better than the majority class, which learns nothing: "
        "switzerland." in page.words
    )
    assert "Gap from best to worst site" in page.words
    fine = replace(RESULTS, evaluation=accuracies(0.84, 0.82, 0.95, 0.78))
    assert "no better than" not in report(replace(fine, baselines={})).words


def test_what_is_out_of_scope_is_said():
    page = report(replace(RESULTS, out_of_scope=OutOfScope(1000, 0.912, 0.305)))
    assert "1,000 examples are of no class: one of them has less confidence than" in page.words
    assert "30.5 % of them do too" in page.words


def test_sites_that_cannot_be_told_apart_are_said_to_be_so():
    said = "All 4 sites have the same figure, 0.8"
    alike = report(replace(RESULTS, evaluation=accuracies(0.8, 0.8, 0.8, 0.8)))
    assert said in alike.words
    check(alike)
    assert "have the same figure" not in report().words

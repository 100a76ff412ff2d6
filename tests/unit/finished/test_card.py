"""The card of an exported model: guarantees whole, figures as measured, and what is not known."""

from dataclasses import replace

import pytest
import torch
import yaml
from deployed_run import WHY, deployed
from example_run import RESULTS, without_privacy
from finished_run import with_results, write_run

from tacit.domains.domain import Metric, Target
from tacit.finished.card import render
from tacit.finished.model import load_run
from tacit.finished.onnx import Checked, Onnx
from tacit.finished.whole import write_whole
from tacit.runs.audited import FILE as AUDIT
from tacit.runs.audited import Audit, Finding, Stage, StageName
from tacit.runs.evaluation import ALL
from tacit.runs.guarantee import NO_GUARANTEE, SIMULATED_NOISE, guarantee_in_words
from tacit.runs.results import OutOfScope


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(write_run(tmp_path_factory.mktemp("card") / "run"))


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    return write_whole(run, tmp_path_factory.mktemp("whole"))


def lines(card, begin):
    return [line for line in card.splitlines() if line.startswith(begin)]


def test_every_word_of_a_guarantee_is_there(run, whole):
    card = render(with_results(run, RESULTS), whole, None)
    guarantee = RESULTS.privacy.guarantees[0]
    said = guarantee_in_words(guarantee, RESULTS.privacy, RESULTS.domain, simulation=True)
    for statement in said:
        assert f"- **{statement.about}.** {statement.text}" in card
        assert all(f"  - {point}" in card for point in statement.points)
    assert card.count(SIMULATED_NOISE) == 2
    assert lines(card, "| switzerland | 0.948 |") == [
        "| switzerland | 0.948 | 1.00 | 20 | 0.5 | 9.31 | 1 |"
    ]


def test_figures_stand_beside_what_learns_nothing(run, whole):
    card = render(with_results(run, RESULTS), whole, None)
    assert "| va | 0.674 | 0.761 | 46 | 0.026 |" in card
    assert "The worst site is va with 0.674." in card
    assert "no better than the majority class" in card
    assert "names one of its classes whatever it is given" in card
    measured = replace(RESULTS, out_of_scope=OutOfScope(100, 0.9, 0.3))
    assert "100 examples are of no class" in render(with_results(run, measured), whole, None)


def test_the_front_is_yaml_that_hubs_read(run, whole):
    front = yaml.safe_load(render(with_results(run, RESULTS), whole, None).split("---")[1])
    assert front == {
        "library_name": "pytorch",
        "pipeline_tag": "tabular-classification",
        "tags": ["federated-learning", "differential-privacy", "tacit"],
    }


def test_without_privacy_nothing_is_promised(run, whole):
    card = render(with_results(run, without_privacy()), whole, None)
    assert card.count(NO_GUARANTEE) == 2
    assert "differential-privacy" not in card
    assert "ε" not in card.replace("whole", "")


def test_a_deployed_run_says_that_nobody_knows_what_it_is_worth(run, whole):
    card = render(with_results(run, deployed()), whole, None)
    assert f"Nobody knows what the model is worth at these sites: {WHY}." in card
    assert "Not private" not in card
    assert "Each kept its rows to itself." in card
    assert "The figures are of the sites above" not in card
    assert "no promise holds" in render(with_results(run, deployed(test_data=True)), whole, None)


def test_a_number_is_told_with_its_unit_and_range(run, whole):
    target = Target("life", "weeks", 0, 100)
    told = with_results(run, RESULTS, classes=(), metric=Metric.RMSE, target=target)
    card = render(told, whole, None)
    assert "A number: life in weeks, from 0 to 100." in card
    assert "The number is 50 + 50 × score." in card
    assert "tabular-regression" in card


def test_of_many_classes_some_are_named(run, whole):
    names = tuple(f"c{n}" for n in range(150))
    card = render(with_results(run, RESULTS, classes=names), whole, None)
    assert "One of 150 classes: `c0`" in card
    assert "and 120 more (export.json names all)" in card


def test_what_onnx_came_to_is_said(run, whole):
    made = Onnx((Checked("model.onnx", 1e-6, 1e-4, 0.984, 64),), ("model.int8.onnx: left out",))
    card = render(with_results(run, RESULTS), whole, made)
    assert "| model.onnx | 1.0e-06 | 1.0e-04 | 98.4 % |" in card
    assert "`features` (float32 [n, 30])" in card
    assert "**model.int8.onnx: left out.**" in card
    nothing = render(with_results(run, RESULTS), whole, Onnx((), ("model.onnx: cannot be made",)))
    assert "onnxruntime" not in nothing
    assert "**model.onnx: cannot be made.**" in nothing


def test_very_many_sites_are_told_together(run, whole):
    evaluation = replace(RESULTS.evaluation, sites={}, reasons={}, worst_site=None)
    many = replace(
        RESULTS, evaluation=evaluation, test_records={ALL: 360}, site_count=5000, calibration=None
    )
    card = render(with_results(run, many), whole, None)
    assert "All 5,000 sites are measured on the same 360 test records" in card
    assert "5,000 sites, of which 4 took part, trained it." in card
    told = replace(run.domain, declared_sizes={f"site {n}": n + 1 for n in range(5000)})
    card = render(replace(with_results(run, many), domain=told), whole, None)
    assert "are from 1 to 5,000." in card
    assert "| site 7 |" not in card


def test_sizes_are_of_the_runs_sites_and_stay_in_their_table(run, whole):
    told = replace(run.domain, declared_sizes={"va": 85, "elsewhere": 40})
    card = render(replace(with_results(run, RESULTS), domain=told), whole, None)
    assert "| va | 85 |" in card
    assert "elsewhere" not in card
    unlisted = replace(RESULTS, evaluation=replace(RESULTS.evaluation, sites={}))
    odd = replace(run.domain, declared_sizes={"a|b\nc": 5})
    assert "| a\\|b c | 5 |" in render(
        replace(with_results(run, unlisted), domain=odd), whole, None
    )


@pytest.mark.parametrize(
    ("contradicted", "told"),
    [(True, "what is said above does not hold"), (False, "did not test all that it needs")],
)
def test_an_audit_is_told(run, whole, contradicted, told):
    finding = Finding("noise", "is not there", contradicted=contradicted)
    path = run.path / AUDIT
    Audit("run", (Stage(StageName.LEDGER, (finding,)),)).write(path)
    assert told in render(with_results(run, RESULTS), whole, None)
    path.unlink()


def test_the_code_of_a_card_is_the_runs_model(run, whole):
    assert whole.difference == 0
    rows = torch.rand(3, 30)
    with torch.no_grad():
        assert torch.equal(whole.module(rows), run.module(rows))


def test_a_public_pool_is_named_where_it_was_learnt_from(run, whole):
    pooled = replace(RESULTS, domain=replace(RESULTS.domain, public_pool="a pool of rows"))
    learnt = replace(
        pooled, model=replace(RESULTS.model, pretraining="masked modelling on a pool of rows")
    )
    said = "Before that it learned from a public pool: a pool of rows."
    assert said not in render(with_results(run, pooled), whole, None)
    assert said in render(with_results(run, learnt), whole, None)

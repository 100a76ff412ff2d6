"""results.json: what is written fits the published schema and is read back as it was."""

import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from deployed_run import deployed
from example_run import (
    GUARANTEE,
    PRIVACY,
    RESULTS,
    accuracies,
    history,
    leave_run,
    with_spending,
    without_privacy,
)
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import RunDirectoryError, TacitError
from tacit.privacy.accounting import Accountant
from tacit.privacy.events import Relation, Unit
from tacit.runs import encoding
from tacit.runs.encoding import decode, encode
from tacit.runs.evaluation import Direction, WorstSite, evaluation
from tacit.runs.results import (
    Adversary,
    Mechanism,
    OutOfScope,
    ReportedAccountant,
    Results,
    Round,
    Sampling,
    SiteSpending,
    read,
    read_history,
    write,
)

SCHEMA = json.loads(files("tacit.runs").joinpath("results.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ENDLESS = SiteSpending(math.inf, math.inf, 20, 1.0, 0.0, 1.0)
ONE_CLASS = replace(
    RESULTS,
    evaluation=replace(accuracies(0.8, 0.7, None, 0.6), reasons={"switzerland": "one class"}),
)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == RESULTS.schema


@pytest.mark.parametrize(
    "results",
    [
        RESULTS,
        without_privacy(),
        with_spending("va", ENDLESS),
        ONE_CLASS,
        replace(
            RESULTS,
            comparison=tuple(replace(row, same_as="pooled") for row in RESULTS.comparison),
        ),
        replace(RESULTS, calibration=None, comparison=(), baselines={}, notes=()),
        replace(RESULTS, evaluation=accuracies(None, None, None, None, pooled=None)),
        deployed(),
        deployed(test_data=True),
        replace(RESULTS, out_of_scope=OutOfScope(1000, 0.91, 0.3)),
    ],
    ids=[
        "whole",
        "no privacy",
        "infinite",
        "one class",
        "same",
        "bare",
        "nothing measured",
        "deployed",
        "deployed with test data",
        "out of scope",
    ],
)
def test_what_is_written_fits_the_schema_and_is_read_back(results: Results, tmp_path: Path):
    path = tmp_path / "results.json"
    write(results, path)
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(json.loads(text))
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read(path) == results
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "vocabulary", [Unit, Relation, ReportedAccountant, Sampling, Mechanism, Adversary]
)
def test_the_schema_knows_every_word(vocabulary):
    words = sorted(vocabulary)
    enums = []

    def walk(node):
        if isinstance(node, dict):
            enums.append(sorted(node.get("enum", [])))
            for item in node.values():
                walk(item)

    walk(SCHEMA)
    assert words in enums


def test_what_a_run_may_report_is_an_accountant():
    assert [Accountant(reported).name for reported in ReportedAccountant] == ["PLD", "RDP"]
    assert SCHEMA["$defs"]["privacy"]["properties"]["accountant"] == {"enum": ["pld", "rdp"]}


def _drop(found, *path):
    for key in path[:-1]:
        found = found[key]
    del found[path[-1]]


def _put(value, *path):
    def change(found):
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


VA = ("privacy", "guarantees", 0, "sites", "va")
WRONG = {
    "no schema": lambda found: _drop(found, "schema"),
    "another schema": _put("tacit/results/2", "schema"),
    "unknown field": _put(1, "loss"),
    "no unit": lambda found: _drop(found, "privacy", "guarantees", 0, "unit"),
    "unknown unit": _put("window", "privacy", "guarantees", 0, "unit"),
    "no guarantee": _put([], "privacy", "guarantees"),
    "δ of one": _put(1, "privacy", "guarantees", 0, "delta"),
    "negative ε": _put(-0.1, *VA, "epsilon"),
    "ε in words": _put("large", *VA, "epsilon"),
    "no budget": lambda found: _drop(found, *VA, "epsilon_budget"),
    "rate above one": _put(1.5, *VA, "sampling_rate"),
    "half a step": _put(1.5, *VA, "steps"),
    "infinite metric": _put("infinity", "evaluation", "pooled"),
    "short hash": _put("abc", "weights_sha256"),
    "unknown direction": _put("up", "evaluation", "direction"),
    "empty bin": _put(0, "calibration", "sites", "va", "bins", 0, "count"),
    "unknown accountant": _put("prv", "privacy", "accountant"),
    "half a parameter": _put(0.5, "model", "parameters_head"),
    "no head": lambda found: _drop(found, "model", "parameters_head"),
    "half a record": _put(0.5, "test_records", "va"),
    "negative time": _put(-1, "timing", "seconds"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_the_schema_refuses_what_is_wrong(change):
    found = json.loads(json.dumps(encode(RESULTS)))
    VALIDATOR.validate(found)
    change(found)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(found)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_without_a_value_is_never_written(value: float, tmp_path: Path):
    broken = replace(RESULTS, evaluation=replace(RESULTS.evaluation, pooled=value))
    with pytest.raises(TacitError, match=r"evaluation\.pooled"):
        write(broken, tmp_path / "results.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_an_epsilon_is_a_number_or_infinite(value: float, tmp_path: Path):
    with pytest.raises(TacitError, match="epsilon"):
        write(with_spending("va", replace(ENDLESS, epsilon=value)), tmp_path / "results.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "results.json"
    write(RESULTS, path)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoding, "replace_file", full)
    with pytest.raises(RunDirectoryError, match="No space left"):
        write(without_privacy(), path)
    assert read(path) == RESULTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"schema": "tacit/results/9"}', "tacit/results/9"),
        ('{"schema": "tacit/results/1"}', "lacks 'version'"),
    ],
)
def test_reading_what_is_no_results(text: str, message: str, tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(RunDirectoryError, match=message):
        read(path)


def test_reading_names_the_field(tmp_path: Path):
    path = tmp_path / "results.json"
    for change in (_put("many", "rounds"), _put(True, "rounds"), _put("up", *VA, "epsilon")):
        found = encode(RESULTS)
        change(found)
        path.write_text(json.dumps(found))
        with pytest.raises(RunDirectoryError, match=r"results\.json\.(rounds|privacy.*epsilon) is"):
            read(path)
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_history_is_read_back(tmp_path: Path):
    endless = with_spending("va", ENDLESS)
    run = leave_run(tmp_path, endless)
    read_back = read_history(run / "history.jsonl")
    assert read_back == history(results=endless)
    assert read_back[-1].epsilon["va"] == math.inf


def test_a_damaged_line_of_history_is_named(tmp_path: Path):
    run = leave_run(tmp_path)
    path = run / "history.jsonl"
    path.write_text(path.read_text() + '{"round": 21, "sec')
    with pytest.raises(RunDirectoryError, match="line 22 is not JSON"):
        read_history(path)


def test_the_largest_epsilon_is_that_of_the_site_protected_least():
    assert GUARANTEE.largest_epsilon == 0.9991
    assert with_spending("va", ENDLESS).privacy.guarantees[0].largest_epsilon == math.inf
    assert PRIVACY.guarantees[0] is GUARANTEE


def test_evaluation_leaves_out_the_site_without_a_value():
    found = evaluation(
        "rmse", Direction.MINIMIZE, {"a": 2.0, "b": None, "c": 4.0}, pooled=3.5, reasons={"b": "-"}
    )
    assert found.mean_of_sites == 3.0
    assert found.worst_site == WorstSite("c", 4.0)
    assert found.value("b") is None
    assert found.value("nobody") is None


@given(st.dictionaries(st.text(), st.none() | st.floats(0, 1), max_size=6), st.booleans())
def test_the_worst_site_is_on_the_far_side_of_the_mean(values, rising):
    direction = Direction.MAXIMIZE if rising else Direction.MINIMIZE
    found = evaluation("m", direction, values, pooled=None)
    known = [value for value in values.values() if value is not None]
    assert (found.worst_site is None) == (not known) == (found.mean_of_sites is None)
    if found.worst_site is not None:
        assert found.worst_site.value == (min(known) if rising else max(known))
        assert found.value(found.worst_site.site) == found.worst_site.value


@given(
    st.dictionaries(st.text(), st.floats(0, allow_infinity=True, allow_nan=False)),
    st.none() | st.floats(allow_infinity=False, allow_nan=False),
)
def test_a_round_survives_json(epsilon, loss):
    line = Round(3, 0.5, 0.25, ("a", "b"), {"c": "not available"}, loss=loss, epsilon=epsilon)
    text = json.dumps(encode(line), allow_nan=False)
    assert decode(Round, json.loads(text), "line") == line

"""Answers as a table, by what is to be told; and rows that cannot be asked about."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from finished_run import with_results, write_run

from tacit.domains.domain import Card, Metric, Target
from tacit.errors import ConfigurationError
from tacit.finished.model import load_run
from tacit.finished.predict import Answers, predict

CARD = Card("desk", "Desk", "", ("a", "b", "c"), Metric.ACCURACY, "one row")
MANY = replace(CARD, classes=tuple(f"class {n}" for n in range(12)))
ROWS = ("2", "3")


def lines(card, found, top=3):
    stream = io.StringIO()
    Answers(card, ROWS, np.array(found)).write(stream, top)
    return stream.getvalue().splitlines()


def test_of_few_classes_each_has_its_probability():
    assert lines(CARD, [[0.5, 0.2, 0.3], [0.1, 0.2, 0.7]]) == [
        "row,prediction,p_a,p_b,p_c",
        "2,a,0.500000,0.200000,0.300000",
        "3,c,0.100000,0.200000,0.700000",
    ]


def test_of_many_the_likeliest_are_named():
    found = np.full((2, 12), 0.05)
    found[0, 4], found[0, 7] = 0.3, 0.2
    found[1, 11] = 0.45
    assert lines(MANY, found, top=2) == [
        "row,prediction,p,next_2,p_2",
        "2,class 4,0.300000,class 7,0.200000",
        "3,class 11,0.450000,class 0,0.050000",
    ]
    assert lines(MANY, found, top=1)[0] == "row,prediction,p"
    assert len(lines(MANY, found, top=99)[1].split(",")) == 1 + 2 * 12


def test_of_labels_those_are_told_that_are_likelier_than_not():
    card = replace(CARD, together=True)
    assert lines(card, [[0.9, 0.4, 0.6], [0.1, 0.2, 0.3]])[1:] == [
        "2,a;c,0.900000,0.400000,0.600000",
        "3,,0.100000,0.200000,0.300000",
    ]


def test_of_classes_in_order_the_median_is_told():
    card = replace(CARD, ordered=True)
    assert lines(card, [[0.4, 0.25, 0.35], [0.1, 0.2, 0.7]])[1:] == [
        "2,b,0.400000,0.250000,0.350000",
        "3,c,0.100000,0.200000,0.700000",
    ]


def test_of_a_number_it_is_the_number():
    card = replace(CARD, classes=(), target=Target("life", "weeks", 0, 100))
    assert lines(card, [12.3456789, 0.5]) == ["row,prediction", "2,12.3457", "3,0.5"]


def test_a_domain_that_reads_no_files_is_said(tmp_path):
    run = load_run(write_run(tmp_path / "run", "domain=digits", "model=linear", "partition=iid"))
    (tmp_path / "asked.csv").write_text("a\n1\n")
    with pytest.raises(ConfigurationError, match=r"digits does not say how.*read_unlabelled"):
        predict(run, tmp_path / "asked.csv")


def test_a_domain_that_was_changed_since_is_refused(tmp_path):
    run = load_run(write_run(tmp_path / "run"))
    changed = with_results(run, run.results, classes=("well", "ill"))
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "asked.csv")
    with pytest.raises(ConfigurationError, match="changed since"):
        predict(changed, tmp_path / "asked.csv")

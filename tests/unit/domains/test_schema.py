"""The schema: cells checked one by one, features bounded by public knowledge alone."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.domains.domain import Card, Examples, Metric, SiteData, check_sites
from tacit.domains.heart_disease import SCHEMA as HEART
from tacit.domains.hospitals import SCHEMA as BREAST
from tacit.domains.schema import Category, Choice, Number, Schema, read_column
from tacit.errors import DataError

SMALL = Schema(
    columns=(
        Number("age", valid=(0, 120), typical=(40, 60)),
        Number("pressure", valid=(50, 250), typical=(100, 160), missing=0),
        Category("sex", (0, 1)),
        Category("pain", (1, 2, 3)),
    ),
    label="sick",
    classes=("no", "yes"),
)
ROW = {"age": "50", "pressure": "145", "sex": "1", "pain": "2", "sick": "1"}
SCHEMAS = pytest.mark.parametrize(
    "schema", [SMALL, HEART, BREAST], ids=["small", "heart", "breast"]
)


def table_of(*rows):
    return pd.DataFrame(list(rows), index=pd.RangeIndex(1, len(rows) + 1), dtype=str)


def bounds_of(schema):
    """Largest absolute value of each feature, by hand: the ends of a column's valid interval."""
    bounds = []
    for column in schema.columns:
        if isinstance(column, Category):
            bounds += [0.5] if len(column.codes) == 2 else [1.0] * len(column.codes)
            continue
        low, high = column.typical
        ends = [abs(2 * (end - low) / (high - low) - 1) for end in column.valid]
        bounds += [max(ends)] + ([] if column.missing is None else [1.0])
    return np.array(bounds)


def test_a_row_becomes_these_features():
    encoded = SMALL.encode(SMALL.read(table_of(ROW), "file", (0, 1)))
    # 50 is the middle of 40 to 60; 145 is half way from 130 to 160; sex 1 is +½; pain 2 of 1, 2, 3.
    assert encoded.tolist() == [[0.0, 0.5, 0.0, 0.5, 0.0, 1.0, 0.0]]
    assert encoded.dtype == np.float32


def test_a_number_to_predict_needs_no_classes():
    schema = Schema(columns=SMALL.columns, label="weeks")
    assert schema.classes == ()
    table = SMALL.read(table_of(ROW), "file", (0, 1))
    assert np.array_equal(schema.encode(table), SMALL.encode(table))


def test_typical_ends_become_minus_one_and_one():
    typical = Number("age", valid=(0, 120), typical=(40, 60))
    assert typical.encode(np.array([40.0, 60.0])).ravel().tolist() == [-1.0, 1.0]


def test_missing_has_a_feature_of_its_own_and_a_neutral_value():
    encoded = SMALL.encode(SMALL.read(table_of({**ROW, "pressure": "0"}), "file", (0, 1)))
    assert encoded[0, 1:3].tolist() == [0.0, 1.0]


@SCHEMAS
def test_groups_cover_the_features_once(schema):
    covered = [index for group in schema.groups for index in range(schema.width)[group]]
    assert covered == list(range(schema.width))
    assert len(schema.groups) == len(schema.columns)


@SCHEMAS
@given(data=st.data())
def test_features_are_bounded_whatever_the_table_holds(schema, data):
    numbers = st.floats(allow_nan=False, allow_infinity=True)
    row = data.draw(st.tuples(*[numbers for _ in schema.columns]))
    names = [column.name for column in schema.columns]
    encoded = schema.encode(pd.DataFrame([row], columns=names))
    assert encoded.shape == (1, schema.width)
    # Rounding to float32 moves a bound by at most half a unit in the last place, 2**-24 of it.
    assert (np.abs(encoded[0]) <= bounds_of(schema) * (1 + 2.0**-23)).all()


def test_nan_stays_visible_so_that_training_drops_the_row():
    table = pd.DataFrame([[math.nan] * 4], columns=[c.name for c in SMALL.columns])
    # Codes are compared, and NaN equals none of them; a number has no place to be clamped to.
    assert np.isnan(SMALL.encode(table)[0]).tolist() == [True, True] + [False] * 5


@SCHEMAS
@given(data=st.data())
def test_a_row_is_scaled_without_looking_at_the_others(schema, data):
    """A statistic of the rows (a mean, a range) would make a feature follow another's row."""
    names = [column.name for column in schema.columns]
    cells = st.floats(-1e6, 1e6)
    first = data.draw(st.tuples(*[cells for _ in names]))
    others = data.draw(st.lists(st.tuples(*[cells for _ in names]), max_size=3))
    check_first_row_alone(schema, first, others)


def check_first_row_alone(schema, first, others):
    names = [column.name for column in schema.columns]
    alone = schema.encode(pd.DataFrame([first], columns=names))
    together = schema.encode(pd.DataFrame([first, *others], columns=names))
    assert np.array_equal(alone[0], together[0])


def test_scaling_by_private_statistics_is_found(monkeypatch):
    honest = Number.encode
    monkeypatch.setattr(Number, "encode", lambda self, x: honest(self, x) - honest(self, x).mean())
    with pytest.raises(AssertionError):
        check_first_row_alone(SMALL, (50, 145, 1, 2), [(60, 145, 1, 2)])


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("age", "", "a number from 0 to 120"),
        ("age", "fifty", "a number from 0 to 120"),
        ("age", "5O", "a number from 0 to 120"),
        ("age", "nan", "a number from 0 to 120"),
        ("age", "inf", "a number from 0 to 120"),
        ("age", "-1", "a number from 0 to 120"),
        ("age", "120.001", "a number from 0 to 120"),
        ("pressure", "49", "a number from 50 to 250, or 0 for missing"),
        ("sex", "0.5", "one of 0, 1"),
        ("pain", "4", "one of 1, 2, 3"),
        ("sick", "2", "one of 0, 1"),
        ("sick", "-1", "one of 0, 1"),
    ],
)
def test_a_bad_cell_is_named(column, value, expected):
    table = table_of(ROW, ROW, {**ROW, column: value})
    with pytest.raises(DataError) as caught:
        SMALL.read(table, "north.csv", (0, 1))
    assert str(caught.value) == (
        f"north.csv: row 3, column '{column}': value '{value}' is not {expected}"
    )


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match=r"north\.csv: column 'sex' is missing"):
        SMALL.read(table_of(ROW).drop(columns="sex"), "north.csv", (0, 1))


def test_codes_that_are_text_are_compared_to_the_letter():
    smoker = Choice("smoker", ("no", "former", "yes"))
    cells = pd.DataFrame({"smoker": ["yes", "no", "No", ""]}, index=[2, 3, 5, 6])
    said = []
    values = read_column(smoker, cells, "north.csv", said.append)
    assert said == [
        "north.csv: row 5, column 'smoker': value 'No' is not one of 'no', 'former', 'yes'",
        "north.csv: row 6, column 'smoker': value '' is not one of 'no', 'former', 'yes'",
    ]
    assert smoker.encode(values).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    two = Choice("sick", ("no", "yes"))
    assert two.encode(two.parse(pd.Series(["yes", "no", "?"]))).ravel().tolist() == [0.5, -0.5, 0]


def test_texts_may_stand_for_a_missing_number():
    age = Number("age", valid=(0, 120), typical=(40, 60), missing=("", "NA"))
    cells = pd.DataFrame({"age": ["60", "", "NA", "inf", "na"]})
    said = []
    values = read_column(age, cells, "north.csv", said.append)
    assert [problem.partition("value ")[2] for problem in said] == [
        "'inf' is not a number from 0 to 120, or '' or 'NA' for missing",
        "'na' is not a number from 0 to 120, or '' or 'NA' for missing",
    ]
    assert age.encode(values)[:3].tolist() == [[1, 0], [0, 1], [0, 1]]


def test_of_many_bad_cells_a_few_are_named_and_the_others_counted():
    cells = pd.DataFrame({"age": ["x"] * 1000})
    said = []
    read_column(Number("age", (0, 1), (0, 1)), cells, "f", said.append, lambda cell: f"not {cell}")
    assert said[0] == "f: row 0, column 'age': value 'x' is not a number from 0 to 1; not x"
    assert said[5:] == ["f: column 'age': 995 more rows are like these"]


@given(st.floats(0, 120), st.sampled_from([0, 50, 250, 133.7]), st.sampled_from([1, 2, 3]))
def test_what_the_schema_admits_is_read_unchanged(age, pressure, pain):
    row = {**ROW, "age": repr(age), "pressure": repr(pressure), "pain": str(pain)}
    numbers = SMALL.read(table_of(row), "file", (0, 1))
    assert numbers.iloc[0].tolist() == [age, pressure, 1, pain, 1]


CARD = Card("toy", "Toy", "", ("no", "yes"), Metric.ACCURACY, "one row")


def site_data(train, test):
    def of(labels):
        return Examples(torch.zeros(len(labels), 2), torch.tensor(labels, dtype=torch.int64))

    return {"north": SiteData(of(train), of(test))}


def test_good_sites_pass():
    assert check_sites(site_data([0, 1], [1]), CARD) is None


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], [0], "site 'north' has no training rows"),
        ([0], [], "site 'north' has no test rows"),
        (
            [0, 1, 2],
            [0],
            "training row 3 has label 2, which is none of the declared classes 0 to 1",
        ),
        ([0], [1, -1], "test row 2 has label -1, which is none of the declared classes"),
    ],
)
def test_sites_that_cannot_be_learnt_from(train, test, message):
    with pytest.raises(DataError, match=message):
        check_sites(site_data(train, test), CARD)

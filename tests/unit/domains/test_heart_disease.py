"""UCI Heart Disease: FLamby's rows, from the files, derived again here in another way."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from tacit.domains.domain import check_sites
from tacit.domains.heart_disease import (
    DECLARED_SIZES,
    DROPPED,
    FILE_COLUMNS,
    SCHEMA,
    HeartDisease,
    flamby_split,
)
from tacit.errors import ConfigurationError, DataError

ROOT = Path(os.environ.get("TACIT_DATA", Path(__file__).parents[4] / "shared" / "data"))
FOLDER = ROOT / "heart_disease"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no data in {FOLDER}: set TACIT_DATA to the folder of data sets"
)

# FLamby (arXiv 2210.04620), table of Fed-Heart-Disease, and its split of 66 to 34.
COMPLETE = {"cleveland": 303, "hungarian": 261, "switzerland": 46, "va": 130}
TRAIN = {"cleveland": 199, "hungarian": 172, "switzerland": 30, "va": 85}
TEST = {"cleveland": 104, "hungarian": 89, "switzerland": 16, "va": 45}
SITES = pytest.mark.parametrize("site", sorted(COMPLETE))


@pytest.fixture(scope="module")
def loaded():
    return HeartDisease(str(FOLDER)).load()


def rows_by_hand(site):
    """Complete rows of a file as numbers: columns 0 to 9 and the label, by the csv module."""
    with (FOLDER / f"processed.{site}.data").open(newline="") as file:
        cells = [[*row[:10], row[13]] for row in csv.reader(file)]
    return np.array([[float(cell) for cell in row] for row in cells if "?" not in row])


def features_by_hand(rows):
    """Scale by the schema's numbers, written out: (value - middle) / half, codes, missing flags."""
    age, sex, cp, pressure, chol, fbs, ecg, rate, angina, peak = rows[:, :10].T
    known = chol != 0
    measured = pressure != 0
    return np.stack(
        [
            (age - 55) / 20,
            sex - 0.5,
            *[cp == code for code in (1, 2, 3, 4)],
            np.where(measured, (pressure - 130) / 30, 0),
            ~measured,
            np.where(known, (chol - 225) / 75, 0),
            ~known,
            fbs - 0.5,
            *[ecg == code for code in (0, 1, 2)],
            (rate - 140) / 40,
            angina - 0.5,
            peak - 1,
        ],
        axis=1,
    )


def split_by_hand(rows):
    labels = rows[:, 10] > 0
    common = min(labels.sum(), (~labels).sum()) > 2
    return train_test_split(
        rows, train_size=0.66, test_size=0.34, random_state=43, stratify=labels if common else None
    )


@needs_data
@SITES
def test_flamby_counts(loaded, site):
    assert len(rows_by_hand(site)) == COMPLETE[site]
    assert len(loaded[site].train) == TRAIN[site]
    assert len(loaded[site].test) == TEST[site]


@needs_data
@SITES
def test_rows_split_and_scaling_are_those_of_another_derivation(loaded, site):
    parts = split_by_hand(rows_by_hand(site))
    for examples, rows in zip((loaded[site].train, loaded[site].test), parts, strict=True):
        assert examples.targets.tolist() == (rows[:, 10] > 0).astype(int).tolist()
        # Two roundings to float32 of numbers below 16: at most 2**-20 apart.
        assert np.abs(examples.features.numpy() - features_by_hand(rows)).max() < 2.0**-20


@needs_data
def test_switzerland_trains_on_one_class_and_is_allowed(loaded):
    assert set(loaded["switzerland"].train.targets.tolist()) == {1}
    check_sites(loaded, HeartDisease(str(FOLDER)).card)


@needs_data
def test_features_and_targets_have_the_promised_types(loaded):
    for held in loaded.values():
        assert held.train.features.dtype == torch.float32
        assert held.train.targets.dtype == torch.int64
        assert held.train.features.shape[1] == SCHEMA.width == 17


def test_declared_sizes_are_round_constants():
    assert dict(DECLARED_SIZES) == {"cleveland": 200, "hungarian": 170, "switzerland": 30, "va": 85}
    assert all(size % 5 == 0 for size in DECLARED_SIZES.values())


def test_there_is_no_public_pool():
    domain = HeartDisease("anywhere")
    assert domain.public_pool() is None
    assert domain.card.public_pool is None


@pytest.mark.parametrize("counts", [(0, 30), (2, 28), (3, 27), (15, 15)])
def test_split_is_stratified_only_where_both_classes_have_more_than_two_rows(counts):
    targets = np.repeat([0, 1], counts)
    train, test = flamby_split(targets, "north")
    assert sorted([*train, *test]) == list(range(30))
    expected = train_test_split(
        np.arange(30),
        train_size=0.66,
        test_size=0.34,
        random_state=43,
        stratify=targets if min(counts) > 2 else None,
    )
    assert train.tolist() == expected[0].tolist()


# Malformed files, made up: eight good rows, one of them with what is wrong.

GOOD = ["63,1,1,145,233,1,2,150,0,2.3,3,0,6,0", "67,0,4,160,0,0,0,108,1,1.5,?,?,?,2"] * 4


def folder_with(folder, lines):
    (folder / "processed.va.data").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return HeartDisease(str(folder), {"va": 85})


def with_cell(row, column, value):
    lines = [line.split(",") for line in GOOD]
    lines[row - 1][FILE_COLUMNS.index(column)] = value
    return [",".join(cells) for cells in lines]


def test_good_rows_load(tmp_path):
    held = folder_with(tmp_path, GOOD).load()["va"]
    assert (len(held.train), len(held.test)) == (5, 3)


def test_rows_with_a_question_mark_are_left_out(tmp_path):
    held = folder_with(tmp_path, [*GOOD, *with_cell(1, "chol", "?")[:1]]).load()["va"]
    assert len(held.train) + len(held.test) == 8


def test_declared_sizes_do_not_follow_the_data(tmp_path):
    few, many = (folder_with(tmp_path, GOOD * n) for n in (1, 20))
    assert few.declared_sizes == many.declared_sizes == {"va": 85}


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (2, "age", ""),
        (3, "age", "6x"),
        (4, "age", "NA"),
        (5, "age", "17"),
        (6, "chol", "5000"),
        (7, "sex", "2"),
        (8, "cp", "0"),
        (1, "oldpeak", "inf"),
        (2, "num", "5"),
        (3, "num", "-1"),
        (4, "num", ""),
    ],
)
def test_a_bad_cell_is_named(tmp_path, row, column, value):
    assert column not in DROPPED
    with pytest.raises(DataError) as caught:
        folder_with(tmp_path, with_cell(row, column, value)).load()
    path = tmp_path / "processed.va.data"
    assert str(caught.value).startswith(
        f"{path}: row {row}, column '{column}': value '{value}' is not "
    )


def test_row_numbers_are_those_of_the_file(tmp_path):
    """Rows that are left out before the bad one count too."""
    lines = with_cell(6, "age", "200")
    lines[1] = lines[1].replace("160", "?")
    with pytest.raises(DataError, match="row 6, column 'age': value '200'"):
        folder_with(tmp_path, lines).load()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*GOOD[:3], GOOD[3] + ",9", *GOOD[4:]], "Expected 14 fields in line 4, saw 15"),
        ([*GOOD[:3], "63,1,1,145", *GOOD[4:]], "row 4, column 'chol': value ''"),
        ([*GOOD[:3], "", *GOOD[4:]], "row 4, column 'age': value ''"),
        ([line.replace(",", ";") for line in GOOD], "has 1 columns where 14 are needed"),
        ([",".join(FILE_COLUMNS), *GOOD], "row 1, column 'age': value 'age'"),
        (GOOD[:2], "site 'va' has 2 complete rows: too few to split"),
        ([line.replace("63", "?").replace("67", "?") for line in GOOD], "0 complete rows"),
    ],
    ids=["long", "short", "blank", "semicolons", "header", "few", "none"],
)
def test_a_malformed_file_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        folder_with(tmp_path, lines).load()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01" * 20], ids=["empty", "binary"])
def test_not_a_table(tmp_path, content):
    domain = folder_with(tmp_path, GOOD)
    (tmp_path / "processed.va.data").write_bytes(content)
    with pytest.raises(DataError, match=r"processed\.va\.data: not a table"):
        domain.load()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"processed\.cleveland\.data: there is no such file"):
        HeartDisease(str(tmp_path)).load()


def test_an_unknown_hospital_is_refused():
    with pytest.raises(ConfigurationError, match="no such hospital: oslo"):
        HeartDisease("anywhere", {"oslo": 10})

"""Rows without labels of the domains that come with Tacit: read as labelled ones are."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tacit.domains.heart_disease import SCHEMA, HeartDisease
from tacit.domains.hospitals import Hospitals
from tacit.domains.pneumonia import Pneumonia
from tacit.domains.support import DECLARED_SIZES, LONGEST, Support
from tacit.domains.texts import bytes_to_texts
from tacit.domains.unlabelled import read_unlabelled, text_rows
from tacit.errors import ConfigurationError, DataError

PATIENT = {
    "age": 63,
    "sex": 1,
    "cp": 1,
    "trestbps": 145,
    "chol": 233,
    "fbs": 1,
    "restecg": 2,
    "thalach": 150,
    "exang": 0,
    "oldpeak": 2.3,
}


def heart(folder, **changed):
    """A table of two patients, its columns in another order and one more among them."""
    first, second = PATIENT, {**PATIENT, **changed}
    frame = pd.DataFrame([first, second], dtype=object)[sorted(PATIENT)].assign(name="nobody")
    frame.to_csv(folder / "asked.csv", index=False)
    return folder / "asked.csv"


def test_a_patient_is_encoded_as_in_training(tmp_path):
    found = read_unlabelled(HeartDisease("nowhere"), heart(tmp_path))
    assert found.rows == ("2", "3")
    expected = SCHEMA.encode(pd.DataFrame([PATIENT, PATIENT]).assign(num=0))
    assert torch.equal(found.features, torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"age": 8}, "row 3, column 'age': value '8' is not a number from 18 to 110"),
        ({"cp": "?"}, r"row 3, column 'cp': value '\?' is not one of 1, 2, 3, 4"),
        ({"chol": ""}, "column 'chol': value '' is not a number from 50 to 700, or 0 for missing"),
    ],
)
def test_a_cell_is_checked_as_in_training(tmp_path, changed, told):
    with pytest.raises(DataError, match=told):
        read_unlabelled(HeartDisease("nowhere"), heart(tmp_path, **changed))


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_tables_of_all_forms_are_read_alike(tmp_path, form):
    path = tmp_path / f"other.{form}"
    frame = pd.DataFrame([PATIENT])
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    domain = HeartDisease("nowhere")
    again = read_unlabelled(domain, heart(tmp_path)).features[:1]
    assert torch.equal(read_unlabelled(domain, path).features, again)


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "asked.csv").write_text(",".join(PATIENT) + "\n")
    with pytest.raises(DataError, match="no rows"):
        read_unlabelled(HeartDisease("nowhere"), tmp_path / "asked.csv")


def test_a_column_is_chosen_only_where_there_is_a_choice(tmp_path):
    with pytest.raises(ConfigurationError, match="--column=age"):
        read_unlabelled(HeartDisease("nowhere"), heart(tmp_path), "age")
    (tmp_path / "asked.txt").write_text("one\n")
    with pytest.raises(ConfigurationError, match="leave it out"):
        text_rows(tmp_path / "asked.txt", "text", 10)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_unlabelled(Hospitals(), tmp_path / "asked.csv")


def test_sentences_are_lines_or_a_column(tmp_path):
    (tmp_path / "asked.txt").write_text("\ufeffwhere is my card\r\n\r\n  pay a bill  \n")
    found = text_rows(tmp_path / "asked.txt", None, LONGEST)
    assert found.rows == ("1", "3")
    assert bytes_to_texts(found.features) == ["where is my card", "pay a bill"]
    (tmp_path / "asked.csv").write_text('n,text\n1,"pay, a bill"\n')
    assert bytes_to_texts(text_rows(tmp_path / "asked.csv", None, LONGEST).features) == [
        "pay, a bill"
    ]
    with pytest.raises(DataError, match="column 'said' is missing"):
        text_rows(tmp_path / "asked.csv", "said", LONGEST)
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="UTF-8"):
        text_rows(tmp_path / "broken.txt", None, LONGEST)


def test_a_support_desk_reads_sentences_and_no_data(tmp_path):
    subjects = {name.replace("_", " "): [f"{name} one"] for name in DECLARED_SIZES}
    (tmp_path / "domains.json").write_text(json.dumps(subjects))
    (tmp_path / "asked.txt").write_text("pay a bill\n")
    found = read_unlabelled(Support(str(tmp_path)), tmp_path / "asked.txt")
    assert bytes_to_texts(found.features) == ["pay a bill"]


def test_an_x_ray_is_read_from_a_file_a_folder_or_an_npz(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    (tmp_path / "scans" / "deep").mkdir(parents=True)
    (tmp_path / "scans" / ".cache").mkdir()
    for name, image in zip(("b.png", "a.png", "deep/c.png"), pixels, strict=True):
        Image.fromarray(image).save(tmp_path / "scans" / name)
    (tmp_path / "scans" / ".cache" / "x").write_text("")
    np.savez(tmp_path / "scans.npz", test_images=pixels, val_images=pixels[:1])
    domain = Pneumonia("nowhere", {"a": 30})
    folder = read_unlabelled(domain, tmp_path / "scans")
    assert folder.rows == ("a.png", "b.png", "deep/c.png")
    archive = read_unlabelled(domain, tmp_path / "scans.npz")
    assert archive.rows == ("1", "2", "3")
    assert torch.equal(folder.features, archive.features[[1, 0, 2]])
    assert torch.equal(archive.features[:, 0], torch.from_numpy(pixels / 255).float())
    one = read_unlabelled(domain, tmp_path / "scans" / "b.png")
    assert torch.equal(one.features, archive.features[:1])
    assert len(read_unlabelled(domain, tmp_path / "scans.npz", "val").rows) == 1


def test_an_x_ray_of_another_size_is_resized_and_what_is_no_image_named(tmp_path):
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "large.png")
    domain = Pneumonia("nowhere", {"a": 30})
    assert read_unlabelled(domain, tmp_path / "large.png").features.mean() == pytest.approx(
        90 / 255
    )
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "notes.png").write_text("no image")
    with pytest.raises(DataError, match=r"notes\.png: image cannot be read"):
        read_unlabelled(domain, tmp_path / "scans")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no rows"):
        read_unlabelled(domain, tmp_path / "empty")

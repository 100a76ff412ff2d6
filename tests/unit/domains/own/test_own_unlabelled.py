"""Rows without labels of one's own data: read as the schema file says, and nothing else needed."""

import io

import pandas as pd
import pytest
import torch
from clinics import HEADER, write
from PIL import Image

from tacit.domains.own.data import OwnImages, OwnTable, OwnText
from tacit.domains.texts import bytes_to_texts
from tacit.domains.unlabelled import read_unlabelled
from tacit.errors import DataError

TEXT = """\
name: notes
files: notes.csv
target: {task: classes, classes: [well, ill], column: what}
text: {column: said, length: 32}
sites: {column: where, declared_sizes: {north: 12, south: 12}}
"""
IMAGES = """\
name: scans
files: scans.csv
target: {task: classes, classes: [well, ill], column: what}
image: {size: [6, 4], column: path}
sites: {column: where, declared_sizes: {north: 12, south: 12}}
"""


def test_a_table_needs_the_features_alone(tmp_path):
    domain = OwnTable(write(tmp_path))
    known = domain.load()
    frame = pd.read_csv(tmp_path / "clinics.csv", dtype=str, keep_default_na=False)
    frame[["smoker", "bmi", "age"]].to_csv(tmp_path / "asked.csv", index=False)
    (tmp_path / "clinics.csv").unlink()
    found = read_unlabelled(domain, tmp_path / "asked.csv")
    assert found.rows[0] == "2"
    assert len(found.rows) == len(frame)
    rows = {tuple(row) for row in found.features.tolist()}
    assert {tuple(r) for held in known.values() for r in held.train.features.tolist()} <= rows


def test_a_cell_that_the_schema_does_not_admit_is_named(tmp_path):
    domain = OwnTable(write(tmp_path))
    (tmp_path / "asked.csv").write_text(f"{HEADER}\np,20,30,no,,\np,20,30,often,,\n")
    with pytest.raises(DataError, match="row 3, column 'smoker': value 'often'"):
        read_unlabelled(domain, tmp_path / "asked.csv")
    (tmp_path / "asked.csv").write_text("age,smoker\n20,no\n")
    with pytest.raises(DataError, match="column 'bmi' is missing"):
        read_unlabelled(domain, tmp_path / "asked.csv")


def test_texts_have_the_schemas_column_unless_another_is_named(tmp_path):
    (tmp_path / "notes.yaml").write_text(TEXT)
    domain = OwnText(str(tmp_path / "notes.yaml"))
    (tmp_path / "asked.csv").write_text("said,other\nit hurts,not at all\n")
    (tmp_path / "asked.txt").write_text("it hurts\n")
    for name, column, told in (
        ("asked.csv", None, "it hurts"),
        ("asked.csv", "other", "not at all"),
        ("asked.txt", None, "it hurts"),
    ):
        found = read_unlabelled(domain, tmp_path / name, column)
        assert bytes_to_texts(found.features) == [told]


def test_images_are_a_file_a_folder_or_a_table_of_paths(tmp_path):
    stream = io.BytesIO()
    Image.new("L", (4, 6), 51).save(stream, "PNG")
    (tmp_path / "asked").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "asked" / name).write_bytes(stream.getvalue())
    (tmp_path / "asked.csv").write_text("path\nasked/b.png\n")
    (tmp_path / "scans.yaml").write_text(IMAGES)
    domain = OwnImages(str(tmp_path / "scans.yaml"))
    assert read_unlabelled(domain, tmp_path / "asked").rows == ("a.png", "b.png")
    assert read_unlabelled(domain, tmp_path / "asked" / "a.png").rows == ("a.png",)
    table = read_unlabelled(domain, tmp_path / "asked.csv")
    assert table.rows == ("2",)
    assert torch.allclose(table.features, torch.full((1, 1, 6, 4), 0.2))
    Image.new("L", (8, 8)).save(tmp_path / "asked" / "c.png")
    with pytest.raises(DataError, match=r"c\.png: image has 8 x 8 pixels"):
        read_unlabelled(domain, tmp_path / "asked")

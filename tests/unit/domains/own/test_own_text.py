"""Texts of one's own, and data sets that Hugging Face's datasets reads."""

import importlib.util
import io
import json

import pytest
from clinics import SCHEMA, write
from PIL import Image

from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.own.data import HuggingFace, OwnImages, OwnTable, OwnText
from tacit.domains.texts import bytes_to_texts
from tacit.errors import ConfigurationError, DataError

NOTES = """\
name: notes
files: notes.jsonl
target: {column: urgent, task: classes, classes: {later: "false", now: "true"}}
text: {column: note, length: 32}
sites: {column: desk, declared_sizes: {east: 8, west: 8}}
test: {share: 0.4}
"""
needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None,
    reason="datasets is not installed: the extra huggingface",
)


@pytest.fixture
def notes(tmp_path):
    rows = [
        {"note": f"Grüße {n}", "urgent": n % 3 == 0, "desk": ("east", "west")[n % 2], "tags": [n]}
        for n in range(40)
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "notes.yaml").write_text(NOTES)
    return tmp_path


def load(domain):
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    return data


def texts(data):
    parts = [part for held in data.values() for part in (held.train, held.test)]
    return sorted(text for part in parts for text in bytes_to_texts(part.features))


@pytest.mark.parametrize(
    ("more", "says"),
    [("person: note\n", "person=note: is what is"), ("", "target.column=note: is what is")],
)
def test_the_column_of_texts_is_for_texts_alone(notes, more, says):
    schema = NOTES + more
    (notes / "notes.yaml").write_text(
        schema if more else schema.replace("column: urgent", "column: note")
    )
    with pytest.raises(ConfigurationError, match=says):
        OwnText(str(notes / "notes.yaml"))


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_a_row_without_a_text_is_refused(notes, text):
    row = json.dumps({"note": text, "urgent": False, "desk": "east"})
    with (notes / "notes.jsonl").open("a") as file:
        file.write(f"\n{row}\n")
    with pytest.raises(DataError, match=r"notes\.jsonl: row 41, column 'note': .* is no text"):
        OwnText(str(notes / "notes.yaml")).load()


def test_texts_become_bytes_of_a_public_length(notes):
    domain = OwnText(str(notes / "notes.yaml"))
    data = load(domain)
    assert domain.inputs == (32,)
    assert domain.card.texts
    assert texts(data) == sorted(f"Grüße {n}" for n in range(40))
    east = data["east"].train
    assert [t == 1 for t in east.targets] == [
        int(text.split()[1]) % 3 == 0 for text in bytes_to_texts(east.features)
    ]


def test_a_text_that_is_longer_is_cut(notes):
    (notes / "notes.yaml").write_text(NOTES.replace("32", "4"))
    # The third letter has two bytes: it does not fit in four with what is before it.
    assert set(texts(load(OwnText(str(notes / "notes.yaml"))))) == {"Grü"}


@needs_datasets
def test_datasets_reads_the_same_files(notes, tmp_path):
    domain = HuggingFace(str(notes / "notes.yaml"))
    assert texts(load(domain)) == texts(load(OwnText(str(notes / "notes.yaml"))))
    (tmp_path / "table").mkdir()
    path = write(tmp_path / "table", SCHEMA + "person: patient\n")
    found, plain = load(HuggingFace(path)), load(OwnTable(path))
    for site, held in plain.items():
        assert found[site].train.features.tolist() == held.train.features.tolist()
        assert found[site].train.persons.tolist() == held.train.persons.tolist()


@needs_datasets
def test_a_saved_data_set_with_names_of_labels_and_splits(tmp_path):
    from datasets import ClassLabel, Dataset, DatasetDict

    def part(n):
        rows = {"age": [20.0 + k for k in range(n)], "kind": [k % 2 for k in range(n)]}
        return Dataset.from_dict(rows).cast_column("kind", ClassLabel(names=["cat", "dog"]))

    DatasetDict({"train": part(6), "test": part(4)}).save_to_disk(str(tmp_path / "pets"))
    text = """\
name: pets
files: pets
target: {column: kind, task: classes, classes: [cat, dog]}
features: {age: {number: [20, 30]}}
test: {column: split, value: test}
sites: {declared_sizes: {one: 6}}
"""
    (tmp_path / "pets.yaml").write_text(text)
    held = load(HuggingFace(str(tmp_path / "pets.yaml")))["one"]
    assert held.train.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert len(held.test) == 4
    # domain=table knows such a folder too.
    assert len(load(OwnTable(str(tmp_path / "pets.yaml")))["one"].test) == 4
    (tmp_path / "pets.yaml").write_text(text.replace("[20, 30]", "[20, 25]").replace("20", "21", 1))
    with pytest.raises(DataError, match="row 1 of train, column 'age': value '20"):
        load(HuggingFace(str(tmp_path / "pets.yaml")))


@needs_datasets
def test_images_of_a_data_set(tmp_path):
    from datasets import Dataset
    from datasets import Image as ImageFeature

    stream = io.BytesIO()
    Image.new("L", (4, 4), 51).save(stream, "PNG")
    rows = {"scan": [{"bytes": stream.getvalue(), "path": None}] * 9, "ill": [0, 1, 1] * 3}
    rows["id"] = list(range(9))
    Dataset.from_dict(rows).cast_column("scan", ImageFeature()).save_to_disk(str(tmp_path / "s"))
    (tmp_path / "s.yaml").write_text(
        "name: s\nfiles: s\nimage: {column: scan, size: [4, 4]}\n"
        "target: {column: ill, task: classes, classes: [0, 1]}\n"
        "person: id\nsites: {declared_sizes: {one: 9}}\n"
    )
    for kind in (HuggingFace, OwnImages):
        held = load(kind(str(tmp_path / "s.yaml")))["one"]
        assert held.train.features.unique().tolist() == pytest.approx([0.2])


@needs_datasets
def test_what_datasets_cannot_read_is_said(tmp_path):
    path = write(tmp_path, SCHEMA.replace("clinics.csv", "none"))
    with pytest.raises(DataError, match="there is no such data set: a folder of save_to_disk"):
        HuggingFace(path).load()
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="cannot be read by datasets"):
        HuggingFace(path).load()
    (tmp_path / "none.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read by datasets"):
        HuggingFace(write(tmp_path, SCHEMA.replace("clinics.csv", "none.json"))).load()


@pytest.mark.parametrize(
    ("module", "file", "says"),
    [
        ("datasets", "clinics.csv", r"pip install 'tacit\[huggingface\]'"),
        ("pyarrow", "clinics.parquet", r"pip install 'tacit\[parquet\]'"),
    ],
)
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, module, file, says):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / file).touch()
    kind = HuggingFace if module == "datasets" else OwnTable
    with pytest.raises(ConfigurationError, match=says):
        kind(write(tmp_path, SCHEMA.replace("clinics.csv", file))).load()

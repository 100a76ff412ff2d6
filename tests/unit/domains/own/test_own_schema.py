"""The schema file: what is wrong is said by key, with the nearest right one."""

from pathlib import Path

import pytest
from clinics import SCHEMA

from tacit.domains.own.schema_file import Kind
from tacit.domains.own.schema_reading import read_schema
from tacit.errors import ConfigurationError


def read(folder: Path, text: str):
    path = folder / "clinics.yaml"
    path.write_text(text)
    return read_schema(path)


def test_it_says_what_is_public(tmp_path):
    schema = read(tmp_path, SCHEMA)
    assert schema.kind is Kind.TABLE
    assert list(schema.features) == ["age", "bmi", "smoker"]
    assert schema.features["bmi"].missing == ("",)
    assert schema.target.classes == {"well": ("well",), "ill": ("ill",)}
    assert schema.sites.declared_sizes == {"north": 30, "south": 30, "west": 20}
    assert schema.test.share == 0.25
    assert schema.file_of("north") == str(tmp_path / "clinics.csv")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("typical: [30", "typicl: [30", "features.age.typicl: there is no such key; did you mean"),
        ("files:", "file:", "file: there is no such key; did you mean 'files'"),
        ("name: clinics\n", "", "name: must be set"),
        ("name: clinics", "name: The Clinics", "'The Clinics' must be of small letters"),
        ("[18, 110]", "[110, 18]", r"age.number: \[110, 18\] must be \[lowest, highest\]"),
        ("[18, 110]", "[18, old]", "features.age.number.1=old: must be a number"),
        ("[18, 110]", "[18, .inf]", "features.age.number.1=.inf: must be a number"),
        ("[18, 110]", "110", "features.age.number=110: must be a list"),
        ("{number: [18, 110], typical: [30, 80]}", "number", "features.age=number: must be a gr"),
        ("{number: [18, 110], typical: [30, 80]}", "{}", "must have number: .* or codes:"),
        ('["no", former, "yes"]', "[no, true]", "smoker.codes.1: true is neither text nor a num"),
        ('["no", former, "yes"]', "[no, 1]", "features.smoker: codes are numbers and text"),
        ('["no", former, "yes"]', "[no, no]", "features.smoker: code 'no' stands there twice"),
        ('["no", former, "yes"]', "[no]", "features.smoker: codes: write all that there are"),
        ('codes: ["no"', 'missing: "", codes: ["no"', "typical and missing go with number"),
        ("task: classes", "task: clases", "target.task=clases: .* did you mean 'classes'"),
        ("task: classes, ", "", "target.task: must be set: classes, ordinal, labels, number"),
        ("column: outcome, ", "", "target.column: must be set"),
        ("column: outcome", "column: age", "features.age: is the target"),
        ("[well, ill]", "[well]", "target: classes: there must be at least two, not 1"),
        ("[well, ill]}", "[well, ill], prior: {well: 0.5, il: 0.5}}", "prior: must have a number"),
        ("[well, ill]}", "[well, ill], prior: {well: 0.5, ill: 0.4}}", "prior: adds up to 0.9"),
        (
            "task: classes, classes: [well, ill]",
            "task: ordinal, classes: [well, ill], prior: {well: 0.5, ill: 0.4}",
            "prior: adds up to 0.9",
        ),
        (
            "column: outcome, task: classes, classes: [well, ill]",
            "task: labels, labels: [a, b], prior: {a: 0.1}",
            "prior: must have a number for each of a, b",
        ),
        ("[well, ill]}", "[a, b, c], metric: auc}", "metric=auc is for two classes"),
        ("[well, ill]}", "[well, ill], metric: f1}", "target.metric=f1: must be 'accuracy' or"),
        ("north: 30", "North: 30", "'North' cannot be a site's name: use small letters"),
        ("north: 30", "server: 30", "'server' is the coordinator"),
        ("north: 30", "north: 0", "sites.declared_sizes.north=0: must be at least 1"),
        ("north: 30", "north: 2.5", "sites.declared_sizes.north=2.5: must be a whole number"),
        ("column: clinic, ", "", "which site does a row belong to"),
        ("column: clinic", "column: outcome", "sites.column=outcome: is the target"),
        ("clinics.csv", "{north: a.csv}", "sites.column=clinic: every site has a file of its own"),
        ("clinics.csv", "'{site}.csv'", "sites.column=clinic: every site has a file of its own"),
        ("clinics.csv", "~/clinics.csv", "must be written without ~"),
        ("sites: {", "person: age\nsites: {", "features.age: names persons"),
        (
            "sites: {",
            "test: {column: age, value: 30}\nsites: {",
            "features.age: tells what is held",
        ),
        ("typical: [30, 80]", "typical: [10, 80]", "typical: must lie within number, 18 to 110"),
        ("typical: [30, 80]", "typical: [30, 111]", "typical: must lie within number, 18 to 110"),
        ("sites: {", "sites: {declared_persons: {north: 3, south: 3, west: 3}, ", "goes with pers"),
        ("sites: {", "sites: {values: {east: E}, ", "values: east is none of declared_sizes"),
        ("sites: {", "sites: {values: {north: south}, ", "values: two sites have the same"),
        ("sites: {", "test: {share: 1}\nsites: {", "test.share=1: must be less than 1"),
        ("sites: {", "test: {column: x}\nsites: {", "test: column and value go together"),
        ("sites: {", "test: {seed: 3}\nsites: {", "test: must have share"),
        ("sites: {", "image: {size: [8, 8]}\nsites: {", "must have one of .* features and image"),
        ("features:", "text:", "text.age: there is no such key"),
        (SCHEMA, "", "must hold keys and values"),
        (SCHEMA, "- a\n", "must hold keys and values"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, says):
    assert old in SCHEMA
    with pytest.raises(ConfigurationError, match=says) as caught:
        read(tmp_path, SCHEMA.replace(old, new))
    assert str(caught.value).startswith(str(tmp_path / "clinics.yaml"))


def test_what_a_draft_leaves_open_is_listed(tmp_path):
    text = SCHEMA.replace("{number: [18, 110], typical: [30, 80]}", "???").replace(
        "declared_sizes: {north: 30", 'declared_sizes: {"???": 30'
    )
    with pytest.raises(ConfigurationError, match=r"features\.age, sites\.declared_sizes\.\?\?\?: "):
        read(tmp_path, text)


def test_the_name_has_a_digest_of_what_decides_what_a_model_sees_and_tells(tmp_path):
    def name(old="", new=""):
        assert old in SCHEMA
        return read(tmp_path, SCHEMA.replace(old, new)).name

    same = name()
    assert same.startswith("clinics-")
    # Where the data lie, and how a site codes the target, is its own matter.
    assert name("clinics.csv", "here.csv") == same
    assert name("column: outcome", "column: result") == same
    assert name("[well, ill]", "{well: 0, ill: [1, 2]}") == same
    assert name("north: 30", "north: 300") == same
    # What features and answers mean is everybody's.
    assert name("[30, 80]", "[30, 81]") != same
    assert name("[well, ill]", "[ill, well]") != same
    assert name("age:", "years:") != same
    assert name("task: classes", "task: ordinal") != same


def test_a_file_each_by_its_name_or_by_a_mapping(tmp_path):
    each = SCHEMA.replace("column: clinic, ", "")
    by_name = read(tmp_path, each.replace("clinics.csv", "'{site}/data.csv'"))
    assert by_name.file_of("north") == str(tmp_path / "north/data.csv")
    mapping = "{north: n.csv, south: s.csv, west: /w.csv}"
    listed = read(tmp_path, each.replace("clinics.csv", mapping))
    assert [listed.file_of(site) for site in ("north", "west")] == [
        str(tmp_path / "n.csv"),
        "/w.csv",
    ]
    with pytest.raises(ConfigurationError, match="must name the same sites, and east"):
        read(tmp_path, each.replace("clinics.csv", mapping.replace("north", "east")))
    with pytest.raises(ConfigurationError, match=r"needs sites\.declared_sizes"):
        read(tmp_path, each[: each.index("sites:")].replace("clinics.csv", "'{site}.csv'"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("target: {task: number, number: [0, 1], column: y}", "image.column: must be set"),
        ("target: {task: classes, classes: [a, b], column: y}", "image.column: must be set"),
        ("target: {task: classes, classes: [a, b]}\nperson: p", "person=p: folders have no col"),
    ],
)
def test_folders_have_no_columns(tmp_path, more, says):
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, f"name: x\nfiles: x\nimage: {{size: [8, 8]}}\n{more}\n")

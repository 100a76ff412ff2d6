"""tacit-domain: drafts that look at names alone, and all that is wrong at once."""

import pytest
from typer.testing import CliRunner

from client import domain_command
from client.domain_questions import INTRODUCTION
from tacit.domains.own.schema_reading import read_schema
from tacit.errors import ConfigurationError

HEADER = "age,smoker,clinic,patient,outcome"
ROWS = [
    f"{20 + n % 50},{('no', 'yes')[n % 2]},north,p{n},{('well', 'ill')[n % 3 % 2]}"
    for n in range(40)
]
SCHEMA = """\
name: ward
files: ward.csv
target: {column: outcome, task: classes, classes: [well, ill]}
features: {age: {number: [18, 110]}, smoker: {codes: ["no", "yes"]}}
person: patient
sites: {column: clinic, declared_sizes: {north: 30}}
"""


@pytest.fixture
def ward(tmp_path):
    (tmp_path / "ward.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path


@pytest.fixture
def domain_words(command):
    return lambda *words: command(*words, main=domain_command._main)


def test_a_draft_has_the_names_and_asks_for_the_rest(ward, domain_words):
    words = ("--target", "outcome", "--site", "clinic", "--person", "patient", "--no-ask")
    ended = domain_words("init", ward / "ward.csv", *words)
    assert (ended.code, ended.err) == (0, "")
    path = ward / "ward.yaml"
    assert f"{path}: 5 places are still ???" in ended.out
    assert f"then: tacit-domain check {path}" in ended.out
    text = path.read_text()
    assert "  age: ???\n  smoker: ???\n" in text
    ended = domain_words("check", path)
    assert ended.code == 2
    assert (
        "target.task, features.age, features.smoker, sites.declared_sizes.???: still" in ended.err
    )


def test_a_filled_draft_is_a_schema_file(ward, domain_words):
    path = ward / "new" / "ward.yaml"
    domain_words(
        *("init", ward / "ward.csv", "--out", path, "--target", "outcome", "--no-ask"),
        *("--site", "clinic", "--person", "patient"),
    )
    text = path.read_text()
    for old, new in (
        ("task: ???", "task: classes\n  classes: [well, ill]"),
        ("age: ???", "age: {number: [18, 110]}"),
        ("smoker: ???", 'smoker: {codes: ["no", "yes"]}'),
        ("???: ???", "north: 30"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    assert domain_words("check", path).code == 0
    # The data lie elsewhere, so that their path is written in full.
    assert read_schema(path).about.files == str(ward / "ward.csv")


def test_a_draft_looks_at_no_value(ward, domain_words):
    (ward / "ward.csv").write_bytes((HEADER + "\n").encode() + b"\xff\xfe\x00 no text at all")
    assert domain_words("init", ward / "ward.csv", "--no-ask").code == 0


def test_a_draft_is_never_written_over_a_file(ward, domain_words):
    (ward / "ward.yaml").write_text("mine")
    ended = domain_words("init", ward / "ward.csv", "--no-ask")
    assert ended.code == 2
    assert "ward.yaml is there already: name another with --out" in ended.err
    assert (ward / "ward.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("init", "{ward}/none.csv"), "there is no such file"),
        (("init", "{ward}/ward.csv", "--target", "outcom"), "did you mean 'outcome'"),
        (("init",), "Missing argument 'FILE'"),
        (("check", "{ward}/none.yaml"), "cannot be read"),
        (("check", "{ward}/ward.csv"), "must hold keys and values"),
        (("chek",), "No such command 'chek'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(ward, domain_words, words, says):
    ended = domain_words(*(word.format(ward=ward) for word in words))
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_folder_of_images_and_a_column_of_texts(ward, domain_words):
    (ward / "scans" / "ill").mkdir(parents=True)
    assert domain_words("init", ward / "scans", "--no-ask").code == 0
    text = (ward / "scans.yaml").read_text()
    assert "image:\n  size: ???" in text
    assert "target:\n  task: ???" in text
    words = ("--text", "smoker", "--target", "outcome", "--out", ward / "t.yaml", "--no-ask")
    assert domain_words("init", ward / "ward.csv", *words).code == 0
    assert "text:\n  column: smoker\n" in (ward / "t.yaml").read_text()


def test_strange_names_of_columns_are_names_in_the_draft(ward, domain_words):
    names = ["no", "a: b", '"quoted, ""x"""', "'", "# x", "012", "ä ö", "{site}", "-"]
    (ward / "odd.csv").write_text(",".join([*names, "y"]) + "\n")
    domain_words("init", ward / "odd.csv", "--target", "y", "--no-ask")
    text = (ward / "odd.yaml").read_text().replace("task: ???", "task: number\n  number: [0, 1]")
    text = text.replace("    ???: ???", "    one: 3").replace(": ???", ": {codes: [0, 1]}")
    (ward / "odd.yaml").write_text(text)
    found = read_schema(ward / "odd.yaml")
    assert list(found.features) == ["no", "a: b", 'quoted, "x"', *names[3:]]


def check(domain_words, folder, schema, *words):
    (folder / "ward.yaml").write_text(schema)
    return domain_words("check", folder / "ward.yaml", *words)


def test_good_data_are_shown_beside_what_is_public(ward, domain_words):
    ended = check(domain_words, ward, SCHEMA)
    assert (ended.code, ended.err) == (0, "")
    assert "table, 2 numbers a row from 2 columns" in ended.out
    assert "one of well, ill; measured by accuracy" in ended.out
    assert "For this terminal only" in ended.out
    assert f"tacit-simulate domain=table domain.schema={ward}/ward.yaml" in ended.out
    row = next(line for line in ended.out.splitlines() if line.startswith("north"))
    declared, train, test, persons = map(int, row.split()[1:])
    assert declared == 30
    assert train + test == 40
    assert persons == train


@pytest.mark.parametrize("declared", [300, 3])
def test_a_declared_size_that_is_far_off_is_named(ward, domain_words, declared):
    ended = check(domain_words, ward, SCHEMA.replace("north: 30", f"north: {declared}"))
    assert ended.code == 0
    said = [line for line in ended.out.splitlines() if "declares" in line]
    assert len(said) == 1
    assert said[0].startswith(f"north declares {declared} rows and has ")


def test_texts_have_a_number_of_bytes(tmp_path, domain_words):
    rows = [f"note {n},{('east', 'west')[n % 2]},{('no', 'yes')[n % 3 == 0]}" for n in range(40)]
    (tmp_path / "ward.csv").write_text("\n".join(["note,desk,urgent", *rows]) + "\n")
    schema = (
        "name: notes\nfiles: ward.csv\ntext: {column: note, length: 32}\n"
        "target: {column: urgent, task: classes, classes: ['no', 'yes']}\n"
        "sites: {column: desk, declared_sizes: {east: 20, west: 20}}\n"
    )
    assert "text, at most 32 bytes a row\n" in check(domain_words, tmp_path, schema).out


def test_without_sites_all_rows_are_checked_and_a_partition_is_named(ward, domain_words):
    ended = check(domain_words, ward, SCHEMA[: SCHEMA.index("sites:")])
    assert ended.code == 0
    assert "all rows" in ended.out
    assert "partition=iid domain.partition.sites=5" in ended.out


def test_all_that_is_wrong_is_said_at_once_up_to_twenty(ward, domain_words):
    rows = ["17,no,north,p,ill", "30,perhaps,south,,ill", "x,no,north,p,dead"]
    (ward / "ward.csv").write_text("\n".join([HEADER, *ROWS, *rows]) + "\n")
    ended = check(domain_words, ward, SCHEMA)
    assert ended.code == 2
    for row, column, value in (
        (42, "age", "17"),
        (44, "age", "x"),
        (43, "smoker", "perhaps"),
        (43, "clinic", "south"),
        (43, "patient", ""),
        (44, "outcome", "dead"),
    ):
        assert f"ward.csv: row {row}, column {column!r}: value {value!r} " in ended.out
    assert ended.out.splitlines()[-1].endswith("this data cannot be used yet; nothing was spent")
    columns = [f"c{n}" for n in range(9)]
    wide = "\n".join([",".join([*columns, "y"]), *(",".join(["?"] * 10) for _ in range(3))])
    (ward / "ward.csv").write_text(wide)
    features = ", ".join(f"{name}: {{number: [0, 1]}}" for name in columns)
    ended = check(
        domain_words,
        ward,
        f"name: w\nfiles: ward.csv\nfeatures: {{{features}}}\n"
        "target: {task: number, column: y, number: [0, 1]}\n",
    )
    assert len(ended.out.splitlines()) == 20 + 2
    assert "and 10 more" in ended.out


def test_one_site_alone_with_a_file_of_its_own(ward, domain_words):
    each = (
        SCHEMA.replace("ward.csv", "'{site}.csv'")
        .replace("column: clinic, ", "")
        .replace("north: 30", "north: 30, south: 30")
    )
    (ward / "ward.csv").rename(ward / "north.csv")
    assert check(domain_words, ward, each, "--site", "north").code == 0
    ended = check(domain_words, ward, each)
    assert ended.code == 2
    assert "south.csv: there is no such file" in ended.out
    ended = check(domain_words, ward, each, "--site", "nort")
    assert "has no such site; did you mean 'north'" in ended.err


def test_a_pool_and_a_site_without_rows_are_looked_at_too(ward, domain_words):
    ended = check(domain_words, ward, SCHEMA + "public_pool: none.csv\n")
    assert "none.csv: there is no such file" in ended.out
    ended = check(domain_words, ward, SCHEMA.replace("north: 30", "north: 30, south: 3"))
    assert "site 'south' has no training rows" in ended.out


ANSWERS = [
    *("x", "n", "18", "110 18", "18 110", "", "y"),  # age: no such part, one number, wrong order
    *("c", "no, yes"),  # smoker
    *("s", "p", "t"),  # clinic, patient, outcome
    *("clases", "classes", "well, ill", "north", "north=30"),
]


def test_a_terminal_is_asked_until_answers_can_be_read(ward):
    asked = CliRunner().invoke(
        domain_command.app, ["init", str(ward / "ward.csv"), "--ask"], input="\n".join(ANSWERS)
    )
    assert asked.exit_code == 0, asked.output
    assert INTRODUCTION.splitlines()[0] in asked.output
    assert "nothing is left open" in asked.output
    found = read_schema(ward / "ward.yaml")
    assert found.features["age"].number == (18, 110)
    assert found.features["age"].missing == ("",)
    assert found.features["smoker"].codes == ("no", "yes")
    assert found.sites.declared_sizes == {"north": 30}
    assert (found.sites.column, found.about.person) == ("clinic", "patient")
    assert found.target.classes == {"well": ("well",), "ill": ("ill",)}


@pytest.mark.parametrize(
    ("answers", "key"), [(["classes", "?"], "classes"), (["labels", "?"], "labels")]
)
def test_what_a_task_needs_is_left_open_too(ward, answers, key):
    asked = CliRunner().invoke(
        domain_command.app,
        ["init", str(ward / "ward.csv"), "--ask"],
        input="\n".join([*ANSWERS[:12], *answers, "north", "north=30"]),
    )
    assert asked.exit_code == 0, asked.output
    assert f"  {key}: ???" in (ward / "ward.yaml").read_text()
    assert "1 place is still ???" in asked.output


def test_columns_of_labels_are_asked_for(ward):
    answers = [*ANSWERS[:12], "labels", "smoker,", "smoker, outcome", "north", "north=30"]
    CliRunner().invoke(
        domain_command.app, ["init", str(ward / "ward.csv"), "--ask"], input="\n".join(answers)
    )
    text = (ward / "ward.yaml").read_text()
    assert "  labels: [smoker, outcome]" in text
    assert "  column: outcome" not in text.partition("target:")[2].partition("features:")[0]


def test_a_question_mark_leaves_an_answer_open(ward):
    answers = ["n", "?", "?", "", "", "t", "?", "?"]
    CliRunner().invoke(
        domain_command.app, ["init", str(ward / "ward.csv"), "--ask"], input="\n".join(answers)
    )
    with pytest.raises(ConfigurationError, match=r"target\.task, features\.age, features\.smoker"):
        read_schema(ward / "ward.yaml")


def test_checking_writes_nothing(ward, domain_words):
    (ward / "ward.yaml").write_text(SCHEMA)
    before = sorted(ward.iterdir())
    assert domain_words("check", ward / "ward.yaml").code == 0
    assert sorted(ward.iterdir()) == before

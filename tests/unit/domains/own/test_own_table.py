"""A table of one's own: from cells to examples, by public knowledge alone."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from clinics import HEADER, SCHEMA, SITES, lines, write
from hypothesis import given
from hypothesis import strategies as st

from tacit.domains.domain import Metric, Task, check_inputs, check_sites, site_data
from tacit.domains.own.content import Rows
from tacit.domains.own.data import OwnTable
from tacit.domains.own.reader import Reader
from tacit.domains.own.schema_reading import read_schema
from tacit.errors import ConfigurationError, DataError

IID = {"_target_": "tacit.domains.partition_sizes.IID", "sites": 4}
WITHOUT_SMOKER = SCHEMA.replace('  smoker: {codes: ["no", former, "yes"]}\n', "")
DIRICHLET = {"_target_": "tacit.domains.partition_labels.Dirichlet", "sites": 4, "alpha": 0.5}


def load(folder, schema=SCHEMA, rows=None, **more):
    domain = OwnTable(write(folder, schema, rows), **more)
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    return domain, data


def test_a_row_becomes_these_features(tmp_path):
    rows = ["p,55,27.5,former,north,ill", "p,18,,no,south,well", *lines()]
    domain = OwnTable(write(tmp_path, SCHEMA + "test: {column: patient, value: p1}\n", rows))
    data = domain.load()
    assert domain.inputs == (6,)
    assert domain.columns == ("age", "bmi", "smoker")
    assert [data[s].train.features[0].tolist() for s in ("north", "south")] == [
        # 55 is the middle of 30 to 80 and 27.5 that of 20 to 35; 18 is 37 below it, of 25.
        [0, 0, 0, 0, 1, 0],
        pytest.approx([-37 / 25, 0, 1, 1, 0, 0]),
    ]
    assert [data[s].train.targets[0].item() for s in ("north", "south")] == [1, 0]
    assert data["north"].train.features.dtype == torch.float32


def test_the_card_is_what_the_schema_says(tmp_path):
    more = (
        "title: Three clinics\ndescription: Made up.\nrow: one visit\nsynthetic: true\n"
        "not_protected: [that a clinic takes part]\n"
    )
    prior = "[well, ill], prior: {well: 0.9, ill: 0.1}, metric: auc"
    card = load(tmp_path, more + SCHEMA.replace("[well, ill]", prior))[0].card
    assert (card.title, card.description, card.unit_protected) == (
        "Three clinics",
        "Made up.",
        "one visit",
    )
    assert card.classes == ("well", "ill")
    assert card.prior == pytest.approx((0.9, 0.1))
    assert card.metric is Metric.AUC
    assert card.synthetic
    assert card.not_protected[-1] == "that a clinic takes part"
    assert card.task is Task.CLASSES


@pytest.mark.parametrize(
    ("target", "task", "metric", "targets"),
    [
        ("{task: ordinal, column: g, classes: [a, b, c]}", Task.ORDINAL, Metric.MAE, [1.0, 0.0]),
        ("{task: labels, labels: {cough: x, fever: y}}", Task.LABELS, Metric.AUC, [0.0, 1.0]),
        ("{task: labels, labels: [x, y], codes: [1, 0]}", Task.LABELS, Metric.AUC, [1.0, 0.0]),
        ("{task: number, column: n, number: [0, 8], unit: weeks}", Task.NUMBER, Metric.RMSE, -0.5),
        (
            "{task: classes, column: g, classes: {q: c, r: [a, b]}}",
            Task.CLASSES,
            Metric.ACCURACY,
            1,
        ),
    ],
)
def test_every_task(tmp_path, target, task, metric, targets):
    text = f"""
name: tasks
files: tasks.csv
target: {target}
features: {{f: {{codes: [0, 1]}}}}
sites: {{declared_sizes: {{one: 40}}}}
"""
    # g=b is above a and not above b; of 0 to 8, 2 is half way down.
    (tmp_path / "tasks.csv").write_text(
        "f,g,x,y,n,id\n" + "".join(f"{n % 2},b,0,1.0,2,{n}\n" for n in range(40))
    )
    (tmp_path / "tasks.yaml").write_text(text.replace("{f:", "{id: {number: [0, 99]}, f:"))
    domain = OwnTable(str(tmp_path / "tasks.yaml"))
    held = domain.load()["one"]
    check_sites({"one": held}, domain.card)
    assert domain.card.task is task
    assert domain.card.metric is metric
    assert held.train.targets[0].tolist() == targets
    assert held.train.targets.dtype == (torch.int64 if task is Task.CLASSES else torch.float32)
    assert domain.card.target is None or domain.card.target.unit == "weeks"


def test_which_rows_are_held_out_depends_on_no_other_row(tmp_path):
    """A split that moved with the number of rows would let one record change two."""
    rows = list(lines())
    (tmp_path / "all").mkdir()
    (tmp_path / "without").mkdir()
    _, whole = load(tmp_path / "all", rows=rows)
    _, fewer = load(tmp_path / "without", rows=rows[1:])  # the first is at north
    assert torch.equal(whole["south"].train.features, fewer["south"].train.features)
    parts = [(held.train.features, held.test.features) for held in (whole["north"], fewer["north"])]
    lengths = [(len(train), len(test)) for train, test in parts]
    assert sum(lengths[0]) == sum(lengths[1]) + 1
    side = 0 if lengths[0][0] > lengths[1][0] else 1
    assert torch.equal(parts[0][side][1:], parts[1][side])
    assert torch.equal(parts[0][1 - side], parts[1][1 - side])


def test_the_share_is_held_out_and_another_seed_holds_out_others(tmp_path):
    rows = [f"p{n},50,{20 + n / 1000:.3f},no,north,ill" for n in range(10_000)]
    one = SCHEMA.replace("column: clinic, ", "").replace(", south: 30, west: 20", "")
    _, data = load(tmp_path, one + "test: {share: 0.1}\n", rows)
    # Of 10,000 coins 1,000 are expected; six standard deviations are 180.
    assert abs(len(data["north"].test) - 1000) < 180
    _, other = load(tmp_path, one + "test: {share: 0.1, seed: 1}\n", rows)
    assert not torch.equal(other["north"].test.features[:50], data["north"].test.features[:50])


def test_the_same_rows_are_held_out_whatever_is_learnt_from(tmp_path):
    _, data = load(tmp_path)
    _, fewer = load(tmp_path, WITHOUT_SMOKER)
    for site in SITES:
        assert torch.equal(fewer[site].test.features, data[site].test.features[:, :3])


def test_persons_are_held_out_as_a_whole_and_numbered_at_each_site(tmp_path):
    _, data = load(tmp_path, SCHEMA + "person: patient\n")
    table = pd.read_csv(tmp_path / "clinics.csv")
    rows = 0
    for site in SITES:
        for part in (data[site].train, data[site].test):
            persons = part.persons.tolist()
            assert sorted(set(persons)) == list(range(len(persons) // 2))
            assert all(persons.count(person) == 2 for person in persons)
            rows += len(part)
    assert rows == len(table)


def test_a_person_on_both_sides_of_a_given_split_is_named(tmp_path):
    schema = WITHOUT_SMOKER + "person: patient\ntest: {column: smoker, value: former}\n"
    with pytest.raises(DataError, match=r"row \d+ is held out, and 'p\d+' has rows to learn from"):
        load(tmp_path, schema)


def test_a_person_held_out_in_one_file_and_learnt_from_in_another_is_named(tmp_path):
    rows = [
        [f"p{n},50,20,{s},{site},{('ill', 'well')[n % 2]}" for n, s in own]
        for site, own in (
            ("north", [(1, "no"), (2, "no"), (3, "former"), (4, "former")]),
            ("south", [(1, "former"), (5, "no"), (6, "no"), (7, "former")]),
        )
    ]
    for site, own in zip(("north", "south"), rows, strict=True):
        (tmp_path / f"{site}.csv").write_text("\n".join([HEADER, *own]) + "\n")
    schema = WITHOUT_SMOKER.replace("clinics.csv", "'{site}.csv'").replace(", west: 20", "") + (
        "person: patient\ntest: {column: smoker, value: former}\n"
    )
    schema = schema.replace("sites: {column: clinic, ", "sites: {")
    (tmp_path / "clinics.yaml").write_text(schema)
    said = []
    Reader(read_schema(tmp_path / "clinics.yaml")).sites(["north", "south"], said.append)
    assert [line for line in said if "'p1' has rows that are held out" in line]
    assert len(said) == 1
    assert "north.csv" in said[0]


def test_a_person_with_a_blank_at_an_end_would_be_another_one(tmp_path):
    rows = [*lines(6), "p0 ,50,20,no,north,ill"]
    with pytest.raises(DataError, match="row 8, column 'patient': value 'p0 ' has blanks at an en"):
        load(tmp_path, SCHEMA + "person: patient\n", rows)


def test_a_person_named_as_a_number_and_as_one_with_a_point_would_be_two(tmp_path):
    rows = [line.replace("p", "", 1) for line in lines(6)]
    wrong = [*rows, "2.0,50,20,no,north,ill"]
    with pytest.raises(DataError, match=r"row 8, column 'patient': value '2\.0' would be another "):
        load(tmp_path, SCHEMA + "person: patient\n", wrong)
    apart = [*rows, "2.5,50,20,no,north,ill", "7.0,50,20,no,north,ill"]
    OwnTable(write(tmp_path, SCHEMA + "person: patient\n", apart)).load()


def test_a_person_named_so_in_one_file_and_otherwise_in_another_would_be_two(tmp_path):
    schema = SCHEMA.replace("clinics.csv", "'{site}.csv'").replace(", west: 20", "")
    schema = schema.replace("sites: {column: clinic, ", "sites: {") + "person: patient\n"
    for site, person in (("north", "7"), ("south", "7.00"), ("south", "icd-7.0")):
        rows = [HEADER, f"{person},50,20,no,north,ill", *lines(8)]
        (tmp_path / f"{site}.csv").write_text("\n".join(rows) + "\n")
        (tmp_path / "clinics.yaml").write_text(schema)
        said = []
        if site == "south":
            Reader(read_schema(tmp_path / "clinics.yaml")).sites(["north", "south"], said.append)
        assert [line for line in said if "would be another" in line] == (
            [] if person != "7.00" else [said[0]]
        )


def test_a_value_that_no_row_has_holds_nothing_out(tmp_path):
    said = []
    path = write(tmp_path, SCHEMA + "test: {column: patient, value: nobody}\n")
    Reader(read_schema(Path(path))).sites(SITES, said.append)
    assert said == [
        f"{tmp_path}/clinics.csv: no row is held out: none has 'nobody' in column 'patient', as "
        "test says"
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_named(tmp_path, delimiter):
    path = write(tmp_path)
    (tmp_path / "clinics.csv").write_text(
        (tmp_path / "clinics.csv").read_text().replace(",", delimiter)
    )
    with pytest.raises(DataError, match=r"column '\w+' is missing, .* write delimiter: ") as caught:
        OwnTable(path).load()
    assert repr(delimiter) in str(caught.value)


def test_a_row_that_names_nobody_is_refused(tmp_path):
    rows = [*lines(6), ",50,20,no,north,ill"]
    with pytest.raises(DataError, match="row 8, column 'patient': value '' names no person"):
        load(tmp_path, SCHEMA + "person: patient\n", rows)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("p,17,20,no,north,ill", "column 'age': value '17' is not a number from 18 to 110"),
        ("p,,20,no,north,ill", "where cells may be empty, write missing: '' for features.age"),
        ("p,20,NA,no,north,ill", "column 'bmi': value 'NA' is not a number from 10 to 80, or ''"),
        ("p,20,20,nope,north,ill", "column 'smoker': value 'nope' is not one of 'no', 'former'"),
        ("p,20,20,no,east,ill", "'east' is not one of .*; correct the cell, or add the site to"),
        ("p,20,20,no,north,", "column 'outcome': value '' is not one of 'well', 'ill'; correct"),
        ("p,20,20,no,north", "row 8, column 'outcome': value ''"),
        ("p,20,20,no,north,ill,7", "Expected 6 fields in line 8, saw 7"),
    ],
)
def test_a_bad_cell_is_named_by_file_row_column_and_value(tmp_path, row, says):
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path, rows=[*lines(6), row])
    assert "clinics.csv: " in str(caught.value)
    assert "8" in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="column 'bmy' is missing; did you mean 'bmi'"):
        load(tmp_path, SCHEMA.replace("bmi:", "bmy:"))


def test_sites_may_be_called_otherwise_in_the_column(tmp_path):
    named = SCHEMA + "person: patient\n"  # whose name alone says what is held out
    _, plain = load(tmp_path, named)
    rows = [row.replace("north", "Clinic N") for row in lines()]
    _, found = load(
        tmp_path, named.replace("sites: {", "sites: {values: {north: Clinic N}, "), rows
    )
    assert torch.equal(found["north"].train.features, plain["north"].train.features)


def test_a_site_with_a_file_of_its_own_needs_no_other(tmp_path):
    _, whole = load(tmp_path)
    north = [row for row in lines() if ",north," in row]
    (tmp_path / "north.csv").write_text("\n".join([HEADER, *north]))
    each = SCHEMA.replace("clinics.csv", "'{site}.csv'").replace("column: clinic, ", "")
    (tmp_path / "each.yaml").write_text(each)
    domain = OwnTable(str(tmp_path / "each.yaml"))
    assert torch.equal(site_data(domain, "north").train.features, whole["north"].train.features)
    with pytest.raises(DataError, match=r"south\.csv: there is no such file"):
        site_data(domain, "south")
    with pytest.raises(ConfigurationError, match="every site has a file of its own: a partition"):
        OwnTable(str(tmp_path / "each.yaml"), IID)


def test_one_site_of_a_shared_file(tmp_path):
    domain, whole = load(tmp_path)
    own = site_data(domain, "south")
    assert torch.equal(own.train.features, whole["south"].train.features)


def test_a_partition_deals_rows_out_whatever_sites_there_are(tmp_path):
    domain, data = load(tmp_path, partition=DIRICHLET)
    assert len(data) == 4
    train = sum(len(held.train) for held in data.values())
    assert train + len(data["user-000000"].test) == 120
    assert domain.declared_sizes.keys() == data.keys()
    assert not hasattr(domain, "declared_persons")
    by_clinic = {"_target_": "tacit.domains.partition_column.Column", "column": "clinic"}
    _, clinics = load(tmp_path, partition=by_clinic)
    assert list(clinics) == ["clinic-north", "clinic-south", "clinic-west"]


def test_a_partition_deals_persons_out_with_all_their_rows(tmp_path):
    domain, data = load(tmp_path, SCHEMA + "person: patient\n", partition=IID)
    rows = 0
    for site, held in data.items():
        persons = held.train.persons.tolist()
        assert all(persons.count(person) == 2 for person in persons)
        assert len(set(persons)) == pytest.approx(domain.declared_persons[site], rel=0.17)
        rows += len(persons)
    assert rows + len(data["user-000000"].test) == 120


def test_without_sites_and_partition_it_says_what_to_do(tmp_path):
    alone = SCHEMA[: SCHEMA.index("sites:")]
    with pytest.raises(ConfigurationError, match=r"add sites\.declared_sizes, .*partition=iid"):
        load(tmp_path, alone)
    assert len(load(tmp_path, alone, partition=IID)[1]) == 4


def test_declared_persons_are_the_schemas(tmp_path):
    more = "sites: {declared_persons: {north: 10, south: 10, west: 10}, "
    domain, _ = load(tmp_path, SCHEMA.replace("sites: {", more) + "person: patient\n")
    assert domain.declared_persons == {"north": 10, "south": 10, "west": 10}


def test_a_site_without_rows_is_named(tmp_path):
    with pytest.raises(DataError, match="site 'east' has no training rows"):
        load(tmp_path, SCHEMA.replace("west: 20", "west: 20, east: 10"))


def test_the_public_pool_has_features_and_needs_no_more(tmp_path):
    (tmp_path / "pool.csv").write_text("smoker,age,bmi\nno,55,\nyes,80,20\n")
    domain, _ = load(tmp_path, SCHEMA + "public_pool: pool.csv\n")
    assert domain.public_pool().tolist() == [[0, 0, 1, 1, 0, 0], [1, -1, 0, 0, 0, 1]]
    assert domain.card.public_pool == "the examples of pool.csv, public by assumption"
    (tmp_path / "pool.csv").write_text("smoker,age\nno,55\n")
    with pytest.raises(DataError, match=r"pool\.csv: column 'bmi' is missing"):
        domain.public_pool()


def test_another_kind_of_data_is_sent_to_its_domain(tmp_path):
    text = SCHEMA[: SCHEMA.index("features:")] + "text: {column: note}\n"
    with pytest.raises(ConfigurationError, match="describes text: use domain=text"):
        OwnTable(write(tmp_path, text))


CELL = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), max_size=8),
    st.sampled_from(["", "no", "nan", "-inf", "1e999", "18", "110", "10.0", " 20", "2e1", "True"]),
    st.floats().map(str),
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    return read_schema(Path(write(tmp_path_factory.mktemp("schema"))))


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4))
def test_whatever_cells_hold_features_are_bounded_or_the_cell_is_named(schema, cells):
    table = pd.DataFrame(cells, columns=["age", "bmi", "smoker"], dtype=object)
    table = table.assign(clinic="north", outcome="ill")
    said = []
    # The ends of the valid ranges, scaled: 110 is 55 beyond 55, of 25; 80 is 52.5 beyond, of 7.5.
    bound = np.array([55 / 25, 52.5 / 7.5, 1, 1, 1, 1])
    whole = Reader(schema, lambda *_: Rows("t.csv", table)).whole("t.csv", said.append)
    features = whole.examples.features.numpy()
    assert len(features) == len(cells)
    inside = np.abs(features) <= bound * (1 + 2.0**-23)
    if not said:
        assert inside.all()
    assert (inside | np.isnan(features)).all()
    for problem in said:
        assert re.match(r"t\.csv: row \d+, column '(age|bmi|smoker)': value ", problem)

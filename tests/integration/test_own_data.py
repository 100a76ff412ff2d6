"""Your own data as its page has it: every block is run in order, as a new user would."""

import json
import re
import shlex
from pathlib import Path

import pytest

from client import domain_command
from tacit.domains.own.schema_reading import read_schema

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
FIRST = dict(reversed(BLOCKS))
QUICK = ["training.rounds=4"]
"""Added to runs: what they say holds for any number of rounds."""


@pytest.fixture
def clinics(tmp_path, monkeypatch):
    """The page's table, in the folder that commands are called in."""
    monkeypatch.chdir(tmp_path)
    exec(compile(FIRST["python"], "your-own-data.md", "exec"), {})  # noqa: S102
    return tmp_path


def domain(command, line):
    return command(*shlex.split(line)[1:], main=domain_command._main)


def test_from_a_file_to_a_finished_private_run(clinics, command):
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    init, check, run, own, dealt = lines
    assert domain(command, init).code == 0
    draft = Path("clinics.yaml").read_text()
    assert domain(command, check).code == 2  # nothing is filled in yet

    # What the page fills in has the draft's columns and parts.
    Path("clinics.yaml").write_text(FIRST["yaml"])
    filled = read_schema(Path("clinics.yaml"))
    for key in (*filled.features, filled.about.person, filled.sites.column, filled.target.column):
        assert key in draft
    ended = domain(command, check)
    assert (ended.code, ended.err) == (0, "")
    assert "tacit-simulate domain=table domain.schema=clinics.yaml" in ended.out

    ended = command(*shlex.split(run)[1:], *QUICK)
    assert ended.code == 0, ended.err
    results = json.loads(Path("clinics/results.json").read_text())
    assert results["domain"]["title"] == "Three clinics"
    (guarantee,) = results["privacy"]["guarantees"]
    assert sorted(guarantee["sites"]) == ["north", "south", "west"]
    assert all(0 < site["epsilon"] <= 1 for site in guarantee["sites"].values())
    by_majority = results["evaluation"]["mean_of_sites"]
    assert by_majority > 0.6

    persons = [*shlex.split(run)[1:-1], "privacy.unit=person", "run.dir=persons"]
    ended = command(*persons, *QUICK)
    assert ended.code == 0, ended.err

    (text,) = [text for kind, text in BLOCKS if kind == "yaml" and "defaults: [table]" in text]
    Path("own/domain").mkdir(parents=True)
    Path("own/domain/clinics.yaml").write_text(text)
    ended = command(*shlex.split(own)[1:], *QUICK)
    assert ended.code == 0, ended.err
    site = json.loads(Path("mine/results.json").read_text())["privacy"]["guarantees"][0]["sites"]
    assert site["north"]["epsilon_budget"] == 3.0
    assert site["north"]["clipping_norm"] == 0.25

    ended = command(*shlex.split(dealt)[1:], *QUICK, "compare=false")
    assert ended.code == 0, ended.err
    assert len(json.loads(Path("dealt/results.json").read_text())["evaluation"]["sites"]) == 6


def test_every_schema_file_of_the_page_can_be_read(tmp_path):
    schemas = [text for kind, text in BLOCKS if kind == "yaml" and "target:" in text]
    assert len(schemas) == 4
    for text in schemas:
        (tmp_path / "s.yaml").write_text(text)
        read_schema(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{north: ", "{nort: ", ("row 2, column 'clinic': value 'north'", "declared_sizes")),
        ("[18, 110]", "[30, 80]", ("clinics.csv: row 2, column 'age': value '86'", "features.age")),
        ("features:", "feature:", ("feature: there is no such key", "'features'")),
    ],
)
def test_bad_input_is_named_and_costs_nothing(clinics, command, old, new, says):
    assert old in FIRST["yaml"]
    Path("clinics.yaml").write_text(FIRST["yaml"].replace(old, new))
    ended = command("domain=table", "domain.schema=clinics.yaml", "run.dir=run")
    assert ended.code == 2
    for part in says:
        assert part in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("run").exists()

"""tacit-ledger on the one ledger of a simulation whose sites trained together."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from client import ledger_command
from simulations.command import _main as simulate
from tacit.errors import ExitCode
from tacit.privacy.cohort_book import FILE
from tacit.runs.directory import LEDGER

WORDS = (
    "domain=digits",
    "domain.partition.sites=12",
    "domain.partition.rows=30",
    "training.cohort=5",
    "training.rounds=3",
    "training.batch_size=full",
    "training.local_steps=2",
    "privacy.noise_seed=system",
)
SHARES = 15
"""Five sites in each of three rounds."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that is only read."""
    path = tmp_path_factory.mktemp("together") / "run"
    assert simulate([*WORDS, f"run.dir={path}"]) == 0
    return path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture
def ledger(run):
    return run / LEDGER / FILE


@pytest.fixture
def ledger_words(command):
    return lambda *words: command(*words, main=ledger_command._main)


def change(ledger, *statements):
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        for trigger in ("rows_never_change", "rows_never_go", "rows_only_follow"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            database.execute(statement)


def contents(folder):
    """All that is on disk but the index that SQLite shares in memory, with readers' marks."""
    return {
        file: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith("-shm")
    }


def spenders(run):
    """What results.json says of the sites that were charged."""
    results = json.loads((run / "results.json").read_text())
    (guarantee,) = results["privacy"]["guarantees"]
    return guarantee["sites"]


def head_of(ledger):
    return ledger.with_name(f"{ledger.name}.head")


def test_a_run_its_folder_and_its_file_name_the_same_ledger(ledger_words, run, ledger):
    before = contents(run)
    for named in (run, run / LEDGER, ledger):
        ended = ledger_words("verify", named)
        assert ended.code == 0
        assert f"{ledger} is whole" in ended.out
        assert json.loads(head_of(ledger).read_text())["head"] in ended.out
    for words in (["show", run], ["show", run, "--json"], ["export", run, run.parent / "x"]):
        assert ledger_words(*words).code == 0
    assert contents(run) == before


def test_show_says_how_it_spreads_and_who_is_dearest(ledger_words, run, ledger):
    shown = ledger_words("show", run)
    assert shown.code == 0
    assert "simulation digits" in shown.out
    assert f"{head_of(ledger)} agrees" in shown.out
    assert f"12 sites, of which {len(spenders(run))} were charged" in shown.out
    (steps,) = re.findall(r"^steps +(.*)$", shown.out, re.MULTILINE)
    assert steps.split()[-1] == str(max(site["steps"] for site in spenders(run).values()))
    assert re.search(r"^dearest sites +rounds +steps", shown.out, re.MULTILINE)
    assert len(re.findall(r"^user-\d{6} +\d +\d +\d", shown.out, re.MULTILINE)) == 10


def test_show_in_json_and_csv_says_the_same(ledger_words, run, ledger):
    shown = json.loads(ledger_words("show", run, "--json").out)
    lines = list(csv.DictReader(io.StringIO(ledger_words("show", run, "--csv").out)))
    assert shown["sites"] == len(lines) == 12
    assert sum(int(line["rounds"]) for line in lines) == SHARES
    assert shown["epsilon"]["most"] == max(float(line["epsilon"]) for line in lines)
    assert shown["dearest"][0]["epsilon"] == shown["epsilon"]["most"]
    assert shown["places"]["ledger"] == str(ledger)
    spent = {line["site"]: float(line["epsilon"]) for line in lines if int(line["steps"])}
    assert spent == {site: found["epsilon"] for site, found in spenders(run).items()}


def test_one_site_is_shown_as_from_a_ledger_of_its_own(ledger_words, run):
    shown = json.loads(ledger_words("show", run, "--site", "user-000003", "--json").out)
    assert shown["format"] == "tacit-ledger-summary/1"
    assert shown["data_set"] == "digits/user-000003"
    lines = list(csv.DictReader(io.StringIO(ledger_words("show", run, "--csv").out)))
    (line,) = [line for line in lines if line.pop("site") == "user-000003"]
    assert line == {key: str(value) for key, value in shown["runs"][0].items()}
    (own,) = csv.DictReader(
        io.StringIO(ledger_words("show", run, "--site", "user-000003", "--csv").out)
    )
    assert own == line
    screen = ledger_words("show", run, "--site", "user-000003").out
    assert "data set digits/user-000003" in screen
    assert "of this site: 1 opened-together" in screen
    assert f"ε = {float(line['epsilon']):.4g} by PLD" in screen


def test_what_cannot_be_meant_is_one_line_and_exit_code_2(ledger_words, run, ledger, tmp_path):
    (tmp_path / "empty").mkdir()
    for words, said in (
        (["show", run, "--site", "user-3"], "names no site 'user-3'; it names 12, such as user-0"),
        (["show", tmp_path / "empty"], "say --data-set NAME"),
        (["backup", run, tmp_path / "copy"], "belongs to its run: copy the run's whole folder"),
        (["move", ledger, tmp_path / "there"], "belongs to its run: move the run's whole folder"),
    ):
        ended = ledger_words(*words)
        assert ended.code == ExitCode.BAD_INPUT
        assert said in ended.err
        assert ended.err.count("\n") == 1
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "there").exists()


def test_sites_with_a_ledger_each_are_named_by_file(ledger_words, tmp_path):
    run = tmp_path / "run"
    words = ("domain.partition.sites=2", "training.cohort=all", "training.rounds=1", "engine=loop")
    assert simulate([*WORDS, *words, f"run.dir={run}"]) == 0
    ended = ledger_words("show", run)
    assert ended.code == ExitCode.BAD_INPUT
    assert "a ledger each" in ended.err
    (named,) = re.findall(r"such as (\S+)", ended.err)
    assert ledger_words("show", named).code == 0
    ended = ledger_words("show", named, "--site", "user-000000")
    assert ended.code == ExitCode.BAD_INPUT
    assert "the ledger of one data set" in ended.err


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE rows SET body = replace(body, 'user-0', 'user-1') WHERE number = 3", "row 3"),
        ("DELETE FROM rows WHERE number = 3", "row 3 is missing"),
        ("DELETE FROM rows WHERE number > 4", "4 rows and .* says .*cut off"),
    ],
)
def test_a_changed_or_cut_ledger_is_found(ledger_words, run, ledger, statement, said):
    change(ledger, statement)
    ended = ledger_words("verify", run)
    assert ended.code == ExitCode.REFUSED
    assert re.search(said, ended.err)
    assert ended.err.count("\n") == 1


def test_an_old_copy_and_a_lost_ledger_are_found(ledger_words, run, ledger, tmp_path):
    # The head as if a round more had been charged.
    head = json.loads(head_of(ledger).read_text())
    head_of(ledger).write_text(json.dumps({**head, "count": head["count"] + 1}))
    ended = ledger_words("verify", run)
    assert ended.code == ExitCode.REFUSED
    assert "an old copy was put back" in ended.err
    shown = ledger_words("show", run)
    assert shown.code == 0
    assert "an old copy was put back" in shown.out
    # A copy elsewhere is held against the run's own second place.
    shutil.copy(ledger, tmp_path / FILE)
    ended = ledger_words("verify", tmp_path / FILE, "--heads", ledger.parent)
    assert ended.code == ExitCode.REFUSED
    ledger.unlink()
    for word in ("verify", "show"):
        assert ledger_words(word, run).code == ExitCode.REFUSED


def test_a_receipt_is_the_third_place(ledger_words, run, ledger, tmp_path):
    receipt = tmp_path / "receipt.json"
    head = json.loads(head_of(ledger).read_text())
    receipt.write_text(json.dumps({"count": head["count"], "head": head["head"]}))
    assert ledger_words("verify", run, "--receipt", receipt).code == 0
    receipt.write_text(json.dumps({"count": head["count"], "head": "0" * 64}))
    assert ledger_words("verify", run, "--receipt", receipt).code == ExitCode.REFUSED


def test_an_export_is_checked_as_documented(ledger_words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ledger_words("export", run, "ledger.json").out
    content = (tmp_path / "ledger.json").read_bytes()
    assert said == f"{hashlib.sha256(content).hexdigest()}  ledger.json\n"
    lines = ledger_command.__doc__.split("keep::")[1]
    imports = "import hashlib, json\nfrom pathlib import Path\n"
    check = [sys.executable, "-c", imports + "\n".join(line[4:] for line in lines.splitlines())]
    assert subprocess.run(check, check=False).returncode == 0


HOLDER = """
import sys
from pathlib import Path
from tacit.privacy.cohort_view import read_any
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.book import Fixed
path = Path(sys.argv[1])
with read_any(path) as view:
    fixed = Fixed(view.data_set, view.unit, view.relation, view.delta)
with CohortLedger.open(path, fixed) as ledger, ledger._chain.transaction():
    print("holds the ledger alone", flush=True)
    sys.stdin.readline()
"""


def test_every_word_works_while_a_simulation_writes(process, run, ledger):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ledger],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert holder.stdout.readline() == "holds the ledger alone\n"
        before = contents(ledger.parent)
        for words in (["show", run], ["verify", run], ["export", run, run.parent / "x.json"]):
            ended = process("tacit-ledger", *words)
            assert ended.code == 0, ended.err
        assert contents(ledger.parent) == before
    finally:
        holder.communicate("\n", timeout=60)

"""tacit-ledger as an officer meets it, also while the site's own process writes."""

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
import time
from contextlib import closing
from dataclasses import replace

import pytest
import yaml
from dp_accounting import get_epsilon_gaussian

from client import ledger_command
from client.ledger_home import open_ledger, place_of
from tacit.errors import ExitCode
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.privacy.policy import Plan, Policy

NAME = "Ward 3"
ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=10, clipping_norm=1.0)
PLAN = Plan(run="spring", event=ROUND, rounds=10, epsilon=4.4, delta=1e-5)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=8.0, delta_per_run=1e-5)
SPENT = get_epsilon_gaussian(10 / 24**0.5, 1e-5)
"""What `site` has spent: 24 full-batch steps at σ = 10, which are one Gaussian."""
FIXED = {"unit": Unit.RECORD, "relation": Relation.ADD_OR_REMOVE_ONE, "delta": 1e-5}


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def site(tmp_path, state):
    """A site.yaml whose ledger has two runs, one of them closed."""
    path = tmp_path / "site" / "site.yaml"
    path.parent.mkdir()
    limits = {"lifetime_epsilon": 8.0, "lifetime_delta": 1e-5}
    path.write_text(yaml.safe_dump({"data_set": NAME, "ledger": "./kept", "limits": limits}))
    with open_ledger(path.parent / "kept", NAME, **FIXED) as ledger:
        ledger.reserve(replace(PLAN, rounds=4), POLICY)
        ledger.store_reply(ledger.charge("spring", "r1", ROUND, POLICY), [b"reply"])
        ledger.close_run("spring")
        ledger.reserve(replace(PLAN, run="summer", rounds=5), POLICY)
        ledger.settle(ledger.charge("summer", "r1", ROUND, POLICY), 4)
        ledger.store_reply(ledger.charge("summer", "r1", ROUND, POLICY), [b"reply"])
    return path


@pytest.fixture
def place(site):
    return place_of(site.parent / "kept", NAME)


@pytest.fixture
def ledger_words(command):
    return lambda *words: command(*words, main=ledger_command._main)


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for trigger in ("rows_never_change", "rows_never_go", "rows_only_follow"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            database.execute(statement)


def code_of(words):
    return subprocess.run(words, capture_output=True, check=False).returncode


def charge(site, request):
    with open_ledger(site.parent / "kept", NAME, **FIXED) as ledger:
        ledger.charge("summer", request, ROUND, POLICY)


# --- help --------------------------------------------------------------------------------------


def test_help_takes_less_than_a_second_and_loads_nothing_heavy(process):
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        ended = process("tacit-ledger", "--help")
        best = min(best, time.perf_counter() - started)
    assert ended.code == 0
    for word in ("show", "verify", "export", "backup", "move"):
        assert f"  {word} " in ended.out
    assert best < 1
    script = (
        "import sys\nfrom client.ledger_command import main\nsys.argv[1:] = ['show', '--help']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    loaded = set(process("python", "-c", script).err.split())
    assert "client.ledger_command" in loaded
    assert not loaded & {"torch", "flwr", "dp_accounting", "scipy", "numpy", "pandas", "yaml"}


@pytest.mark.parametrize(
    "words", [[], ["bogus"], ["show"], ["show", "x", "--bogus"], ["show", "x.sqlite"]]
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(ledger_words, state, words):
    ended = ledger_words(*words)
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


# --- show --------------------------------------------------------------------------------------


def test_show_is_a_table_with_both_epsilons_and_what_is_left(ledger_words, site, place):
    ended = ledger_words("show", site)
    assert ended.code == 0
    assert f"{place.head} agrees" in ended.out
    rows = {line.split()[0]: line.split() for line in ended.out.splitlines() if " of " in line}
    assert rows["spring"][1] == "closed"
    assert rows["spring"][6:9] == ["1", "of", "4"]
    assert rows["summer"][1] == "open"
    assert rows["summer"][6:9] == ["2", "of", "5"]
    assert f"ε = {SPENT:.4g} by PLD" in ended.out
    assert "by Rényi DP of order 4" in ended.out
    # 60 steps are charged or reserved: 4 · 60/200.
    assert "of which 1.2 are spent or reserved" in ended.out
    assert re.search(r"left: about ε = \d\.\d+ for one more run", ended.out)


def test_show_in_json_and_csv_says_the_same(ledger_words, site, place):
    shown = json.loads(ledger_words("show", site, "--json").out)
    assert shown["data_set"] == NAME
    assert shown["standing"]["pld"] == pytest.approx(SPENT)
    assert shown["standing"]["committed"] == pytest.approx(1.2)
    assert shown["places"] == {"ledger": str(place.ledger), "head": str(place.head), "trouble": []}
    rows = list(csv.DictReader(io.StringIO(ledger_words("show", site, "--csv").out)))
    assert [row["run"] for row in rows] == ["spring", "summer"]
    for row, run in zip(rows, shown["runs"], strict=True):
        assert row == {key: str(value) for key, value in run.items()}
    assert ledger_words("show", site, "--json", "--csv").code == ExitCode.BAD_INPUT


def test_a_ledger_is_found_by_site_by_folder_and_by_file(ledger_words, site, place):
    texts = {
        ledger_words("show", *words, "--json").out
        for words in (
            [site],
            [place.ledger],
            [place.ledger.parent, "--data-set", NAME],
            [place.ledger, "--heads", place.head.parent],
        )
    }
    found = [json.loads(text) for text in texts]
    assert {each["receipt"]["head"] for each in found} == {found[0]["receipt"]["head"]}
    assert {each["places"]["head"] for each in found} == {str(place.head)}
    assert ledger_words("show", place.ledger.parent).code == ExitCode.BAD_INPUT
    assert ledger_words("show", site, "--data-set", NAME).code == ExitCode.BAD_INPUT
    assert ledger_words("show", place.ledger.parent, "--data-set", "x").code == ExitCode.BAD_INPUT


def test_the_name_of_a_run_steers_no_terminal(ledger_words, site):
    with open_ledger(site.parent / "kept", NAME, **FIXED) as ledger:
        ledger.reserve(replace(PLAN, run="\x1b[2J[red]x", rounds=1), POLICY)
    shown = ledger_words("show", site).out
    assert "\x1b" not in shown
    assert "?[2J[red]x" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_set: x\nlimits: {}\n", "limits.lifetime_epsilon"),
        ("data_set: x\nlimits: {lifetime_epsilon: 1, lifetime_delta: 1e-5}\n", "1.0e-5"),
        ("data_set: x\n", "limits"),
        ("limits: {}\n", "data_set"),
        ("[]\n", "data_set"),
        ("a: b: c\n", "no YAML"),
        ("data_set: ' '\nlimits: {lifetime_epsilon: 1, lifetime_delta: 1.0e-5}\n", "has no name"),
        ("data_set: x\nlimits: {lifetime_epsilon: 1, lifetime_delta: 1.0e-5}\n", "nothing was"),
    ],
)
def test_a_site_without_what_is_needed_is_named(ledger_words, tmp_path, state, text, said):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    for word in ("show", "verify"):
        ended = ledger_words(word, path)
        assert ended.code == ExitCode.BAD_INPUT
        assert said in ended.err
        assert ended.err.count("\n") == 1


def test_another_delta_in_site_yaml_is_said(ledger_words, site):
    site.write_text(site.read_text().replace("1.0e-05", "1.0e-06"))
    shown = ledger_words("show", site)
    assert shown.code == 0
    assert "limits.lifetime_delta=1e-06 of the site is not the ledger's δ" in shown.out


# --- verify ------------------------------------------------------------------------------------


def test_a_whole_ledger_is_whole(ledger_words, site, place):
    ended = ledger_words("verify", site)
    assert ended.code == 0
    head = json.loads(place.head.read_text())
    assert f"is whole: {head['count']} rows" in ended.out
    assert head["head"] in ended.out


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE rows SET body = replace(body, '10', '11') WHERE number = 3"], "row 3"),
        (["DELETE FROM rows WHERE number = 5"], "row 5 is missing"),
        (["DELETE FROM rows WHERE number > 7"], "7 rows and .* says 10.*cut off"),
        (["UPDATE replies SET reply = x'00'"], "reply kept for run 'summer'"),
    ],
)
def test_a_changed_or_missing_row_and_a_cut_tail_are_named(
    ledger_words, site, place, statements, said
):
    change(place.ledger, *statements)
    ended = ledger_words("verify", site)
    assert ended.code == ExitCode.REFUSED
    assert re.search(said, ended.err)
    assert ended.err.count("\n") == 1


def test_an_old_copy_put_back_and_a_removed_ledger_are_named(ledger_words, site, place):
    copy = place.ledger.with_name("copy")
    shutil.copy(place.ledger, copy)
    charge(site, "r2")
    shutil.copy(copy, place.ledger)
    ended = ledger_words("verify", site)
    assert ended.code == ExitCode.REFUSED
    assert "an old copy was put back" in ended.err
    # It can still be read, and says so.
    shown = ledger_words("show", site)
    assert shown.code == 0
    assert "an old copy was put back" in shown.out
    place.ledger.unlink()
    for word in ("verify", "show"):
        ended = ledger_words(word, site)
        assert ended.code == ExitCode.REFUSED
        assert "is not there, but" in ended.err


def test_a_receipt_of_the_coordinator_is_the_third_place(ledger_words, site, place, tmp_path):
    receipt = tmp_path / "receipt.json"
    head = json.loads(place.head.read_text())
    receipt.write_text(json.dumps({"count": head["count"], "head": head["head"]}))
    assert ledger_words("verify", site, "--receipt", receipt).code == 0
    kept = {file: file.read_bytes() for file in (place.ledger, place.head)}
    charge(site, "r2")
    assert ledger_words("verify", site, "--receipt", receipt).code == 0
    late = json.loads(place.head.read_text())
    for file, content in kept.items():
        file.write_bytes(content)
    assert ledger_words("verify", site).code == 0
    for said, fields in (
        ("10 rows and .*receipt.json says 11", {"count": late["count"], "head": late["head"]}),
        ("row 10 is not the one that .*receipt.json names", {"count": 10, "head": late["head"]}),
    ):
        receipt.write_text(json.dumps(fields))
        ended = ledger_words("verify", site, "--receipt", receipt)
        assert ended.code == ExitCode.REFUSED
        assert re.search(said, ended.err)
    for text in ("{}", "[]", "x", '{"count": "many", "head": ""}'):
        receipt.write_text(text)
        ended = ledger_words("verify", site, "--receipt", receipt)
        assert ended.code == ExitCode.BAD_INPUT
        assert "is no receipt" in ended.err


# --- copies ------------------------------------------------------------------------------------


def test_an_export_is_checked_as_documented_and_shows_any_change(
    ledger_words, site, place, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    said = ledger_words("export", site, "ledger.json").out
    content = (tmp_path / "ledger.json").read_bytes()
    assert said == f"{hashlib.sha256(content).hexdigest()}  ledger.json\n"
    assert (tmp_path / "ledger.json").stat().st_mode & 0o777 == 0o600
    exported = json.loads(content)
    head = json.loads(place.head.read_text())
    assert (exported["count"], exported["head"]) == (head["count"], head["head"])
    assert exported["rows"][-1]["hash"] == head["head"]
    # The lines that the module's text gives to whoever checks it.
    lines = ledger_command.__doc__.split("keep::")[1]
    imports = "import hashlib, json\nfrom pathlib import Path\n"
    check = [sys.executable, "-c", imports + "\n".join(line[4:] for line in lines.splitlines())]
    assert code_of(check) == 0
    exported["rows"][2]["body"] = exported["rows"][2]["body"].replace("10", "11")
    (tmp_path / "ledger.json").write_text(json.dumps(exported))
    assert code_of(check) == 1
    ended = ledger_words("export", site, "ledger.json")
    assert ended.code == ExitCode.BAD_INPUT
    assert "nothing is written over" in ended.err


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_checks_an_export(process, site, tmp_path, monkeypatch):
    said = process("tacit-ledger", "export", site, "ledger.json")
    (tmp_path / "sums").write_text(said.out)
    monkeypatch.chdir(tmp_path)
    assert code_of(["sha256sum", "-c", "sums"]) == 0
    with (tmp_path / "ledger.json").open("ab") as file:
        file.write(b" ")
    assert code_of(["sha256sum", "-c", "sums"]) == 1


def test_a_backup_is_read_and_is_an_old_copy_once_anything_was_charged(
    ledger_words, site, tmp_path
):
    copy = tmp_path / "backup.sqlite"
    assert ledger_words("backup", site, copy).code == 0
    assert ledger_words("verify", copy).code == 0
    again = ledger_words("backup", site, copy)
    assert again.code == ExitCode.BAD_INPUT
    charge(site, "r2")
    assert ledger_words("verify", copy).code == ExitCode.REFUSED
    shown = ledger_words("show", copy)
    assert shown.code == 0
    assert "an old copy was put back" in shown.out
    assert "summer" in shown.out


def test_a_moved_ledger_goes_on_in_its_new_folder(ledger_words, site, place, tmp_path):
    new = tmp_path / "new disk"
    moved = ledger_words("move", site, new)
    assert moved.code == 0
    assert f"ledger: {new}" in moved.out
    for word in ("show", "verify", "move"):
        ended = ledger_words(word, site, *([tmp_path / "newer"] if word == "move" else []))
        assert ended.code == ExitCode.REFUSED
        assert f"was moved to {new}" in ended.err
    assert not (tmp_path / "newer").exists()
    site.write_text(site.read_text().replace("./kept", str(new)))
    assert ledger_words("verify", site).code == 0
    shown = json.loads(ledger_words("show", site, "--json").out)
    assert shown["receipt"]["count"] == 10


# --- beside the site's own process -------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from client.ledger_home import open_ledger
from test_ledger_command import FIXED, NAME, POLICY, ROUND
from tacit.errors import LedgerError
with open_ledger(Path(sys.argv[1]), NAME, **FIXED) as ledger:
    with ledger._chain.transaction():
        print("holds the ledger alone", flush=True)
        sys.stdin.readline()
    print("open", flush=True)
    sys.stdin.readline()
    try:
        ledger.charge("summer", "r9", ROUND, POLICY)
    except LedgerError as error:
        print(error, flush=True)
"""


def test_every_word_works_while_the_site_writes_and_a_move_stops_it(
    process, site, place, tmp_path, state
):
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place.ledger.parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        assert holder.stdout.readline() == "holds the ledger alone\n"
        before = contents(place)
        for words in (
            ["show", site],
            ["verify", site],
            ["export", site, "x.json"],
            ["backup", site, "x.sqlite"],
        ):
            ended = process("tacit-ledger", *words)
            assert ended.code == 0, ended.err
        assert contents(place) == before
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "open\n"
        assert process("tacit-ledger", "move", site, tmp_path / "new").code == 0
        said, _ = holder.communicate("\n", timeout=60)
        assert "was moved to" in said
    finally:
        holder.kill()
        holder.wait()


def contents(place):
    """All that is on disk but the index that SQLite shares in memory, with readers' marks."""
    files = [*place.ledger.parent.iterdir(), *place.head.parent.iterdir()]
    return {file: file.read_bytes() for file in files if not file.name.endswith("-shm")}

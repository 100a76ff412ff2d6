"""The ledger of a named data set: found again, never begun twice, moved as a whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from home_example import NAME, PLAN, POLICY, ROUND, open_ledger
from hypothesis import given, settings
from hypothesis import strategies as st

from client import ledger_home
from client.ledger_home import Place, default_heads, file_name, head_of, move_ledger, place_of
from tacit.errors import ConfigurationError, LedgerError
from tacit.privacy.events import Relation, Unit


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "ledger"


@pytest.fixture
def heads(tmp_path):
    return tmp_path / "state" / "heads"


# --- names -------------------------------------------------------------------------------------


def test_a_files_name_can_be_read_and_never_changes():
    """An old ledger must be found for ever: SHA-256 of 'ward 3 — herz', by sha256sum."""
    assert file_name(NAME) == "ward-3-herz-b94997734bf2"


@pytest.mark.parametrize(
    "same", ["ward 3 — herz", " Ward  3 —\tHerz\n", "WARD 3 — HERZ", "Ward\u00a03 — Herz"]
)
def test_a_name_typed_a_little_differently_has_the_same_file_and_is_refused(folder, heads, same):
    assert file_name(same) == file_name(NAME)
    open_ledger(folder, heads).close()
    with pytest.raises(ConfigurationError, match=r"data_set='Ward 3 — Herz', not"):
        open_ledger(folder, heads, same)


def test_a_letter_in_two_encodings_is_one_letter():
    assert file_name("Sa\u0301nchez") == file_name("S\u00e1nchez")


def test_other_names_have_other_files():
    names = ["ward 3", "ward-3", "ward_3", "ward 33", "病院", "医院", "../ward 3", "/", "😀"]
    assert len({file_name(name) for name in names}) == len(names)


@settings(derandomize=True)
@given(st.text())
def test_any_name_is_a_file_beside_others(name):
    if not name.split():
        with pytest.raises(ConfigurationError, match="has no name"):
            file_name(name)
        return
    try:
        found = file_name(name)
    except ConfigurationError:
        # Letters that stand for spaces alone.
        return
    assert found == Path(found).name
    assert found.isascii()
    assert len(found) <= 53
    assert found[-12:].isalnum()
    assert file_name(name.upper().lower()) == file_name(name.upper())


# --- places ------------------------------------------------------------------------------------


def test_the_second_place_is_where_the_system_keeps_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_heads() == tmp_path / "tacit" / "heads"
    for ignored in ("", "state", "./state"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert default_heads() == Path.home() / ".local" / "state" / "tacit" / "heads"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_heads() == Path.home() / ".local" / "state" / "tacit" / "heads"


@pytest.mark.parametrize(
    ("ledger", "head"), [("x", "x"), ("x", "x/heads"), ("x/ledger", "x"), ("x/../y", "y/heads")]
)
def test_the_two_places_lie_apart(tmp_path, ledger, head):
    with pytest.raises(ConfigurationError, match="lie apart"):
        open_ledger(tmp_path / ledger, tmp_path / head)
    assert list(tmp_path.iterdir()) == []


def test_the_head_of_a_file_lies_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file, name = tmp_path / "ward.sqlite", file_name(NAME)
    assert head_of(file, NAME) == tmp_path / "state" / "tacit" / "heads" / f"{name}.head"
    beside = tmp_path / "ward.sqlite.head"
    beside.touch()
    assert head_of(file, NAME) == beside
    assert head_of(file, NAME, tmp_path / "heads") == tmp_path / "heads" / f"{name}.head"


# --- opening -----------------------------------------------------------------------------------


def test_a_ledger_is_begun_for_its_owner_alone_and_found_again(folder, heads):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
        ledger.charge("a", "r1", ROUND, POLICY)
        for file in folder.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600
    place = place_of(folder, NAME, heads)
    assert folder.stat().st_mode & 0o777 == heads.stat().st_mode & 0o777 == 0o700
    assert json.loads(place.head.read_text())["count"] == 3
    with open_ledger(folder, heads) as ledger:
        assert ledger.spent_events() == [ROUND]


def test_each_data_set_has_its_own(folder, heads):
    with open_ledger(folder, heads) as one, open_ledger(folder, heads, "ward 4") as other:
        one.reserve(PLAN, POLICY)
        other.reserve(PLAN, POLICY)
    assert len(list(folder.glob("*.sqlite"))) == len(list(heads.glob("*.head"))) == 2


def test_a_ledger_that_is_gone_is_not_begun_anew(folder, heads, tmp_path):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
    kept = tmp_path / "kept"
    shutil.move(folder, kept)
    for elsewhere in (folder, tmp_path / "another folder"):
        with pytest.raises(LedgerError, match=r"is not there, but .*\.head says that it was begun"):
            open_ledger(elsewhere, heads)
        assert not elsewhere.exists()
    shutil.move(kept, folder)
    open_ledger(folder, heads).close()


def test_planted_without_that_check_the_head_still_stops_it(folder, heads, tmp_path, monkeypatch):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
    monkeypatch.setattr(ledger_home, "check_there", lambda place: None)
    with pytest.raises(LedgerError, match=r"has 0 rows and .* says 2"):
        open_ledger(tmp_path / "another folder", heads)


def test_an_old_copy_of_the_whole_folder_is_found(folder, heads, tmp_path):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
    shutil.copytree(folder, tmp_path / "saved")
    with open_ledger(folder, heads) as ledger:
        ledger.charge("a", "r1", ROUND, POLICY)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "saved", folder)
    with pytest.raises(LedgerError, match="an old copy was put back"):
        open_ledger(folder, heads)
    place_of(folder, NAME, heads).head.unlink()
    with pytest.raises(LedgerError, match="missing"):
        open_ledger(folder, heads)


def test_both_places_put_back_are_found_by_the_coordinators_receipt(folder, heads, tmp_path):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
    shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-saved"))
    with open_ledger(folder, heads) as ledger:
        ledger.charge("a", "r1", ROUND, POLICY)
        receipt = ledger.receipt()
    shutil.rmtree(tmp_path)
    shutil.copytree(tmp_path.with_name(tmp_path.name + "-saved"), tmp_path)
    with (
        open_ledger(folder, heads) as ledger,
        pytest.raises(LedgerError, match="2 rows and the coordinator says 3"),
    ):
        ledger.check_receipt(receipt, "the coordinator")


# --- moving ------------------------------------------------------------------------------------


def test_a_ledger_moves_and_the_old_folder_refuses(folder, heads, tmp_path):
    with open_ledger(folder, heads) as ledger:
        ledger.reserve(PLAN, POLICY)
    old, new = place_of(folder, NAME, heads), tmp_path / "new"
    assert move_ledger(old, new) == place_of(new, NAME, heads)
    with pytest.raises(LedgerError, match="was moved to"):
        open_ledger(folder, heads)
    with pytest.raises(LedgerError, match="was moved to"):
        move_ledger(old, tmp_path / "newer")
    with open_ledger(new, heads) as ledger:
        ledger.charge("a", "r1", ROUND, POLICY)


def test_a_ledger_moves_into_no_folder_that_holds_its_head(folder, heads):
    open_ledger(folder, heads).close()
    with pytest.raises(ConfigurationError, match="lie apart"):
        move_ledger(place_of(folder, NAME, heads), heads / "ledger")
    open_ledger(folder, heads).close()


def test_a_head_beside_its_ledger_moves_too(tmp_path):
    old = Place(tmp_path / "old" / "x.sqlite", tmp_path / "old" / "x.sqlite.head")
    old.ledger.parent.mkdir()
    ledger_home.Ledger.open(
        old.ledger,
        data_set=NAME,
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=1e-5,
    ).close()
    moved = move_ledger(old, tmp_path / "new")
    assert moved.head.parent == moved.ledger.parent == tmp_path / "new"
    assert moved.head.exists()


# --- two processes -----------------------------------------------------------------------------

RACE = """
import sys
from dataclasses import replace
from pathlib import Path
from home_example import PLAN, POLICY, open_ledger
from tacit.errors import RefusedError
from tacit.privacy import accounting
folder, heads, run = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for turn in sys.stdin:
    with open_ledger(folder / turn.strip(), heads / turn.strip()) as ledger:
        try:
            ledger.reserve(replace(PLAN, run=run), POLICY)
            print("done", flush=True)
        except RefusedError as error:
            print(error.reason, flush=True)
"""


def test_two_processes_race_to_reserve_and_one_gets_the_budget(folder, heads):
    """Each plan alone costs ε = 4.4 of 5; they begin the ledger in the same moment, too."""
    paths = [str(Path(__file__).parent), *sys.path]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, folder, heads, run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        for run in ("left", "right")
    ]
    try:
        for turn in range(10):
            for racer in racers:
                racer.stdin.write(f"{turn}\n")
                racer.stdin.flush()
            said = sorted(racer.stdout.readline() for racer in racers)
            assert said == ["budget\n", "done\n"]
            with open_ledger(folder / str(turn), heads / str(turn)) as ledger:
                assert len(ledger.runs()) == 1
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()

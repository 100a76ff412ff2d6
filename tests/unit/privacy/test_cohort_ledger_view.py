"""Reading the ledger of many sites: each as from a ledger of its own, all added up."""

import json
import math
import sqlite3
from dataclasses import replace

import pytest
from dp_accounting import get_epsilon_gaussian
from ledger_example import (
    PLAN,
    POLICY,
    ROUND,
    SEEDED,
    TEST_DATA,
    fill,
    head_of,
    open_ledger,
    raw,
)

from tacit.errors import ConfigurationError, LedgerError
from tacit.privacy import ledger_file
from tacit.privacy.book import Fixed
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.cohort_summary import FORMAT, Quantiles, runs_of_sites, summarise_all
from tacit.privacy.cohort_view import CohortView, read_any
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger_page import Page
from tacit.privacy.ledger_summary import summarise
from tacit.privacy.ledger_view import LedgerView, read_ledger

FIXED = Fixed("wards", Unit.RECORD, Relation.ADD_OR_REMOVE_ONE, 1e-5)
SITES = ("east", "north", "south", "west")


@pytest.fixture
def shared(path):
    with CohortLedger.open(path, FIXED) as opened:
        yield opened


def spend(shared, charges=(3, 2, 1, 0), plan=PLAN, policy=POLICY):
    """Reserve at every site; the first one takes part most often."""
    pages = [Page(shared, site) for site in SITES]
    with shared.together():
        for page in pages:
            page.reserve(plan, policy)
    for number in range(max(charges)):
        with shared.together():
            for page, rounds in zip(pages, charges, strict=True):
                if number < rounds:
                    page.charge(plan.run, f"r{number}", ROUND, policy)
    return pages


def spent(steps):
    """Full-batch steps at σ = 10 are one Gaussian."""
    return get_epsilon_gaussian(10 / math.sqrt(steps), 1e-5)


def everything(folder):
    files = [file for file in folder.iterdir() if not file.name.endswith("-shm")]
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_either_ledger_is_opened_as_what_it_is(shared, path, tmp_path):
    with open_ledger(tmp_path / "own.sqlite") as own:
        fill(own)
    with read_any(tmp_path / "own.sqlite") as view:
        assert isinstance(view, LedgerView)
        assert view.rows()[-1].hash == view.receipt().head
    with read_any(path) as view:
        assert isinstance(view, CohortView)
        assert (view.data_set, view.delta) == ("wards", 1e-5)
    with pytest.raises(LedgerError, match="opened-together/1"):
        read_ledger(path)


def test_a_site_reads_as_from_a_ledger_of_its_own(shared, path, tmp_path):
    (page, *_) = spend(shared)
    page.settle(page.charge("a", "r9", ROUND, POLICY), 4)
    page.reserve(replace(PLAN, run="b", rounds=2), POLICY)
    page.close_run("b")
    with open_ledger(tmp_path / "own.sqlite") as own:
        own.reserve(PLAN, POLICY)
        for request in ("r0", "r1", "r2"):
            own.charge("a", request, ROUND, POLICY)
        own.settle(own.charge("a", "r9", ROUND, POLICY), 4)
        own.reserve(replace(PLAN, run="b", rounds=2), POLICY)
        own.close_run("b")
        expected = summarise(own)
    with read_any(path) as view:
        found = summarise(view.of("east"))
        rows = view.of("east").rows()
    assert found.standing == expected.standing
    assert (found.budget, found.room) == (expected.budget, expected.room)
    untimed = {"first": "", "last": ""}
    assert [replace(run, **untimed) for run in found.runs] == [
        replace(run, **untimed) for run in expected.runs
    ]
    assert found.data_set == "wards/east"
    assert found.receipt == shared.receipt()
    assert sum(found.rows_of_kind.values()) == sum(expected.rows_of_kind.values()) == len(rows)


def test_rows_of_others_are_not_a_sites(shared, path):
    spend(shared)
    with read_any(path) as view:
        assert summarise(view.of("west")).rows_of_kind == {
            "opened-together/1": 1,
            "reserved-together/1": 1,
        }
        assert summarise(view.of("west")).runs[0].epsilon == 0.0
        with pytest.raises(ConfigurationError, match=r"no site 'norht'; it names 4, such as north"):
            view.of("norht")


def test_all_are_added_up_and_the_dearest_named(shared, path):
    spend(shared)
    with read_any(path) as view:
        found = summarise_all(view)
    assert (found.sites, found.charged) == (4, 3)
    assert found.rows_of_kind == {
        "opened-together/1": 1,
        "reserved-together/1": 1,
        "charged-together/1": 3,
    }
    assert found.receipt == shared.receipt()
    assert found.rounds == Quantiles(0, 0, 1, 2, 3)
    assert found.steps == Quantiles(0, 0, 10, 20, 30)
    assert found.epsilon.most == pytest.approx(spent(30), rel=1e-6)
    assert found.epsilon.median == pytest.approx(spent(10), rel=1e-6)
    assert [cost.site for cost in found.dearest] == list(SITES)
    assert [(run.run, run.sites, run.charged, run.open) for run in found.runs] == [("a", 4, 3, 4)]
    values = json.loads(json.dumps(found.to_json_values(), allow_nan=False))
    assert values["format"] == FORMAT


def test_those_who_spent_the_same_are_not_ranked(shared, path, monkeypatch):
    spend(shared, (1, 1, 1, 1))
    with read_any(path) as view:
        assert summarise_all(view).dearest == []
    Page(shared, "north").charge("a", "r8", ROUND, POLICY)
    monkeypatch.setattr("tacit.privacy.cohort_summary.DEAREST", 2)
    with read_any(path) as view:
        found = summarise_all(view)
    assert [cost.site for cost in found.dearest] == ["north", "east"]
    assert found.as_dear == 2


def test_predictable_noise_is_infinite_and_ranked_by_steps(shared, path):
    spend(shared, plan=SEEDED, policy=TEST_DATA)
    with read_any(path) as view:
        found = summarise_all(view)
        (line,) = [run for site, run in runs_of_sites(view) if site == "north"]
    assert found.epsilon.most == line.epsilon == math.inf
    assert [cost.steps for cost in found.dearest] == [30, 20, 10, 0]
    assert found.to_json_values()["epsilon"]["most"] is None


def test_a_ledger_without_sites_is_shown(shared, path):
    with read_any(path) as view:
        found = summarise_all(view)
        assert list(runs_of_sites(view)) == []
        with pytest.raises(ConfigurationError, match="names 0"):
            view.of("north")
    assert (found.sites, found.rounds, found.runs, found.dearest) == (0, None, [], [])


def test_reading_waits_for_no_writer_and_writes_nothing(shared, path, monkeypatch):
    (page, *_) = spend(shared)
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.0)
    before = everything(path.parent)
    with shared._chain.transaction(), read_any(path) as view:
        view.verify()
        view.check_head()
        summarise_all(view)
        summarise(view.of("north"))
    assert everything(path.parent) == before
    with read_any(path) as view:
        page.charge("a", "r9", ROUND, POLICY)
        view.verify()
        view.check_head()
        assert view.receipt().count == 5
    shared.close()
    before = everything(path.parent)
    assert set(before) == {path.name, head_of(path).name}
    with read_any(path) as view:
        view.verify()
    assert everything(path.parent) == before


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE rows SET body = replace(body, 'north', 'south') WHERE number = 4", "row 4 or one"),
        ("DELETE FROM rows WHERE number = 4", "row 4 is missing"),
        ("DELETE FROM rows WHERE number > 3", "it has 3 rows and .*head says 5"),
        ("DELETE FROM rows", "it has 0 rows and .*head says 5"),
        ("INSERT INTO moved VALUES ('there')", "was moved to there"),
    ],
)
def test_what_was_done_to_the_rows_is_found(shared, path, statement, said):
    spend(shared)
    shared.close()
    with raw(path) as database:
        database.execute(statement)

    def look():
        with read_any(path) as view:
            view.check_head()

    with pytest.raises(LedgerError, match=said):
        look()


def test_a_row_that_could_not_have_come_about_is_found(shared, path):
    """A hand that can hash charges a site that reserved nothing."""
    spend(shared)
    with sqlite3.connect(path) as database:
        (body,) = database.execute("SELECT body FROM rows WHERE number = 3").fetchone()
    database.close()
    with shared._chain.transaction():
        shared._append(json.loads(body) | {"sites": ["nowhere"]})
    with pytest.raises(LedgerError, match="row 6 cannot stand"):
        read_any(path)

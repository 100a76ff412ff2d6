"""One ledger for many sites: each spends as it would from its own, and a cohort's rows are one."""

import json
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_example import EXACT, PLAN, POLICY, ROUND, TEST_DATA, head_of, open_ledger, refusal

from tacit.errors import LedgerError, RefusedError, TacitError
from tacit.privacy.book import Fixed
from tacit.privacy.chain import Receipt
from tacit.privacy.cohort_book import CHARGED
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger_page import Page
from tacit.privacy.policy import Plan, Reason

FIXED = Fixed("wards", Unit.RECORD, Relation.ADD_OR_REMOVE_ONE, 1e-5)
SITES = ("north", "south", "west")


@pytest.fixture
def shared(path):
    with CohortLedger.open(path, FIXED) as opened:
        yield opened


def rows_of(path):
    with closing(sqlite3.connect(path)) as database:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]


def reserved(shared, sites=SITES):
    pages = [Page(shared, site) for site in sites]
    with shared.together():
        for page in pages:
            page.reserve(PLAN, POLICY)
    return pages


def test_a_cohort_is_one_row_and_on_disk_when_it_ends(shared, path):
    pages = reserved(shared)
    with shared.together():
        charges = [page.charge("a", "r1", ROUND, POLICY) for page in pages]
        assert len(rows_of(path)) == 2
    opened, reservation, charged = rows_of(path)
    assert opened["kind"] == "opened-together/1"
    assert reservation["sites"] == charged["sites"] == list(SITES)
    assert {charge.number for charge in charges} == {3}
    assert [page.spent_events("a") for page in pages] == [[ROUND]] * 3
    with CohortLedger.open(path.parent / "copy.sqlite", FIXED) as other:
        assert other.sites() == []


def test_what_is_charged_outlives_the_process(shared, path):
    (north, *_) = reserved(shared)
    charge = north.charge("a", "r1", ROUND, POLICY)
    shared.close()
    with CohortLedger.open(path, FIXED) as again:
        assert again.sites() == sorted(SITES)
        assert [Page(again, site).spent_events("a") for site in SITES] == [[ROUND], [], []]
        assert again.receipt().count == 3
        # What had left when the process ended is not known.
        with pytest.raises(TacitError, match="settled or replied to"):
            Page(again, "north").settle(charge, 0)


def test_sites_with_other_plans_have_other_rows(shared, path):
    wide, narrow = replace(PLAN, rounds=9), PLAN
    with shared.together():
        for site, plan in zip(SITES, (wide, narrow, wide), strict=True):
            Page(shared, site).reserve(plan, POLICY)
    assert [row["sites"] for row in rows_of(path)[1:]] == [["north", "west"], ["south"]]


def test_one_refusal_leaves_the_others(shared, path):
    pages = reserved(shared, ("north", "south"))
    with shared.together():
        assert refusal(Page(shared, "west").charge, "a", "r", ROUND, POLICY) is Reason.NOT_RESERVED
        for page in pages:
            page.charge("a", "r", ROUND, POLICY)
        west = Page(shared, "west")
        dear = replace(POLICY, least_noise_multiplier=11.0)
        assert refusal(west.reserve, PLAN, dear) is Reason.NOISE_TOO_LOW
    assert rows_of(path)[-1]["sites"] == ["north", "south"]
    assert shared.spent("a", "west") == []


def test_a_block_that_breaks_leaves_nothing(shared, path):
    pages = reserved(shared)

    def stopped():
        with shared.together():
            pages[0].charge("a", "r", ROUND, POLICY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(rows_of(path)) == 2
    assert pages[0].spent_events("a") == []
    pages[0].charge("a", "r", ROUND, POLICY)
    assert len(rows_of(path)) == 3


def interrupt(call, line):
    """Send Ctrl-C before the given line of a ledger's own code that a call comes to.

    Returns whether the call came that far.
    """
    left = line

    def trace(frame, event, _):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
        return trace

    def follow(frame, event, _):
        return trace if "/tacit/privacy/" in frame.f_code.co_filename else None

    traced, handler = sys.gettrace(), signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.settrace(follow)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(traced)
        signal.signal(signal.SIGINT, handler)
    return False


def test_ctrl_c_at_any_line_leaves_memory_as_the_disk_is(shared, path):
    exact, clear = replace(EXACT, rounds=1000), TEST_DATA
    pages = [Page(shared, site) for site in SITES[:2]]
    for page in pages:
        page.reserve(exact, clear)

    def charged():
        with shared.together():
            for page in pages:
                page.charge("x", f"r{line}", exact.event, clear)

    line = 1
    while interrupt(charged, line):
        said = len([row for row in rows_of(path) if row["kind"] == CHARGED])
        assert [len(shared.book(site).charges) for site in SITES[:2]] == [said] * 2, line
        # What comes next is written as ever.
        Page(shared, "west").reserve(replace(exact, run=f"b{line}"), clear)
        assert rows_of(path)[-1]["sites"] == ["west"]
        line += 1
    assert line > 100


def test_a_disk_that_fails_leaves_memory_as_the_disk_is(shared, path, monkeypatch):
    pages = reserved(shared)

    def full(*arguments):
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(type(shared._chain), "append", full)
        with pytest.raises(LedgerError), shared.together():
            pages[0].charge("a", "r", ROUND, POLICY)
    assert pages[0].spent_events("a") == []
    assert len(rows_of(path)) == 2


def test_a_round_is_settled_for_the_whole_cohort(shared, path):
    pages = reserved(shared)
    with shared.together():
        charges = [page.charge("a", "r", ROUND, POLICY) for page in pages]
    with shared.together():
        for page, charge in zip(pages, charges, strict=True):
            page.settle(charge, 4)
    assert rows_of(path)[-1] | {"at": ""} == {
        "kind": "settled-together/1",
        "charge": 3,
        "steps_begun": 4,
        "sites": list(SITES),
        "at": "",
    }
    assert [page.spent_events("a") for page in pages] == [[replace(ROUND, steps=4)]] * 3


def test_what_has_left_is_settled_no_more(shared):
    (north, south, _) = reserved(shared)
    charge = north.charge("a", "r", ROUND, POLICY)
    north.let_go(charge)
    with pytest.raises(TacitError, match="settled or replied to"):
        north.settle(charge, 0)
    with pytest.raises(TacitError, match="not of this ledger"):
        south.settle(charge, 0)
    with pytest.raises(TacitError, match="keeps no replies"):
        north.store_reply(charge, [b""])
    assert north.stored_reply("a", "r") is None


def test_a_request_that_comes_again_is_charged_again_or_as_the_repeat_it_is(shared):
    private, seeded = Page(shared, "north"), Page(shared, "south")
    private.reserve(PLAN, POLICY)
    seeded.reserve(replace(PLAN, predictable=True), TEST_DATA)
    for page, policy in ((private, POLICY), (seeded, TEST_DATA)):
        first, again = (page.charge("a", "r", ROUND, policy) for _ in range(2))
        assert (first.repeat, again.repeat) == (False, page is seeded)
    assert private.spent_events("a") == [replace(ROUND, steps=20)]
    assert seeded.spent_events("a") == [ROUND]


def test_rounds_are_used_up_and_runs_end(shared):
    page = Page(shared, "north")
    page.reserve(replace(PLAN, rounds=1), POLICY)
    page.charge("a", "r1", ROUND, POLICY)
    assert refusal(page.charge, "a", "r2", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS
    page.close_run("a")
    assert refusal(page.charge, "a", "r2", ROUND, POLICY) is Reason.NOT_RESERVED
    page.close_run("a")
    assert refusal(page.close_run, "b") is Reason.NOT_RESERVED


def test_receipts_are_those_of_the_whole_ledger(shared):
    pages = reserved(shared)
    receipt = pages[0].receipt()
    pages[1].charge("a", "r", ROUND, POLICY)
    pages[0].check_receipt(receipt)
    pages[0].check_receipt(Receipt(0, "0" * 64))
    for wrong in (Receipt(9, receipt.head), Receipt(1, receipt.head), Receipt(-1, receipt.head)):
        with pytest.raises(LedgerError):
            pages[0].check_receipt(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE rows SET body = replace(body, 'south', 'north') WHERE number = 3", "row 3"),
        ("UPDATE rows SET body = replace(body, '\"north\",', '') WHERE number = 3", "row 3"),
        ("DELETE FROM rows WHERE number = 3", "rows were cut"),
    ],
)
def test_a_changed_or_cut_ledger_is_found(shared, path, change, said):
    pages = reserved(shared)
    with shared.together():
        for page in pages:
            page.charge("a", "r", ROUND, POLICY)
    shared.close()
    with closing(sqlite3.connect(path)) as database:
        database.executescript("DROP TRIGGER rows_never_change; DROP TRIGGER rows_never_go;")
        database.execute(change)
        database.commit()
    with pytest.raises(LedgerError, match=said):
        CohortLedger.open(path, FIXED)


def test_a_row_that_could_not_have_come_about_is_found(shared, path):
    """A hand that can hash writes more rounds than were reserved."""
    page = Page(shared, "north")
    page.reserve(replace(PLAN, rounds=1), POLICY)
    page.charge("a", "r1", ROUND, POLICY)
    fields = rows_of(path)[-1] | {"request": "r2"}
    with shared._chain.transaction():
        shared._append(fields)
    shared.close()
    with pytest.raises(LedgerError, match="row 4 cannot stand"):
        CohortLedger.open(path, FIXED)


def test_another_simulations_ledger_is_refused(shared, path):
    shared.close()
    with pytest.raises(LedgerError, match="delta"):
        CohortLedger.open(path, replace(FIXED, delta=1e-6))
    with pytest.raises(LedgerError, match="data_set"):
        CohortLedger.open(path, replace(FIXED, data_set="others"))
    with open_ledger(path.parent / "own.sqlite"):
        pass
    with pytest.raises(LedgerError, match="kind"):
        CohortLedger.open(path.parent / "own.sqlite", FIXED)


def test_a_second_writer_is_refused(shared, path):
    reserved(shared)
    with CohortLedger.open(path, FIXED) as other:
        Page(other, "north").charge("a", "r", ROUND, POLICY)
        with pytest.raises(LedgerError, match="another process"):
            Page(shared, "south").charge("a", "r", ROUND, POLICY)
    # The rows of both are known afterwards.
    assert shared.spent("a", "north") == [ROUND]
    assert shared.spent("a", "south") == []


def test_a_lost_head_is_found(shared, path):
    reserved(shared)
    shared.close()
    head_of(path).unlink()
    with pytest.raises(LedgerError, match="head"):
        CohortLedger.open(path, FIXED)


PLANS = {
    "a": Plan("a", replace(ROUND, steps=3), 3, 4.0, 1e-5),
    "b": Plan("b", replace(ROUND, steps=2), 2, 4.0, 1e-5),
    "x": EXACT,
}
SEEDED = {name: replace(plan, predictable=True) for name, plan in PLANS.items()}
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(SITES[:2]),
        st.one_of(
            st.tuples(st.just("reserve"), st.sampled_from("abx")),
            st.tuples(
                st.just("charge"),
                st.sampled_from("aabx"),
                st.sampled_from("pqrs"),
                st.integers(1, 3),
            ),
            st.tuples(st.just("settle"), st.integers(0, 3), st.integers(0, 3)),
            st.tuples(st.just("close"), st.sampled_from("aab")),
        ),
    ),
    max_size=20,
)


def done(ledger, charges, plans, name, *arguments):
    """Do one thing and say what came of it."""
    try:
        match name:
            case "reserve":
                ledger.reserve(plans[arguments[0]], TEST_DATA)
            case "charge":
                run, request, steps = arguments
                event = EXACT.event if run == "x" else replace(ROUND, steps=steps)
                charges.append(ledger.charge(run, request, event, TEST_DATA))
            case "settle":
                ledger.settle(charges[-1 - arguments[0]], arguments[1])
            case "close":
                ledger.close_run(arguments[0])
    except RefusedError as error:
        return error.reason
    except (TacitError, IndexError) as error:
        return type(error)
    return None


@pytest.mark.parametrize("plans", [PLANS, SEEDED], ids=["private", "predictable"])
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(operations=OPERATIONS)
def test_every_site_spends_as_from_a_ledger_of_its_own(plans, operations):
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        with CohortLedger.open(folder / "sites.sqlite", FIXED) as shared:
            for site in SITES[:2]:
                own = [what for who, what in operations if who == site]
                page, charges, their = Page(shared, site), [], []
                with open_ledger(folder / f"{site}.sqlite") as ledger:
                    for what in own:
                        assert done(page, charges, plans, *what) == done(
                            ledger, their, plans, *what
                        )
                        for run in plans:
                            assert page.spent_events(run) == ledger.spent_events(run)
            before = {site: shared.spent("a", site) for site in SITES}
            shared.check()
            assert {site: shared.spent("a", site) for site in SITES} == before


def test_a_site_that_is_not_there_has_spent_nothing(shared):
    assert Page(shared, "nowhere").spent_events("a") == []

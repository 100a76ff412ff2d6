"""A site is killed at every point of its round, comes late, or never answers."""

import json
import signal

import pytest
from faulty import SITES, deployed, goes_on, wait_for_strike

from benchmarks.invariants import check, check_end, ledger_of, left
from tacit.errors import ExitCode

POINTS = (
    "before the charge",
    "charged",
    "during training",
    "before its reply",
    "after its reply",
)
LOSES_A_CHARGE = ("charged", "during training")


@pytest.mark.slow
def test_a_site_that_is_killed_loses_a_charge_at_worst(tmp_path):
    number = len(POINTS) + 2
    with deployed(tmp_path, number) as running:
        running.start_server()
        running.start_site("referral")
        for point in POINTS:
            running.put("county", f"{point}.kill")
            said = len(running.log("server"))
            running.start_site("county")
            assert running.end_of("county") == -signal.SIGKILL
            assert running.struck("county")[-1] == f"{point}.kill"
            check(running)
            if point != "after its reply":
                gone = "site county: went away before it replied"
                running.wait_for_line("server", gone, said)
        running.start_site("county")
        assert running.end_of("server") == ExitCode.DONE, running.logs()
        results = check_end(running)
        # What was charged and lost is not given back, and that is said.
        assert results["rounds"] == number - len(LOSES_A_CHARGE)
        assert any("not given back" in note for note in results["notes"])
        book = ledger_of(running, "county")
        assert len(book.charged) == number
        assert len(set(left(running, "county"))) == len(book.replies) == results["rounds"]
        # The other had answered when this one had nothing left for the round that was to be last.
        assert len(ledger_of(running, "referral").charged) == results["rounds"] + 1


@pytest.mark.slow
def test_a_run_goes_on_without_a_site_that_never_answers_and_with_one_that_comes_late(tmp_path):
    sites = (*SITES, "screening")
    with deployed(tmp_path, 6, sites) as running:
        # The two that are there wait in their second round for the one that comes late.
        running.start_server("training.min_replies=2", "server.round_timeout=3")
        for site in SITES:
            running.start_site(site)
        goes_on(running)
        running.put("county", "before the charge.hang")
        running.start_site("screening")
        running.wait_for_line("server", "screening takes part")
        running.put("screening", "during training.hang")
        running.take_away("county", "before the charge.hang")
        wait_for_strike(running, "screening", "during training.hang")
        assert running.end_of("server") == ExitCode.DONE, running.logs()
        results = check_end(running)
        lines = [json.loads(x) for x in (running.run_dir / "history.jsonl").open()]
        assert lines[-1]["failed"] == {"screening": "no_reply"}
        assert "screening is missing: no_reply" in running.log("server")
        # What it was asked for and charged is told, though nothing came of it.
        assert results["privacy"]["guarantees"][0]["sites"]["screening"]["steps"] >= 1
        assert left(running, "screening") == []

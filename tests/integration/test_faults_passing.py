"""What passes while processes live: connections, clocks, full disks, answers late and twice.

One run goes on through all of it, until it is called off because a site is gone for good.
"""

from contextlib import contextmanager

import pytest
from faulty import deployed, goes_on, wait_for_strike

from benchmarks.invariants import check, ledger_of, left
from benchmarks.processes import module
from benchmarks.proxy import proxy
from tacit.errors import ExitCode

ROUNDS = 200
HOLD = "before the charge.hang"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A run whose site county is reached through `running.proxy`; it is held between faults."""
    with deployed(tmp_path_factory.mktemp("passing"), ROUNDS) as running:
        running.put("referral", HOLD)
        running.start_server("server.round_timeout=5")
        with proxy(running.port) as running.proxy:
            running.edit("county", server=f"https://localhost:{running.proxy.port}")
            for site in running.sites:
                running.start_site(site)
            wait_for_strike(running, "referral", HOLD)
            yield running


@contextmanager
def going(running):
    """Let the run go on, and hold it again at the end."""
    running.take_away("referral", HOLD)
    yield
    goes_on(running)
    held = running.struck("referral").count(HOLD)
    running.put("referral", HOLD)
    running.wait_for(lambda: running.struck("referral").count(HOLD) > held, "server")


def said(running, name):
    """Return a function that waits for what a process says from now on."""
    letters = len(running.log(name))
    return lambda text: running.wait_for_line(name, text, letters)


def assert_charged_once(running, before):
    """No request after the ledger's first rows was charged twice."""
    rows = ledger_of(running, "county").rows[before:]
    charged = [row["request"] for row in rows if row["kind"] == "charged/1"]
    assert len(set(charged)) == len(charged) > 0


def test_a_connection_that_is_cut_is_made_again(running):
    site, server = said(running, "county"), said(running, "server")
    running.proxy.cut()
    with going(running):
        site("no connection to localhost")
        server("site county: went away before it replied")
        running.proxy.mend()
        site("connected to localhost")


def test_a_slow_connection_is_waited_for(running):
    running.proxy.slow()
    with going(running):
        goes_on(running, by=2)
        running.proxy.mend()


def test_a_connection_on_which_nothing_comes_is_given_up_and_made_again(running):
    site, server = said(running, "county"), said(running, "server")
    running.proxy.freeze()
    with going(running):
        server("site county: went away before it replied")
        site("no connection to localhost")
        running.proxy.mend()


def test_a_clock_that_is_an_hour_off_is_told_and_the_run_waits_until_it_is_set(running):
    site, server = said(running, "county"), said(running, "server")
    running.put("county", "clock", "3600")
    with going(running):
        site("this machine's clock is 60 minutes ahead of the server's")
        server("site county: ")
        running.take_away("county", "clock")


@pytest.mark.parametrize("where", ["ledger's row", "ledger's reply", "ledger's head"])
def test_a_site_whose_disk_is_full_says_so_and_goes_on_once_there_is_room(running, where):
    site, server = said(running, "county"), said(running, "server")
    running.put("county", f"{where}.full")
    with going(running):
        wait_for_strike(running, "county", f"{where}.full")
        site("error: could not answer: ")
        server("missing: county (not_available); the round is tried again")
        running.take_away("county", f"{where}.full")


def test_the_same_message_twice_is_charged_once(running):
    before = ledger_of(running, "county").rows
    running.put("county", "again")
    with going(running):
        wait_for_strike(running, "county", "again")
    assert_charged_once(running, len(before))


def test_an_answer_that_comes_too_late_is_not_taken_and_sent_again_when_asked_for(running):
    before = ledger_of(running, "county").rows
    server = said(running, "server")
    running.put("county", "trained.hang")
    with going(running):
        wait_for_strike(running, "county", "trained.hang")
        server("site county: no reply in time")
        running.take_away("county", "trained.hang")
        server("site county: a reply that nobody waits for: not taken")
    assert_charged_once(running, len(before))


def test_a_site_that_is_gone_for_good_is_waited_for_until_the_run_is_called_off(running):
    server = said(running, "server")
    running.kill("referral")
    server("waiting for referral")
    done = running.run(*module("server.command"), f"run.dir={running.run_dir}", "call_off=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert running.end_of("server") == ExitCode.INCOMPLETE
    check(running)
    assert ledger_of(running, "county").rows[-1]["kind"] == "closed/1"
    # The one that was gone learns nothing of it: its budget stays set aside, never less.
    assert ledger_of(running, "referral").rows[-1]["kind"] != "closed/1"
    assert len(set(left(running, "county"))) == len(ledger_of(running, "county").replies)

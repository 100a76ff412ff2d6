"""Sites whose coordinator is hostile: refused for a reason of the closed list, nothing spent."""

import json
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hostile_server import KNOWN, SHAPES, TYPES
from memory_of import peak_mb

from benchmarks.processes import Deployment, stopped
from tacit.privacy.policy import Reason

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "hostile_server.py"
EXPERIMENT = ("domain=hospitals", "model.pretraining=null")

EXPECTED = {
    "training without a reservation": Reason.NOT_RESERVED,
    "more ε": Reason.BUDGET,
    "more δ": Reason.BUDGET,
    "more ε than declared": Reason.BUDGET,
    "less noise": Reason.NOISE_TOO_LOW,
    "no noise": Reason.PRIVACY_REQUIRED,
    "more rounds": Reason.TOO_MANY_ROUNDS,
    "another unit": Reason.PLAN_DIFFERS,
    "another model": Reason.MODEL_DIFFERS,
    "another domain": Reason.DOMAIN_DIFFERS,
    "another strategy": Reason.STRATEGY_NOT_ALLOWED,
    "code to reserve": Reason.PLAN_DIFFERS,
    "numbers that are none": Reason.PLAN_DIFFERS,
    **dict.fromkeys(TYPES, Reason.PLAN_DIFFERS),
    "a sum with strangers": Reason.SECURE_SUM,
    "a sum with names that steer a terminal": Reason.SECURE_SUM,
    "a sum of two": Reason.SECURE_SUM,
    "a joint plan that is none": Reason.PLAN_DIFFERS,
    "a joint plan that is deep": Reason.PLAN_DIFFERS,
    "a joint plan of numbers that are none": Reason.PLAN_DIFFERS,
    "a joint plan of eight bits": Reason.PLAN_DIFFERS,
    "a joint plan of half a site": Reason.PLAN_DIFFERS,
    "weights that are no hash": Reason.PLAN_DIFFERS,
    "a sum before the first": Reason.PLAN_DIFFERS,
    "an unknown stage": Reason.PLAN_DIFFERS,
    "code in a stage": Reason.PLAN_DIFFERS,
    "a stage that is not text": Reason.PLAN_DIFFERS,
    "shares for a sum that did not begin": Reason.SECURE_SUM,
    "survivors of a sum that did not begin": Reason.SECURE_SUM,
    "opening a sum that did not begin": Reason.SECURE_SUM,
    "honest reservation": "answered",
    "a run that is not reserved": Reason.NOT_RESERVED,
    "fewer steps counted": Reason.PLAN_DIFFERS,
    "less noise than reserved": Reason.PLAN_DIFFERS,
    "a smaller clip than reserved": Reason.PLAN_DIFFERS,
    "all rows and not a sample": Reason.PLAN_DIFFERS,
    "another model in training": Reason.MODEL_DIFFERS,
    "a round that is none": Reason.PLAN_DIFFERS,
    "another ledger": Reason.LEDGER_DAMAGED,
    "code to train": Reason.PLAN_DIFFERS,
    "weights that are not finite": Reason.MODEL_DIFFERS,
    "weights of other shapes": Reason.MODEL_DIFFERS,
    "no weights": Reason.PLAN_DIFFERS,
    "twenty thousand keys": Reason.PLAN_DIFFERS,
    "no type at all": "no reply",
    # These are not read to their end, so that nobody knows what they ask.
    "a pickle": "no reply",
    "ten gigabytes": "no reply",
    "many more keys": "no reply",
    "a joint plan that is large": "no reply",
    "an array that lies": "no reply",
    "honest training": "answered",
    "one round more": Reason.TOO_MANY_ROUNDS,
}
DEMANDING = {
    "a run that hides among 0": Reason.SECURE_AGGREGATION_REQUIRED,
    "a run that hides among 2": Reason.SECURE_AGGREGATION_REQUIRED,
    "a run that hides among 3": "answered",
    "its part by itself": Reason.SECURE_AGGREGATION_REQUIRED,
    "a sum that hides among 2": Reason.SECURE_AGGREGATION_REQUIRED,
}
"""What a site with secure_aggregation: 3 says, and what `EXPECTED` has answered at one without."""


def rows_of(path):
    with closing(sqlite3.connect(path)) as database:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]


def kinds(running, site):
    return [row["kind"].split("/")[0] for row in rows_of(running.ledger(site))]


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


def cases(log, site):
    found = [json.loads(line) for line in log.splitlines() if line.startswith('{"site"')]
    return [case for case in found if case["site"] == site]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Sites after a hostile coordinator has asked them everything."""
    folder = tmp_path_factory.mktemp("hostile")
    running = Deployment(folder, [*KNOWN], experiment=EXPERIMENT)
    running.edit("county", limits={"strategies": ["fedavg"], "most_rounds": 100})
    running.edit("referral", secure_aggregation=3)
    port = free_port()
    with stopped(running):
        for site in ("county", "referral"):
            running.edit(site, server=f"https://localhost:{port}")
            running.start_site(site)
        for site in ("county", "referral"):
            running.wait_for_line(site, "ready for hospitals with model")
        model = running.log("county").split("with model ")[1].split()[0]
        running.start("server", sys.executable, str(SCRIPT), model, str(port))
        running.wait_for_line("server", '"case": "training without a reservation"')
        before = peak_mb(running.pid("county"))
        running.wait_for_line("server", "over")
        assert running.alive("county")
        assert running.alive("referral")
        yield running, peak_mb(running.pid("county")) - before


def test_every_case_gets_its_reason_soon(asked):
    found = cases(asked[0].log("server"), "county")
    assert {case["case"]: case["said"] for case in found} == EXPECTED
    assert max(case["seconds"] for case in found) < 20


def test_a_site_that_demands_a_secure_sum_gives_nothing_by_itself(asked):
    running, _ = asked
    found = cases(running.log("server"), "referral")
    assert {case["case"]: case["said"] for case in found} == DEMANDING
    assert EXPECTED["honest training"] == "answered"
    assert kinds(running, "referral") == ["opened", "reserved"]
    said = running.log("referral")
    assert "secure_aggregation=3: the run hides an update among 2 others" in said
    assert "a request is for this site's part by itself, and only a sum may be seen here" in said


def test_nothing_is_spent_but_for_the_honest_round(asked):
    assert kinds(asked[0], "county") == ["opened", "reserved", "charged", "replied"]


def test_the_site_says_what_it_refused(asked):
    lines = [line for line in asked[0].log("county").splitlines() if "  county  " in line]
    refused = [line for line in lines if "refused: " in line]
    wanted = [said for said in EXPECTED.values() if said not in ("answered", "no reply")]
    assert len(refused) == len(wanted)
    assert sum("cannot be read and is left out" in line for line in lines) == 6
    for word in ("epsilon=50", "noise_multiplier=0.1", "limits.strategies", "made-up"):
        assert any(word in line for line in refused), word
    assert "\x1b" not in asked[0].log("county")
    assert "Traceback" not in asked[0].log("county")
    assert max(map(len, lines)) < 1200


def test_no_code_ran(asked):
    assert not list(asked[0].folder.rglob("owned"))


def test_what_is_large_is_not_held(asked):
    """Ten gigabytes in a few bytes, a petabyte in a header, very many keys."""
    assert asked[1] < 300


def test_the_weights_of_the_script_are_the_models(asked):
    """Or the honest training would be refused, and the others for another reason than theirs."""
    assert set(SHAPES) == {"head.weight", "head.bias"}
    assert EXPECTED["honest training"] == "answered"

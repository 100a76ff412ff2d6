"""A coordinator with a hostile site: its replies are left out with the reason, the run goes on."""

import json
import os
import sys
from pathlib import Path

import pytest
from hostile_site import ATTACKS
from memory_of import peak_mb

from benchmarks.processes import Deployment, stopped
from tacit.errors import ExitCode

SCRIPT = Path(__file__).parent / "hostile_site.py"
EXPERIMENT = (
    "domain=hospitals",
    "model.pretraining=null",
    f"training.rounds={len(ATTACKS) + 2}",
    "training.min_replies=1",
    "engine=loop",
)
NOT_FINITE = "holds values that are not finite"
SAID = {
    "NaN": f"weight head.weight {NOT_FINITE}",
    "infinity": f"weight head.bias {NOT_FINITE}",
    "another shape": "weight head.weight is float32 of shape (8, 2), and not float32 of (2, 8)",
    "another type": "weight head.bias is float64 of shape (2,), and not float32 of (2,)",
    "whole numbers": "weight head.bias is int32 of shape (2,), and not float32 of (2,)",
    "an extra weight": "0 are missing, and 1 are not the model's",
    "a missing weight": "1 are missing, and 0 are not the model's",
    "no weights": "it holds no weights, or no receipt",
    "numbers for weights": "it holds no weights, or no receipt",
    "no receipt": "it holds no weights, or no receipt",
    "a receipt of text": "its receipt is no count with a hash",
    "a receipt that is no hash": "its receipt is no count with a hash",
    "nothing": "it holds no weights, or no receipt",
    "a petabyte in a header": "an array says it is float32 of shape",
    "a pickle": "an array says it is object",
    "ten gigabytes in a few bytes": "its arrays hold",
    "very many keys": "/v1/fleet/push-object: refused (413)",
    "twenty thousand keys": "2 are missing, and 20000 are not the model's",
    "very many facts": "bytes beside its arrays; 4194304 are allowed",
    "a hundred records": "102 records; 64 are allowed",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that a hostile site took part in; with the growth of the coordinator's memory."""
    folder = tmp_path_factory.mktemp("hostile")
    running = Deployment(folder, ["county", "referral"], experiment=EXPERIMENT)
    peaks = []
    with stopped(running):
        for site in running.sites:
            running.edit(site, limits={"least_noise_multiplier": 0.0})
        running.start_server()
        os.mkfifo(folder / "begin")
        command = f"exec {sys.executable} {SCRIPT} {running.site_file('referral')} < begin"
        running.start("referral", "sh", "-c", command)
        with (folder / "begin").open("w") as begin:  # waits for who reads
            running.wait_for_line("server", "referral takes part")
            running.start_site("county")
            running.wait_for_line("server", "site county: connected")
            peaks.append(peak_mb(running.pid("server")))
            begin.write("\n")

        def over():
            peaks.append(peak_mb(running.pid("server")) or peaks[-1])
            return not running.alive("server")

        running.wait_for(over)
        assert running.end_of("server") == ExitCode.DONE, running.logs()
        assert running.alive("referral")
        lines = (running.run_dir / "history.jsonl").read_text().splitlines()
        history = [json.loads(line) for line in lines]
        yield running, history, peaks[-1] - peaks[0]


@pytest.mark.slow
def test_the_run_goes_on_without_it_and_with_it_when_it_is_honest(ended):
    _, history, _ = ended
    assert history[0]["replied"] == ["referral"]
    assert history[-1]["replied"] == ["county", "referral"]
    for attack, line in zip(ATTACKS, history[1:-1], strict=True):
        reason = "no_reply" if attack == "very many keys" else "malformed"
        assert (line["replied"], line["failed"]) == (["county"], {"referral": reason}), attack


def test_every_reason_is_a_line_with_the_sites_name(ended):
    running, history, _ = ended
    log = running.log("server")
    assert SAID.keys() == ATTACKS.keys()
    for number, (attack, said) in enumerate(SAID.items(), history[1]["round"]):
        assert f"round {number}: referral is missing: " in log, attack
        between = log.split(f"round {number - 1} of ")[1].split(f"round {number} of ")[0]
        lines = [line for line in between.splitlines() if said in line]
        assert lines, (attack, between)
        assert all("site referral: " in line for line in lines), attack
    assert "\x1b" not in log
    assert max(map(len, log.splitlines())) < 1200


def test_no_attack_takes_much_memory_or_time(ended):
    _, history, growth = ended
    assert growth < 300
    # A round that waits for an attacker would end with its stage, after 60 s or more.
    assert max(line["seconds"] for line in history) < 60

"""A coordinator and hospitals as processes over TLS: the experiment that was simulated."""

import json
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from benchmarks.processes import Deployment, module
from commands.compose import composed
from server.checkpoint import load_checkpoint
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ExitCode

SITES = ("county", "referral")
WORDS = ("domain=hospitals", "engine=loop", "compare=false", "training.rounds=4")

# test_secure_deployed is the quick one: four sites, and the weights of their simulation.
pytestmark = pytest.mark.slow


@pytest.fixture
def deployed(tmp_path):
    made = []

    def make(sites=SITES, **keys):
        made.append(Deployment(tmp_path, sites, **keys))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def results(run):
    return json.loads((run / "results.json").read_text())


def rows_of(deployment, site):
    """What a site's ledger holds, read as SQLite gives it."""
    with closing(sqlite3.connect(deployment.ledger(site))) as database:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]


def kinds(deployment, site):
    return [row["kind"].split("/")[0] for row in rows_of(deployment, site)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Hash of the weights that the simulation of the same experiment ends with."""
    config = composed([*WORDS, f"run.dir={tmp_path_factory.mktemp('simulated') / 'RUN'}"])
    from rich.console import Console

    with LiveProgress(Console(quiet=True)) as progress:
        found, _ = simulate(read_settings(config), config, progress, sites=SITES)
        return found.weights_sha256


def test_a_deployed_run_ends_with_the_weights_of_its_simulation(deployed, simulated):
    run = deployed(test_data=True, noise_seed=0)
    run.start_server(*WORDS)
    for site in SITES:
        run.start_site(site)
    assert run.end_of("server") == ExitCode.DONE, run.log("server")
    found = results(run.run_dir)
    assert found["weights_sha256"] == simulated
    assert (found["simulation"], found["privacy"]["simulated_noise"]) == (False, True)
    for site in SITES:
        assert kinds(run, site) == [
            "opened",
            "reserved",
            *("charged", "replied") * 4,
            "closed",
        ]
        assert rows_of(run, site)[1]["plan"]["predictable"] is True


def test_with_the_systems_noise_no_two_runs_are_alike_and_the_ledger_counts(deployed, simulated):
    run = deployed()
    run.start_server(*WORDS)
    for site in run.sites:
        run.start_site(site)
    assert run.end_of("server") == ExitCode.DONE, run.log("server")
    found = results(run.run_dir)
    assert found["weights_sha256"] != simulated
    assert found["privacy"]["simulated_noise"] is False
    spent = found["privacy"]["guarantees"][0]["sites"]
    assert set(spent) == set(run.sites)
    assert all(0.9 < site["epsilon"] <= 1 for site in spent.values())


def test_a_site_and_the_coordinator_are_killed_and_the_run_ends_with_the_same_weights(
    deployed, simulated
):
    """With seeded noise even the order of deaths leaves no trace in the weights."""
    run = deployed(test_data=True, noise_seed=0)
    run.start_server(*WORDS)
    for site in SITES:
        run.start_site(site)
    run.wait_for_line("server", "round 1 of 4")
    run.kill("server")
    run.start_server(*WORDS)
    run.wait_for_line("server", "round 3 of 4")
    run.kill("county")
    run.start_site("county")
    assert run.end_of("server") == ExitCode.DONE, run.log("server")
    assert results(run.run_dir)["weights_sha256"] == simulated


def test_a_site_that_spends_less_gets_more_noise_and_one_that_refuses_is_left_out(deployed):
    run = deployed((*SITES, "screening"))
    run.edit("county", limits={"epsilon_per_run": 0.5})
    run.edit("screening", limits={"strategies": ["krum"]})
    run.start_server(*WORDS, "training.min_replies=2")
    for site in run.sites:
        run.start_site(site)
    assert run.end_of("server") == ExitCode.DONE, run.log("server")
    spent = results(run.run_dir)["privacy"]["guarantees"][0]["sites"]
    assert set(spent) == {"county", "referral"}
    assert spent["county"]["epsilon_budget"] == 0.5
    assert spent["county"]["noise_multiplier"] > 1.5 * spent["referral"]["noise_multiplier"]
    assert "screening does not take part: strategy_not_allowed" in run.log("server")
    assert "limits.strategies does not list 'fedavg'" in run.log("screening")
    assert kinds(run, "screening") == ["opened"]


def test_sigterm_ends_both_within_seconds_and_the_same_command_goes_on(deployed, simulated):
    run = deployed(test_data=True, noise_seed=0)
    run.start_server(*WORDS)
    for site in SITES:
        run.start_site(site)
    run.wait_for_line("server", "round 1 of 4")
    begun = time.monotonic()
    assert run.kill("server", signal.SIGTERM) == ExitCode.TERMINATED
    assert time.monotonic() - begun < 10
    _, state = load_checkpoint(run.run_dir / "checkpoint")
    assert state.round >= 1
    assert f"stopped after round {state.round}; the same command goes on" in run.log("server")
    for site in SITES:
        assert run.kill(site, signal.SIGTERM) == ExitCode.TERMINATED
        run.start_site(site)
    run.start_server(*WORDS)
    assert run.end_of("server") == ExitCode.DONE, run.log("server")
    assert results(run.run_dir)["weights_sha256"] == simulated


def test_a_run_that_is_called_off_frees_what_sites_kept_for_it(deployed):
    run = deployed()
    run.start_server(*WORDS, "training.rounds=200")
    for site in run.sites:
        run.start_site(site)
    run.wait_for_line("server", "round 1 of 200")
    said = run.run(*module("server.command"), f"run.dir={run.run_dir}", "call_off=true")
    assert (said.returncode, said.stderr) == (0, "")
    assert run.end_of("server") == ExitCode.INCOMPLETE
    for site in run.sites:
        assert kinds(run, site)[-1] == "closed"
    again = run.run(
        *module("server.command"), "server.bundle=trial/server", f"run.dir={run.run_dir}", *WORDS
    )
    assert again.returncode == ExitCode.BAD_INPUT
    assert "was called off" in again.stderr

"""The coordinator is killed at every point of a round, and its disk fills up."""

import signal

import pytest
from faulty import EXPERIMENT, SITES, deployed

from benchmarks.invariants import check, check_end, ledger_of
from commands.compose import composed
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ExitCode

ROUNDS = 3
POINTS = ("beginning", "before aggregation", "during aggregation", "after aggregation", "results")
OTHER_POINTS = ("planned", "asked", "history", "checkpoint", "checkpoint kept", "last round done")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Hash of the weights that nothing disturbed."""
    from rich.console import Console

    folder = tmp_path_factory.mktemp("simulated") / "RUN"
    words = [*EXPERIMENT, f"training.rounds={ROUNDS}", "compare=false", f"run.dir={folder}"]
    config = composed(words)
    with LiveProgress(Console(quiet=True)) as progress:
        results, _ = simulate(read_settings(config), config, progress, sites=SITES)
    return results.weights_sha256


@pytest.fixture
def running(tmp_path):
    with deployed(tmp_path, ROUNDS, test_data=True, noise_seed=0) as running:
        yield running


def start(running):
    """Start the coordinator, and the sites with it if nothing has come so far."""
    running.start_server()
    for site in SITES:
        if not running.alive(site):
            running.start_site(site)


def killed_at(running, point):
    running.put("server", f"{point}.kill")
    if point == "beginning":
        running.launch_server()
    else:
        start(running)
    assert running.end_of("server") == -signal.SIGKILL
    assert running.struck("server")[-1] == f"{point}.kill"
    check(running)


def finish(running, simulated):
    running.launch_server()
    assert running.end_of("server") == ExitCode.DONE, running.logs()
    assert check_end(running)["weights_sha256"] == simulated


def test_a_coordinator_that_is_killed_in_a_round_loses_no_more_than_the_round(running, simulated):
    for point in POINTS:
        killed_at(running, point)
    finish(running, simulated)
    for site in SITES:
        # Every reply was there already when the coordinator that asked again had been killed.
        kinds = [row["kind"] for row in ledger_of(running, site).rows]
        assert kinds.count("charged/1") == kinds.count("replied/1") == ROUNDS
        assert kinds[-1] == "closed/1"
        assert f"site {site}: connected" in running.log("server")
        assert "no connection to localhost" in running.log(site)


@pytest.mark.slow
@pytest.mark.parametrize("point", OTHER_POINTS)
def test_a_coordinator_that_is_killed_elsewhere(running, simulated, point):
    killed_at(running, point)
    finish(running, simulated)
    for site in SITES:
        assert ledger_of(running, site).rows[-1]["kind"] == "closed/1"


def test_a_coordinator_whose_disk_is_full_says_so_and_goes_on_once_there_is_room(
    running, simulated
):
    for point in ("history", "checkpoint"):
        running.put("server", f"{point}.full")
        said = len(running.log("server"))
        start(running)
        assert running.end_of("server") == ExitCode.BAD_INPUT
        assert "error: the disk is full: free space" in running.log("server")[said:]
        assert "Traceback" not in running.log("server")
        check(running)
        running.take_away("server", f"{point}.full")
    finish(running, simulated)

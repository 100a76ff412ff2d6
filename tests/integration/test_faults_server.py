"""The coordinator is killed at every point of a round, and its disk fills up.

One run goes through all of it.
"""

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
POINTS = (
    pytest.param("beginning", marks=pytest.mark.slow),
    pytest.param("before aggregation", marks=pytest.mark.slow),
    "during aggregation",
    pytest.param("after aggregation", marks=pytest.mark.slow),
)
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


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A run that goes through all of it."""
    with deployed(tmp_path_factory.mktemp("run"), ROUNDS, test_data=True, noise_seed=0) as running:
        yield running


def start(running):
    """Start the coordinator, and the sites with it, where they are not running."""
    if not running.alive("server"):
        running.start_server()
    for site in SITES:
        if not running.alive(site):
            running.start_site(site)


def killed_at(running, point):
    if point == "checkpoint":
        running.start_server()  # the first checkpoint is there before it listens
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
    for site in SITES:
        assert ledger_of(running, site).rows[-1]["kind"] == "closed/1"


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_coordinator_that_is_killed_loses_no_more_than_a_round(running, point):
    killed_at(running, point)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["history", "checkpoint"])
def test_a_coordinator_whose_disk_is_full_ends_with_a_line_that_says_so(running, point):
    running.put("server", f"{point}.full")
    said = len(running.log("server"))
    start(running)
    assert running.end_of("server") == ExitCode.BAD_INPUT
    assert "error: the disk is full: free space" in running.log("server")[said:]
    assert "Traceback" not in running.log("server")
    check(running)
    running.take_away("server", f"{point}.full")


def test_the_run_goes_on_and_ends_as_if_nothing_had_been(running, simulated):
    killed_at(running, "results")
    finish(running, simulated)
    for site in SITES:
        # Every reply was kept: what was asked again was charged once.
        kinds = [row["kind"] for row in ledger_of(running, site).rows]
        assert kinds.count("charged/1") == kinds.count("replied/1") == ROUNDS
        assert f"site {site}: connected" in running.log("server")
        assert "no connection to localhost" in running.log(site)


@pytest.mark.slow
@pytest.mark.parametrize("point", OTHER_POINTS)
def test_a_coordinator_that_is_killed_elsewhere(tmp_path, simulated, point):
    with deployed(tmp_path, ROUNDS, test_data=True, noise_seed=0) as running:
        killed_at(running, point)
        finish(running, simulated)

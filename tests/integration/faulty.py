"""A deployment into which a test puts faults, and what is told of it afterwards."""

from contextlib import contextmanager

from benchmarks.invariants import check, rounds
from benchmarks.processes import Deployment, stopped

SITES = ("county", "referral")
EXPERIMENT = ("domain=hospitals", "engine=loop", "model.pretraining=null")


@contextmanager
def deployed(folder, number, sites=SITES, **site_keys):
    """Give a deployment of so many rounds; nothing is started yet."""
    words = (*EXPERIMENT, f"training.rounds={number}")
    running = Deployment(folder, sites, experiment=words, faults=True, **site_keys)
    with stopped(running):
        for site in sites:
            running.edit(site, limits={"least_noise_multiplier": 0.0})
        yield running


def goes_on(running, by=1):
    """Wait until more rounds are done, then see that everything holds."""
    wanted = len(rounds(running.run_dir)) + by
    running.wait_for(lambda: len(rounds(running.run_dir)) >= wanted, "server")
    check(running)


def wait_for_strike(running, name, fault):
    running.wait_for(lambda: fault in running.struck(name))

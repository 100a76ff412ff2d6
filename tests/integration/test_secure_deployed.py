"""Secure sums of four hospitals over TLS: the weights of the simulation, deaths, and refusals."""

import json
import socket
import sqlite3
from contextlib import closing

import pytest
from flwr.app import MessageType

import simulations.cohort
from benchmarks.processes import Deployment
from simulations.command import _main
from tacit.errors import ExitCode

SITES = ("county", "referral", "screening", "university")
WORDS = ("domain=hospitals", "model=linear", "engine=loop")
SHARED = ("privacy=shared_noise", "privacy.epsilon=0.5", "training.learning_rate=0.5")
ROUNDS = "training.rounds=4"
FEWER = "training.min_replies=3"
SEEDED = {"test_data": True, "noise_seed": 0}


@pytest.fixture
def deployed(tmp_path):
    """Make a deployment of hospitals whose coordinator and sites have these words."""
    made = []

    def make(*words, sites=SITES, **keys):
        alone = ("compare=false",)
        experiment = (*WORDS, *words)
        run = Deployment(tmp_path, sites, experiment=experiment, server_words=alone, **keys)
        made.append(run)
        # Known before the coordinator listens, so that all processes can begin at once.
        run.port = free_port()
        for site in sites:
            run.edit(site, server=f"https://localhost:{run.port}")
        return run

    yield make
    for each in made:
        each.stop()


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


def begin(run, *sites):
    run.launch_server()
    for site in sites or run.sites:
        run.start_site(site)


def results(run):
    return json.loads((run.run_dir / "results.json").read_text())


def history(run):
    return [json.loads(line) for line in (run.run_dir / "history.jsonl").read_text().splitlines()]


def kinds(run, site):
    with closing(sqlite3.connect(run.ledger(site))) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]
    return [body["kind"].split("/")[0] for body in bodies]


def report(run):
    return " ".join((run.run_dir / "report.html").read_text().split())


def simulated(path, *words):
    """Hash of the weights that the simulation of the same experiment ends with."""
    given = (*WORDS, *words, "compare=false", "secure_aggregation=required", f"run.dir={path}")
    assert _main([*given]) == ExitCode.DONE
    return json.loads((path / "results.json").read_text())["weights_sha256"]


def test_four_sites_are_summed_by_default_and_end_with_the_weights_of_the_simulation(
    deployed, tmp_path
):
    run = deployed(ROUNDS, secure_aggregation=3, **SEEDED)
    begin(run)
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    found = results(run)
    assert found["secure_sum"] == {"sites": 4, "fewest": 4, "bits": 32, "corrupt": 1}
    assert found["weights_sha256"] == simulated(tmp_path / "simulated", ROUNDS)
    assert "Of each round the sum over at least 4 of 4 sites, and no site" in report(run)
    for site in SITES:
        assert kinds(run, site) == ["opened", "reserved", *("charged", "replied") * 4, "closed"]
        # Said for each sum that it helped to open.
        assert run.log(site).count("the secure sum is opened with this site's help") == 4


@pytest.mark.slow
def test_noise_in_shares_is_deployed_without_a_site_that_pays_too_much_alone(
    deployed, tmp_path, monkeypatch
):
    """Its policy has no room for what its own share costs by itself; three are enough here.

    The others end with the weights of a simulation in which nothing of that site arrives.
    """
    run = deployed(ROUNDS, FEWER, *SHARED, secure_aggregation=2, **SEEDED)
    for site in SITES[1:]:
        run.edit(site, limits={"epsilon_alone_per_run": 5.0})
    begin(run, *SITES[:3])
    run.wait_for_line("server", "county does not take part: budget")
    run.start_site("university")
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    assert "by this site's own share of the noise alone" in run.log("county")
    assert kinds(run, "county") == ["opened"]
    found = results(run)
    assert found["secure_sum"] == {"sites": 4, "fewest": 3, "bits": 32, "corrupt": 1}
    together, alone = found["privacy"]["guarantees"]
    assert (together["adversary"], together["honest_sites"]) == ("server_and_colluders", 3)
    for site in SITES[1:]:
        assert together["sites"][site]["epsilon"] <= 0.5 < alone["sites"][site]["epsilon"] <= 5
    for line in history(run):
        assert (line["replied"], line["failed"]) == ([*SITES[1:]], {"county": "no_reply"})

    def lossy(engine, chosen, seed):
        def answer(cohort):
            if cohort[0][0].metadata.message_type != MessageType.TRAIN:
                return engine(cohort)
            replies = iter(engine([each for each in cohort if each[1] != "county"]))
            return [None if name == "county" else next(replies) for _, name in cohort]

        return answer

    monkeypatch.setattr(simulations.cohort, "lossy", lossy)
    words = (ROUNDS, FEWER, *SHARED, "availability.dropout=0.5")
    assert found["weights_sha256"] == simulated(tmp_path / "simulated", *words)


@pytest.mark.slow
def test_the_coordinator_and_then_a_site_are_killed_and_the_run_ends(deployed):
    """With room for one to be missing; its keys and those of the interrupted sum are gone."""
    rounds = 12
    run = deployed(f"training.rounds={rounds}", FEWER, secure_aggregation=2)
    begin(run)
    run.wait_for_line("server", f"round 2 of {rounds}")
    run.kill("server")
    run.start_server()
    run.wait_for_line("server", "going on after round")
    run.wait_for(lambda: len(history(run)) >= 5, "server")
    run.kill("university")
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    found, lines = results(run), history(run)
    assert [line["round"] for line in lines] == list(range(1, found["rounds"] + 1))
    # A round that had begun when the coordinator died may have been charged: then one is lost.
    assert found["rounds"] in (rounds - 1, rounds)
    assert found["secure_sum"]["fewest"] == 3
    assert lines[-1]["replied"] == ["county", "referral", "screening"]
    assert lines[-1]["failed"] == {"university": "no_reply"}
    assert "university is missing: no_reply" in run.log("server")
    for site in SITES[:3]:
        assert run.alive(site)
        assert kinds(run, site)[-1] == "closed"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_coordinator_that_was_killed_loses_a_round_at_most(deployed, tmp_path, number):
    """With seeded noise: the rounds that were made are those of the simulation."""
    run = deployed("training.rounds=6", secure_aggregation=3, **SEEDED)
    begin(run)
    run.wait_for_line("server", f"round {number + 1} of 6")
    run.kill("server")
    run.start_server()
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    found = results(run)
    if found["rounds"] == 6:
        assert found["weights_sha256"] == simulated(tmp_path / "simulated", "training.rounds=6")
    else:
        assert found["rounds"] == 5
        assert "a round that was charged was lost in a stop" in found["notes"][0]


CLIENTS = ("domain=digits", "domain.partition.sites=4", "domain.partition.rows=20")


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["clients", "coordinator"])
def test_whole_clients_are_deployed(deployed, tmp_path, noise):
    """Noise of the clients is seeded here; what the coordinator adds nobody can compute again."""
    words = (
        *CLIENTS,
        "privacy=client_level",
        f"privacy.noise={noise}",
        "privacy.delta=1e-2",
        "privacy.clipping_quantile=0.5",
        "training.rounds=3",
    )
    users = [f"user-{number:06d}" for number in range(4)]
    run = deployed(*words, sites=users, secure_aggregation=3, **SEEDED)
    limits = {"epsilon_per_run": 8.0, "delta_per_run": 1e-2, "lifetime_epsilon": 8.0}
    limits |= {"lifetime_delta": 1e-2, "least_noise_multiplier": 0.0, "epsilon_alone_per_run": 40.0}
    for user in users:
        run.edit(user, limits=limits)
    begin(run)
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    found = results(run)
    assert found["secure_sum"] == {"sites": 4, "fewest": 4, "bits": 32, "corrupt": 1}
    first = found["privacy"]["guarantees"][0]
    assert (first["unit"], first["clipping_quantile"]) == ("client", 0.5)
    same = found["weights_sha256"] == simulated(tmp_path / "simulated", *words)
    assert same == (noise == "clients")


@pytest.mark.slow
def test_without_a_secure_sum_the_report_says_what_the_coordinator_sees(deployed):
    """A site is in such a run when its officer says so: with four in the roster, not otherwise."""
    run = deployed(ROUNDS, "secure_aggregation=off", "training.min_replies=2")
    for site in ("county", "referral"):
        run.edit(site, secure_aggregation="off")
    begin(run, "screening", "referral")
    run.wait_for_line("server", "screening does not take part: secure_aggregation_required")
    run.start_site("county")
    assert run.end_of("server") == ExitCode.DONE, run.logs()
    assert "secure_aggregation=2: the run hides an update among 0 others" in run.log("screening")
    assert kinds(run, "screening") == ["opened"]
    assert results(run)["secure_sum"] is None
    page = report(run)
    assert "noised update, by itself and by name, in every round that it takes part in" in page
    assert "With secure_aggregation=required" in page

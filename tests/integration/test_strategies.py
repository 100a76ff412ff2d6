"""Every strategy by its name, in whole runs under privacy."""

import pytest
from whole_run import call, epsilons, results, rounds_of, words

from commands.options import options
from tacit.refused import STRATEGIES
from tacit.runs.directory import MODEL, read_config

ROUNDS = 3
OPTIONS = sorted(options()["strategy"])
MORE = {"fedprox": ["training.local_steps=2"]}
"""What an option needs beside its name; the demo's four sites are enough for the others."""


@pytest.fixture(scope="module")
def first():
    """Final weights of each option's first run, by name."""
    return {}


@pytest.fixture
def weights(tmp_path, capsys):
    """Run a strategy once more; gives the final weights as bytes, and where the run is."""

    def run(name, number=1, *more):
        path = tmp_path / f"{name}-{number}"
        given = [*words(path, ROUNDS), f"strategy={name}", *MORE.get(name, []), *more]
        code, said = call(given, capsys)
        assert (code, "error" in said) == (0, False), said
        return (path / MODEL).read_bytes(), path

    return run


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_ends_within_its_budget_and_twice_the_same(weights, first, name):
    once, path = weights(name)
    first[name] = once
    assert rounds_of(path) == list(range(ROUNDS + 1))
    assert read_config(path)["strategy"]["name"] == name
    assert results(path)["strategy"] == name
    for spent, budget in epsilons(path).values():
        assert 0.9 * budget < spent <= budget
    again, _ = weights(name, 2)
    assert once == again


def test_strategies_differ(weights, first):
    """All but two: of four sites, the median is the mean without the extremes."""
    found = {name: first.get(name) or weights(name)[0] for name in OPTIONS}
    assert len(set(found.values())) >= len(found) - 1


def test_mu_reaches_the_sites(weights):
    two = "training.local_steps=2"
    plain, _ = weights("fedavg", 1, two)
    weak, _ = weights("fedprox", 1, "strategy.proximal_mu=0.01")
    strong, _ = weights("fedprox", 2, "strategy.proximal_mu=0.2")
    assert len({plain, weak, strong}) == 3


@pytest.mark.parametrize("name", ["fedprox", "bulyan"])
def test_baselines_of_one_site_have_nobody_to_choose_among(weights, name):
    """Alone or pooled, a rule among sites is none; the run itself keeps its strategy."""
    few = [f"baselines.{each}.rounds=2" for each in ("alone", "federated", "pooled")]
    _, path = weights(name, 1, "compare=true", *few)
    keys = {row["key"] for row in results(path)["comparison"]}
    assert {"alone", "federated_no_privacy", "pooled_no_privacy"} <= keys


@pytest.mark.parametrize("privacy", ["record", "none"])
@pytest.mark.parametrize(
    "given",
    [
        ["strategy=qfedavg"],
        ["strategy._target_=flwr.serverapp.strategy.QFedAvg", "+strategy.client_learning_rate=0.1"],
    ],
    ids=["by name", "by class"],
)
def test_q_fedavg_is_refused_with_its_reason(tmp_path, capsys, given, privacy):
    run = [*words(tmp_path / "run"), f"privacy={privacy}", *given]
    code, said = call(run, capsys)
    assert code == 2
    assert STRATEGIES["QFedAvg"] in " ".join(said.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["strategy=krum", "strategy.num_malicious_nodes=1"], "needs at least 5 replies"),
        (["strategy=bulyan", "strategy.num_malicious_nodes=1"], "needs at least 7 replies"),
        (["strategy=fedtrimmedavg", "strategy.beta=0.2"], "needs at least 5 replies"),
        (["strategy=fedmedian", "training.min_replies=2"], "needs at least 3 replies"),
        (["strategy=fedprox"], "does nothing with training.local_steps=1"),
        (["strategy=fedavgm", "strategy.server_momentum=2"], "strategy.server_momentum=2"),
    ],
)
def test_what_cannot_do_its_work_is_refused_before_anything_runs(tmp_path, capsys, given, reason):
    code, said = call([*words(tmp_path / "run"), *given], capsys)
    assert code == 2
    assert reason in " ".join(said.split())
    assert not (tmp_path / "run").exists()

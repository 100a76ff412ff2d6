"""Strategies by name: what is built, what each is given, and what is refused with its reason."""

import importlib
import logging
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.serverapp import strategy as of_flower
from flwr.serverapp.strategy import FedAdam, FedProx, QFedAvg
from seven_sites import OPTIONS, flower, offered

import strategies
from commands.compose import composed
from commands.options import line, options
from simulations.grid import LocalGrid, loop_engine
from strategies.build import FEDAVG, build_strategy, by_itself, proximal_mu
from strategies.limits import check_run, fewest_replies
from strategies.records import to_record
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError
from tacit.refused import STRATEGIES
from tacit.settings import Component

ASKED_FOR = {
    "bulyan",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "fedmedian",
    "fedprox",
    "fedtrimmedavg",
    "fedyogi",
    "krum",
    "multikrum",
}
ROBUST = ("bulyan", "fedmedian", "fedtrimmedavg", "krum", "multikrum")


def test_every_strategy_of_flowers_is_offered_or_refused():
    offered_here = {build_strategy(offered(name)).__class__.__name__ for name in OPTIONS}
    assert set(OPTIONS) >= ASKED_FOR
    there = set(of_flower.__all__) - {"Strategy", "Result", "Krum"}  # Krum is Multi-Krum of one
    assert there == offered_here | STRATEGIES.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_says_what_it_is_and_where_it_is_from(name):
    said = line(options()["strategy"][name])
    assert re.search(r"\([A-Z].* 20\d\d\)\.$", said)  # its paper
    whole = options()["strategy"][name].read_text(encoding="utf-8")
    assert ("Not weighted by size" in whole) == said.startswith("Robust") == (name in ROBUST)


@pytest.mark.parametrize("sites", [1, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_strategy_asks_the_whole_cohort(name, sites):
    strategy = build_strategy(offered(name))
    grid = LocalGrid([f"site-{i}" for i in range(sites)], loop_engine(lambda m, c: m))
    record = to_record({"w": np.zeros(2, np.float32)})
    messages = strategy.configure_train(1, record, ConfigRecord(), grid)
    asked = [message.metadata.dst_node_id for message in messages]
    assert sorted(asked) == sorted(grid.names)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_strategy(name):
    component = offered(name)
    strategy = build_strategy(component)
    assert {key: getattr(strategy, key) for key in component.options} == component.options


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (flower("FedNone"), "strategy._target_=flwr.serverapp.strategy.FedNone"),
        (flower("FedAvg", etta=1), "etta"),
        (Component("dict", "builtins.dict"), "is no Flower strategy"),
        (Component("here", "conftest_that_breaks.It"), "cannot be imported"),
    ],
)
def test_what_is_no_strategy_is_refused(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        build_strategy(wrong)


def test_a_module_that_breaks_is_named(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"breaks_on_import\.It.*division by zero"):
        build_strategy(Component("own", "breaks_on_import.It"))


class Milder(QFedAvg):
    """Somebody's own, that needs a site's loss as well."""


def milder(**options):
    return QFedAvg(client_learning_rate=0.1, **options)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        *((f"flwr.serverapp.strategy.{name}", why) for name, why in STRATEGIES.items()),
        ("flwr.serverapp.strategy.qfedavg.QFedAvg", STRATEGIES["QFedAvg"]),
        (f"{__name__}.Milder", STRATEGIES["QFedAvg"]),
        (f"{__name__}.milder", STRATEGIES["QFedAvg"]),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(target, reason):
    with pytest.raises(ConfigurationError) as caught:
        build_strategy(Component("some", target))
    assert f"{target} is refused: {reason}" in str(caught.value)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_its_name_gets_the_reason_too(name):
    with pytest.raises(ConfigurationError) as caught:
        composed([f"strategy={name.lower()}"])
    assert f"strategy={name.lower()} is refused: {STRATEGIES[name]}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "option", "value", "must_be"),
    [
        ("fedadam", "eta", 0, "more than 0"),
        ("fedadam", "eta", "much", "more than 0"),
        ("fedadam", "eta", True, "more than 0"),
        ("fedadam", "tau", float("nan"), "more than 0"),
        ("fedyogi", "beta_2", 1.0, "less than 1"),
        ("fedyogi", "beta_1", -0.1, "at least 0"),
        ("fedadagrad", "eta", float("inf"), "more than 0"),
        ("fedavgm", "server_momentum", 1.5, "less than 1"),
        ("fedavgm", "server_learning_rate", -1, "more than 0"),
        ("fedprox", "proximal_mu", 0.0, "more than 0"),
        ("fedtrimmedavg", "beta", 0.0, "more than 0"),
        ("krum", "num_malicious_nodes", -1, "0 or more, whole"),
        ("krum", "num_malicious_nodes", 0.5, "0 or more, whole"),
        ("multikrum", "num_nodes_to_select", 0, "1 or more, whole"),
        ("bulyan", "num_malicious_nodes", None, "0 or more, whole"),
    ],
)
def test_a_number_that_cannot_be_is_refused(name, option, value, must_be):
    with pytest.raises(ConfigurationError, match=rf"strategy\.{option}=.*must be.*{must_be}"):
        build_strategy(offered(name, **{option: value}))


@pytest.mark.parametrize("beta", [0.5, -0.1])
def test_a_number_that_flower_refuses_is_a_sentence(beta):
    with pytest.raises(ConfigurationError, match=r"strategy=fedtrimmedavg: .beta. must be"):
        build_strategy(offered("fedtrimmedavg", beta=beta))


@pytest.mark.parametrize("option", ["fraction_train", "min_train_nodes", "weighted_by_key"])
def test_nobody_else_chooses_the_cohort_or_the_keys(option):
    with pytest.raises(ConfigurationError, match=f"strategy.{option} cannot be set"):
        build_strategy(offered("fedavg", **{option: 0.5}))


def test_bulyan_chooses_by_krum():
    with pytest.raises(ConfigurationError, match=r"strategy\.selection_rule cannot be set"):
        build_strategy(offered("bulyan", selection_rule="median"))


def test_an_option_that_does_nothing_is_refused():
    with pytest.raises(ConfigurationError, match=r"strategy.eta_l cannot be set.*learning_rate"):
        build_strategy(offered("fedadam", eta_l=0.1))


# What a strategy needs of a run


@pytest.fixture(scope="module")
def demo():
    return read_settings(composed(["model=linear", "compare=false", "strategy=fedavg"]))


def check(settings, sites, component, *, secure=False, **training):
    changed = replace(settings.training, **training)
    settings = replace(settings, strategy=component, training=changed)
    check_run(build_strategy(component), settings, sites, secure=secure)


@pytest.mark.parametrize(
    ("needed", "component"),
    [
        (3, offered("krum")),
        (5, offered("krum", num_malicious_nodes=1)),
        (9, offered("krum", num_malicious_nodes=3)),
        (5, flower("Krum", num_malicious_nodes=1)),
        (4, offered("multikrum")),
        (6, offered("multikrum", num_nodes_to_select=4)),
        (7, offered("multikrum", num_malicious_nodes=2)),
        (3, offered("bulyan")),
        (11, offered("bulyan", num_malicious_nodes=2)),
        (3, offered("fedmedian")),
        (4, offered("fedtrimmedavg")),
        (10, offered("fedtrimmedavg", beta=0.1)),
    ],
)
def test_a_rule_needs_enough_replies_in_every_round(demo, needed, component):
    check(demo, needed, component)
    with pytest.raises(ConfigurationError, match=f"needs at least {needed} replies in every round"):
        check(demo, needed - 1, component)
    # A round that counts with fewer would leave the rule without its ground.
    check(demo, needed + 3, component, min_replies=needed)
    with pytest.raises(ConfigurationError, match=f"training.min_replies={needed - 1}"):
        check(demo, needed + 3, component, min_replies=needed - 1)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_where_only_a_sum_is_seen_a_rule_goes_on_from_it(demo, name):
    component = offered(name)
    if name in ROBUST:
        with pytest.raises(ConfigurationError, match=f"strategy={name} .* not linear"):
            check(demo, 20, component, secure=True)
    else:
        check(demo, 20, component, secure=True, local_steps=2)


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - set(ROBUST) - {"fedprox"}))
def test_the_others_need_no_more_than_one(demo, name):
    check(demo, 1, offered(name))
    assert fewest_replies(build_strategy(offered(name))) == (1, "")


def test_fedprox_without_local_steps_is_refused_with_advice(demo):
    with pytest.raises(ConfigurationError, match=r"fedprox does nothing.*local_steps=1.*2 or more"):
        check(demo, 4, offered("fedprox"), local_steps=1)
    check(demo, 4, offered("fedprox"), local_steps=2, learning_rate=1.0)


def test_a_pull_past_the_start_is_refused(demo):
    prox = offered("fedprox", proximal_mu=0.5)
    check(demo, 4, prox, local_steps=2, learning_rate=2.0)
    with pytest.raises(ConfigurationError, match=r"training.learning_rate=2\.5.*at most 0\.4"):
        check(demo, 4, prox, local_steps=2, learning_rate=2.5)


def test_a_pull_past_the_start_of_a_baseline_is_refused_too(demo):
    prox = offered("fedprox", proximal_mu=0.5)
    fast = replace(demo.baselines.federated, learning_rate=2.5)
    beside = replace(demo, baselines=replace(demo.baselines, federated=fast))
    check(beside, 4, prox, local_steps=2, learning_rate=2.0)
    with pytest.raises(ConfigurationError, match=r"baselines\.federated\.learning_rate=2\.5"):
        check(replace(beside, compare=True), 4, prox, local_steps=2, learning_rate=2.0)


def test_mu_is_the_strategys():
    assert proximal_mu(build_strategy(offered("fedprox", proximal_mu=1))) == 1.0
    assert isinstance(proximal_mu(build_strategy(offered("fedprox", proximal_mu=1))), float)
    assert isinstance(build_strategy(offered("fedprox")), FedProx)
    assert proximal_mu(build_strategy(offered("fedadam"))) == 0.0


@pytest.mark.parametrize("name", OPTIONS)
def test_a_site_by_itself_has_nobody_to_choose_among(name):
    component = offered(name)
    alone = FEDAVG if name in {*ROBUST, "fedprox"} else component
    assert by_itself(component) == alone


def test_somebodys_own_numbers_are_their_own():
    """`beta` of 0.9 is wrong for a trimmed mean and right elsewhere."""
    own = replace(flower("FedAvg"), target=f"{__name__}.Slow", options={"beta": 0.9})
    assert build_strategy(own).beta == 0.9


class Slow(FedAdam):
    def __init__(self, beta, **options):
        super().__init__(**options)
        self.beta = beta


# Flower itself


@pytest.mark.parametrize(
    "variable", ["FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK", "RAY_USAGE_STATS_ENABLED"]
)
def test_flower_is_told_not_to_phone_home(monkeypatch, variable):
    silent = "1" if "DISABLE" in variable else "0"
    monkeypatch.delenv(variable, raising=False)
    importlib.reload(strategies)
    assert os.environ[variable] == silent
    # An explicit choice is left as it is.
    monkeypatch.setenv(variable, "chosen")
    importlib.reload(strategies)
    assert os.environ[variable] == "chosen"


def test_flower_does_not_tear_the_progress_display():
    assert not logging.getLogger("flwr").isEnabledFor(logging.INFO)

"""Settings are chosen on made-up tasks, and what is configured is what was chosen."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from configured import configured

import benchmarks.settings as search
from benchmarks.settings import SHAPES, Setting, Tried, best, score, tried, write_csv
from commands.compose import composed
from tacit.domains.domain import Metric
from tacit.domains.fleets import Fleets

PATH = "heart_disease domain.root=PATH"
KEPT = Path(search.__file__).parent / "tried"


def kept(domain):
    with (KEPT / f"{domain}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("domain", sorted(d for d in SHAPES if SHAPES[d].shares == 1))
def test_the_configuration_is_the_best_of_what_was_tried(domain):
    rows = kept(domain)
    root = ["domain.root=unused"] if domain == "heart_disease" else []
    config = composed([f"domain={domain}", *root])
    for arm, setting in configured(config).items():
        least = SHAPES[domain].metric is Metric.RMSE
        pick, column = (min, "rmse") if least else (max, "accuracy")
        top = pick((r for r in rows if r["arm"] == arm), key=lambda r: float(r[column]))
        clip = float(top["clipping_norm"]) if top["clipping_norm"] else None
        assert (int(top["rounds"]), float(top["learning_rate"]), clip) == setting


def test_commands_with_shared_noise_have_the_best_of_what_was_tried():
    page = (Path(search.__file__).parents[1] / "docs/results.md").read_text()
    lines = [each for each in page.splitlines() if "privacy=shared_noise" in each and PATH in each]
    top = max(kept("heart_disease_shared"), key=lambda row: float(row["accuracy"]))
    shape = SHAPES["heart_disease_shared"]
    assert lines
    for line in lines:
        given = dict(word.split("=", 1) for word in line.split() if "=" in word)
        assert given["privacy.clipping_norm"] == top["clipping_norm"]
        assert given["training.learning_rate"] == top["learning_rate"]
        assert float(given["privacy.epsilon"]) == shape.epsilon
    config = composed(["domain=heart_disease", "domain.root=unused"])
    assert config["training"]["rounds"] == int(top["rounds"])
    assert config["privacy"]["delta"] == shape.delta
    assert shape.shares == len(shape.sizes) - 1


@pytest.mark.parametrize("domain", sorted(SHAPES))
def test_every_setting_of_every_grid_was_tried(domain):
    rows = kept(domain)
    for arm, grid in SHAPES[domain].arms.items():
        assert len([r for r in rows if r["arm"] == arm]) == len(grid)


def test_federated_and_alone_get_the_same_trials():
    for shape in SHAPES.values():
        assert shape.arms["federated"] == shape.arms.get("alone", shape.private)


@pytest.mark.parametrize("domain", sorted(SHAPES))
def test_a_task_is_like_its_domain_and_fixed_by_its_number(domain):
    shape = SHAPES[domain]
    task, again, other = shape.task(3), shape.task(3), shape.task(4)
    assert {site: len(held.train) for site, held in task.sites.items()} == dict(shape.sizes)
    for site, held in task.sites.items():
        assert held.train.features.shape[1] == shape.schema.width
        assert held.train.features.equal(again.sites[site].train.features)
        assert not held.train.features.equal(other.sites[site].train.features)
        if shape.target is None:
            assert 0 < held.test.targets.double().mean() < 1
        else:
            assert -1 < held.test.targets.double().mean() < 1


def test_training_learns_and_noise_costs():
    shape, task = SHAPES["heart_disease"], SHAPES["heart_disease"].task(5)
    model = search._shared(shape, task, 5)
    plain = score("federated without privacy", Setting(50, 1.0, None), shape, task, model, 5)
    private = score("federated", Setting(10, 1.0, 1.0), shape, task, model, 5)
    majority = np.mean(
        [max(m, 1 - m) for h in task.sites.values() if (m := h.test.targets.double().mean().item())]
    )
    assert plain > majority
    assert plain > private > 0.5


@pytest.mark.slow
def test_a_number_is_learnt_and_its_error_is_in_its_unit():
    shape = SHAPES["fleets"]
    task = shape.task(5)
    model = search._shared(shape, task, 5)
    plain = score("federated without privacy", Setting(100, 0.1, None), shape, task, model, 5)
    private = score("federated", Setting(10, 0.5, 0.25), shape, task, model, 5)
    # An untrained model predicts the middle of the range: the error by hand, in weeks.
    middle = np.mean(
        [np.sqrt(np.mean((130 * h.test.targets.numpy()) ** 2)) for h in task.sites.values()]
    )
    untrained = score("federated without privacy", Setting(1, 1e-9, None), shape, task, model, 5)
    assert untrained == pytest.approx(middle, rel=1e-6)
    assert plain < private < middle


@pytest.mark.slow
def test_fleets_are_never_those_of_the_domain():
    shipped = Fleets().load()
    for number in range(SHAPES["fleets"].tasks):
        for site, held in SHAPES["fleets"].task(number).sites.items():
            assert not torch.isin(
                held.train.features[:, 2], shipped[site].test.features[:, 2]
            ).any()


def test_the_best_is_chosen_and_everything_is_kept(tmp_path):
    arms = SHAPES["heart_disease"].arms
    scores = [{arm: [0.5 + 0.001 * i for i in range(len(g))] for arm, g in arms.items()}] * 2
    rows = tried(scores, "heart_disease")
    assert best(rows, "alone", Metric.ACCURACY).setting == arms["alone"][-1]
    assert best(rows, "alone", Metric.RMSE).setting == arms["alone"][0]
    equals = [Tried("a", Setting(n, 1, 1), 0.6, 0) for n in (1, 2)]
    assert best(equals, "a", Metric.ACCURACY).setting.rounds == 1
    assert best(equals, "a", Metric.RMSE).setting.rounds == 1
    write_csv(rows, Metric.ACCURACY, tmp_path / "tried.csv")
    with (tmp_path / "tried.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(len(grid) for grid in arms.values())

"""Settings are chosen on made-up tasks, and what is configured is what was chosen."""

import csv
from pathlib import Path

import numpy as np
import pytest

import benchmarks.settings as search
from benchmarks.settings import SHAPES, Setting, Tried, best, score, tried, write_csv
from benchmarks.synthetic import make_task
from commands.compose import composed

KEPT = Path(search.__file__).parent / "tried"
CONFIGURED = {
    "alone": "alone",
    "federated without privacy": "federated",
    "pooled without privacy": "pooled",
}


def kept(domain):
    with (KEPT / f"{domain}.csv").open() as file:
        return list(csv.DictReader(file))


def task_of(domain, number):
    shape = SHAPES[domain]
    return make_task(
        shape.schema, shape.sizes, shape.pool_rows, shape.origin, shape.sharpness, number
    )


@pytest.mark.parametrize("domain", sorted(SHAPES))
def test_the_configuration_is_the_best_of_what_was_tried(domain):
    rows = kept(domain)
    words = [f"domain={domain}", "domain.root=unused"] if domain == "heart_disease" else []
    config = composed(words)
    chosen = {
        "federated": (
            config["training"]["rounds"],
            config["training"]["learning_rate"],
            config["privacy"]["clipping_norm"],
        )
    }
    for arm, key in CONFIGURED.items():
        own = config["baselines"][key]
        clip = own["clipping_norm"] if arm == "alone" else None
        chosen[arm] = (own["rounds"], own["learning_rate"], clip)
    for arm, setting in chosen.items():
        top = max((r for r in rows if r["arm"] == arm), key=lambda r: float(r["accuracy"]))
        clip = float(top["clipping_norm"]) if top["clipping_norm"] else None
        assert (int(top["rounds"]), float(top["learning_rate"]), clip) == setting


@pytest.mark.parametrize("domain", sorted(SHAPES))
def test_every_setting_of_every_grid_was_tried(domain):
    rows = kept(domain)
    for arm, grid in SHAPES[domain].arms.items():
        assert len([r for r in rows if r["arm"] == arm]) == len(grid)


def test_federated_and_alone_get_the_same_trials():
    for shape in SHAPES.values():
        assert shape.arms["federated"] == shape.arms["alone"]


@pytest.mark.parametrize("domain", sorted(SHAPES))
def test_a_task_is_like_its_domain_and_fixed_by_its_number(domain):
    shape = SHAPES[domain]
    task, again, other = task_of(domain, 3), task_of(domain, 3), task_of(domain, 4)
    assert {site: len(held.train) for site, held in task.sites.items()} == dict(shape.sizes)
    for site, held in task.sites.items():
        assert held.train.features.shape[1] == shape.schema.width
        assert held.train.features.equal(again.sites[site].train.features)
        assert not held.train.features.equal(other.sites[site].train.features)
        assert 0 < held.test.targets.double().mean() < 1


def test_training_learns_and_noise_costs():
    shape, task = SHAPES["heart_disease"], task_of("heart_disease", 5)
    model = search._shared(shape, task, 5)
    plain = score("federated without privacy", Setting(50, 1.0, None), shape, task, model, 5)
    private = score("federated", Setting(10, 1.0, 1.0), shape, task, model, 5)
    majority = np.mean(
        [max(m, 1 - m) for h in task.sites.values() if (m := h.test.targets.double().mean().item())]
    )
    assert plain > majority
    assert plain > private > 0.5


def test_the_best_is_chosen_and_everything_is_kept(tmp_path):
    arms = SHAPES["heart_disease"].arms
    scores = [{arm: [0.5 + 0.001 * i for i in range(len(g))] for arm, g in arms.items()}] * 2
    rows = tried(scores, "heart_disease")
    assert best(rows, "alone").setting == arms["alone"][-1]
    equals = [Tried("a", Setting(n, 1, 1), 0.6, 0) for n in (1, 2)]
    assert best(equals, "a").setting.rounds == 1
    write_csv(rows, tmp_path / "tried.csv")
    with (tmp_path / "tried.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(len(grid) for grid in arms.values())

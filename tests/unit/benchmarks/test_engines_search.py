"""Settings of engines are chosen on the public pool, and configured as chosen."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.engines as search
from benchmarks.engines import ARMS, ENCODERS, Encoder, Setting, Task, make_task, trained
from commands.compose import composed
from tacit.domains.domain import Examples
from tacit.learning.local import Compute, train_round
from tacit.learning.plan import Persons, RoundPlan, Within
from tacit.models.linear import Linear
from tacit.models.trainable import trainable_weights
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream

KEPT = Path(search.__file__).parent / "tried" / "fleet_engines.csv"


def kept(stage, arm):
    with KEPT.open() as file:
        rows = [row for row in csv.DictReader(file) if (row["stage"], row["arm"]) == (stage, arm)]
    return sorted(rows, key=lambda row: float(row["rmse"]))


def setting_of(row):
    clip = float(row["clipping_norm"]) if row["clipping_norm"] else None
    return int(row["rounds"]), float(row["learning_rate"]), clip


def test_the_configuration_is_the_best_of_what_was_tried():
    config = composed(["domain=fleet_engines", "domain.root=unused"])
    encoder = kept("encoder", "engine")[0]
    assert int(encoder["steps"]) == config["model"]["pretraining"]["steps"]
    assert int(encoder["window"]) == config["domain"]["window"]
    for name in ("mixtures", "hidden", "embedding", "floor"):
        assert float(encoder[name]) == config["model"]["architecture"][name]
    training, privacy, beside = config["training"], config["privacy"], config["baselines"]
    chosen = {
        "engine": {**training, "clipping_norm": privacy["clipping_norm"]},
        "engine, alone": beside["alone"],
        "without privacy": {**beside["federated"], "clipping_norm": None},
    }
    for arm, setting in chosen.items():
        wanted = (setting["rounds"], setting["learning_rate"], setting["clipping_norm"])
        assert setting_of(kept("training", arm)[0]) == wanted
    assert beside["pooled"] == beside["federated"]
    assert (privacy["epsilon"], privacy["delta"]) == (search.EPSILON, search.DELTA)
    assert privacy["unit"] == "person"
    assert privacy["rows_per_person"] == config["domain"]["windows"] == search.WINDOWS
    assert config["domain"]["stride"] == search.STRIDE


def test_every_point_of_every_grid_was_tried():
    assert len(kept("encoder", "engine")) == len(ENCODERS)
    for name, arm in ARMS.items():
        assert len(kept("training", name)) == len(arm.settings)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    engines = []
    for life in rng.integers(60, 90, 12):
        wear = np.maximum(0, np.linspace(-1, 1, life))[:, None]
        sensors = 3 * wear + rng.normal(size=(life, 14))
        engines.append(np.concatenate([np.tile([0.0, 0, 100], (life, 1)), sensors], 1))
    return make_task(engines, Encoder(10, 2, 8, 4, 0.03, 2), 1)


@pytest.mark.parametrize("arm", ["engine", "window"])
def test_a_step_is_that_of_a_run(task, arm, monkeypatch):
    """Without noise, for which nothing but its deviation is taken."""
    monkeypatch.setattr(search, "noise_multiplier", lambda *given: 0.0)
    setting = Setting(3, 0.5, 0.125)
    by_engine = ARMS[arm].by_engine
    found = trained(task, ARMS[arm], setting, 0)
    engines = [Examples(*(torch.tensor(a).float() for a in own)) for own in task.train]
    whose = [torch.zeros(len(e), dtype=torch.int64) for e in engines]
    rows = Examples.together(
        [Examples(e.features[:, :-1], e.targets, w) for e, w in zip(engines, whose, strict=True)]
    )
    head = Linear().build((rows.features.shape[1],), 1)
    plan = RoundPlan(
        3,
        1.0,
        float(len(engines) if by_engine else len(engines) * search.WINDOWS),
        setting.learning_rate,
        setting.clipping_norm,
        1e-9,
        unit=Unit.PERSON if by_engine else Unit.RECORD,
        persons=Persons(99, Within.MEAN) if by_engine else None,
    )
    names = ("coins", "choice", "noise", "layers")
    streams = {name: Stream.seeded(0, "site", 1, name) for name in names}
    train_round(head, rows, plan, **streams, compute=Compute(torch.device("cpu")))
    weights = trainable_weights(head)
    wanted = np.append(weights["head.weight"][0], weights["head.bias"])
    assert np.allclose(found[0], wanted, atol=1e-6)


def test_noise_is_that_of_the_fleet(task):
    """Five operators' noise on the mean of their models is √5 of what one sum of all has."""
    still = Task([(own, np.zeros(len(own))) for own, _ in task.train], task.features, task.targets)
    setting = Setting(1, 1.0, 0.5)
    sigma = search.noise_multiplier(search.EPSILON, search.DELTA, 1.0, 1)
    for arm, deviation in (("engine", 5**0.5 / 100), ("engine as a client", 1 / 100)):
        drawn = np.concatenate(
            [trained(still, ARMS[arm], setting, seed).ravel() for seed in range(40)]
        )
        assert drawn.std() == pytest.approx(sigma * 0.5 * deviation, rel=0.1)


def test_public_private_and_held_out_engines_are_not_the_same(monkeypatch):
    seen = []
    honest = search.last_windows

    def noted(engine, *more):
        seen.append((float(engine[0, 0]), more[-1]))
        return honest(engine, *more)

    monkeypatch.setattr(search, "last_windows", noted)
    rng = np.random.default_rng(0)
    engines = [rng.normal(size=(60, 17)) for _ in range(12)]
    make_task(engines, Encoder(10, 2, 8, 4, 0.03, 1), 0)
    assert len({first for first, _ in seen}) == len(seen) == 12
    assert sum(most == search.HELD_WINDOWS for _, most in seen) == 2

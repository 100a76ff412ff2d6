"""What domain=table recommends was chosen on made-up tables, by a step that is ours."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import benchmarks.own_tables as search
from benchmarks.own_tables import ARMS, Shape, chosen, made_up, trained
from benchmarks.training import Setting, federated
from commands.compose import composed
from tacit.domains.domain import Examples
from tacit.models.linear import Linear
from tacit.models.trainable import Train, choose_trainable

KEPT = Path(search.__file__).parent / "tried" / "table.csv"


def test_the_configuration_is_what_was_chosen():
    config = composed(["domain=table", "domain.schema=unused"])
    training, baselines = config["training"], config["baselines"]
    found = {
        "federated": {**training, "clipping_norm": config["privacy"]["clipping_norm"]},
        "alone": baselines["alone"],
        "federated without privacy": {**baselines["federated"], "clipping_norm": None},
    }
    assert baselines["pooled"] == baselines["federated"]
    table = pd.read_csv(KEPT)
    for arm, settings in ARMS.items():
        rows = table[table["arm"] == arm]
        assert len(rows) == len(settings)
        own = settings[chosen(rows["below"].to_numpy(), rows["worst"].to_numpy())]
        keys = ("rounds", "learning_rate", "clipping_norm")
        assert [found[arm][key] for key in keys] == [getattr(own, key) for key in keys]


def test_of_settings_that_are_near_the_best_the_worst_table_decides():
    assert chosen(np.array([0.05, 0.054, 0.056]), np.array([0.3, 0.1, 0.0])) == 1
    assert chosen(np.array([0.05, 0.054, 0.053]), np.array([0.3, 0.10001, 0.1])) == 2


def test_the_quick_step_is_that_of_a_site():
    """Without noise, and with so large a norm that nothing is clipped, it is plain descent."""
    for shape in (Shape(5, 60, 4), Shape(5, 60, 0)):
        data = [train for train, _ in made_up(shape, 0)]
        model = Linear().build((5,), max(shape.classes, 1))
        choose_trainable(model, Train.HEAD)
        rows = {
            f"site-{n}": Examples(
                torch.from_numpy(part.seen[:, :-1].astype(np.float32)),
                torch.from_numpy(part.told.argmax(1))
                if shape.classes
                else torch.from_numpy(part.told[:, 0].astype(np.float32)),
            )
            for n, part in enumerate(data)
        }
        plain = Setting(3, 0.5, None)
        own = federated(model, rows, dict.fromkeys(rows, shape.rows), plain, 1.0, 1e-5, 0)
        quick = trained(data, shape, plain, 0)
        both = np.hstack([own["head.weight"], own["head.bias"][:, None]]).T
        assert np.allclose(both, quick, atol=1e-5)


def test_what_is_clipped_is_one_example(monkeypatch):
    monkeypatch.setattr(search, "_noise", lambda rounds: 0.0)
    shape = Shape(5, 60, 2)
    data = [train for train, _ in made_up(shape, 0)]
    weights = trained(data, shape, Setting(1, 1.0, 1e-3), 0)
    # The mean of gradients of this norm at most, over equal sites.
    assert np.linalg.norm(weights) <= 1e-3
    assert np.linalg.norm(weights) > 1e-4

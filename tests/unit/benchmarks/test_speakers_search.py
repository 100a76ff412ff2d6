"""Settings of homes are chosen on training recordings alone, and configured as chosen."""

import csv
from pathlib import Path

import pytest
import torch

import benchmarks.speakers as search
from benchmarks.speakers import ARMS, ENCODERS, Encoder, Home, accuracies, embedded
from benchmarks.training import Setting
from commands.compose import composed
from tacit.domains.domain import Examples, SiteData
from tacit.domains.homes import SPEAKERS

KEPT = Path(search.__file__).parent / "tried" / "homes.csv"


def kept(stage, arm):
    with KEPT.open() as file:
        rows = [row for row in csv.DictReader(file) if (row["stage"], row["arm"]) == (stage, arm)]
    return sorted(rows, key=lambda row: -float(row["mean"]))


def setting_of(row):
    clip = float(row["clipping_norm"]) if row["clipping_norm"] else None
    return int(row["rounds"]), float(row["learning_rate"]), clip


def test_the_configuration_is_the_best_of_what_was_tried():
    config = composed(["domain=homes", "domain.root=unused"])
    encoder = kept("encoder", "noise in shares")[0]
    model = config["model"]
    assert int(encoder["steps"]) == model["pretraining"]["steps"]
    assert int(encoder["embedding"]) == model["architecture"]["embedding"]
    assert model["architecture"]["views"] == "speech"
    privacy, beside = config["privacy"], config["baselines"]
    chosen = {
        "noise in shares": {**config["training"], "clipping_norm": privacy["clipping_norm"]},
        "alone": beside["alone"],
        "federated without privacy": {**beside["federated"], "clipping_norm": None},
    }
    for arm, setting in chosen.items():
        wanted = (setting["rounds"], setting["learning_rate"], setting["clipping_norm"])
        assert setting_of(kept("training", arm)[0]) == wanted
    assert beside["pooled"] == beside["federated"]
    assert privacy["kind"] == "shared_noise"
    assert (privacy["epsilon"], privacy["delta"]) == (search.EPSILON, search.DELTA)


def test_every_point_of_every_grid_was_tried():
    assert len(kept("encoder", "noise in shares")) == len(ENCODERS)
    for arm, grid in ARMS.items():
        assert len(kept("training", arm)) == len(grid)
    assert ARMS["noise in shares"] == ARMS["alone"]


def test_takes_are_cut_in_their_order_and_test_recordings_never_read(monkeypatch):
    class Marked:
        """Homes of which a recording's picture is its number."""

        inputs = (1, 32, 32)

        def __init__(self, root, takes):
            assert takes == 45

        def public_pool(self):
            return torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))

        def load(self):
            numbers = torch.arange(450.0).view(-1, 1, 1, 1).expand(450, 1, 32, 32)
            rows = Examples(numbers, torch.arange(450) % 10)
            return {"theo": SiteData(rows, None)}

    class Plain:
        def embed(self, features):
            return features[:, 0, :2, 0]

    monkeypatch.setattr(search, "Homes", Marked)
    monkeypatch.setattr(search.Vision, "build", lambda self, *given: Plain())
    monkeypatch.setattr(search, "MaskedFeatures", lambda *given: None)
    monkeypatch.setattr(search, "pretrain", lambda *given: None)
    home = embedded(Path("x"), 5, Encoder(1, 8))["theo"]
    assert home.train.features[:, 0].tolist() == list(range(50))
    assert home.later.features[:, 0].tolist() == list(range(50, 450))


@pytest.mark.parametrize("arm", ["noise in shares", "alone"])
def test_homes_that_are_easily_told_are_learnt(arm):
    generator = torch.Generator().manual_seed(1)

    def rows(n):
        targets = torch.arange(n) % 10
        codes = torch.eye(10)[targets] + 0.05 * torch.randn(n, 10, generator=generator)
        return Examples(torch.nn.functional.normalize(codes), targets)

    homes = {speaker: Home(rows(200), rows(50)) for speaker in SPEAKERS}
    found = accuracies(arm, Setting(10, 16.0, 0.5), homes, 0)
    assert list(found) == list(SPEAKERS)
    assert min(found.values()) > 0.9

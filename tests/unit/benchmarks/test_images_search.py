"""Settings for images are chosen on planted tasks of public images, and configured as chosen."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from configured import configured

import benchmarks.images as search
from benchmarks.images import ARMS, ENCODERS, Encoder, Setting, Tried, best, score, write_csv
from benchmarks.planted import Opacity, make_task, plan_of, warped
from commands.compose import composed
from tacit.domains.domain import Examples
from tacit.domains.pneumonia import Pneumonia

KEPT = Path(search.__file__).parent / "tried" / "pneumonia.csv"


def public(n=30):
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.3 * torch.rand(n, 1, 28, 28, generator=generator)


def kept(stage):
    with KEPT.open() as file:
        return [row for row in csv.DictReader(file) if row["stage"] == stage]


def test_the_configuration_is_the_best_of_what_was_tried():
    config = composed(["domain=pneumonia", "domain.root=unused"])
    encoder = max(kept("encoder"), key=lambda row: float(row["auc"]))
    model = config["model"]
    assert int(encoder["steps"]) == model["pretraining"]["steps"]
    assert int(encoder["embedding"]) == model["architecture"]["embedding"]
    for arm, setting in configured(config).items():
        rows = [row for row in kept("training") if row["arm"] == arm]
        top = max(rows, key=lambda row: float(row["auc"]))
        clip = float(top["clipping_norm"]) if top["clipping_norm"] else None
        assert (int(top["rounds"]), float(top["learning_rate"]), clip) == setting
    assert (config["privacy"]["epsilon"], config["privacy"]["delta"]) == (
        search.EPSILON,
        search.DELTA,
    )


def test_every_point_of_every_grid_was_tried():
    found = {(int(row["steps"]), int(row["embedding"])) for row in kept("encoder")}
    assert found == {(e.steps, e.embedding) for e in ENCODERS}
    for arm, grid in ARMS.items():
        assert len([row for row in kept("training") if row["arm"] == arm]) == len(grid)
    assert ARMS["federated"] == ARMS["alone"]


def test_the_encoder_is_pretrained_as_a_run_does_it():
    """All but the number of steps, which is searched."""
    config = composed(["domain=pneumonia", "domain.root=unused"])["model"]
    assert config["train"] == "head"
    asked = {**config["pretraining"], "steps": 1}
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "pretrain", lambda objective, settings, seed: seen.append(settings))
        model = search.pretrained(public(), Encoder(1, 16), 0)
    assert {key: getattr(seen[0], key) for key in asked} == asked
    channels = config["architecture"]["channels"]
    assert model.visible.out_channels == channels


def test_nothing_but_public_images_is_read(tmp_path, monkeypatch):
    """The file given to the search may hold nothing else."""
    images = (255 * public()[:, 0]).to(torch.uint8).numpy()
    np.savez(tmp_path / "pneumoniamnist.npz", val_images=images)
    seen = []
    monkeypatch.setattr(search, "search", lambda pool, tasks: seen.append(pool) or [])
    monkeypatch.setattr("sys.argv", ["images", str(tmp_path)])
    search.main()
    assert seen[0].equal(Pneumonia(str(tmp_path), {"a": 1}).public_pool())


@pytest.mark.parametrize("number", range(9))
def test_a_task_is_fixed_by_its_number_and_its_three_kinds_of_images_are_disjoint(
    number, monkeypatch
):
    monkeypatch.setattr("benchmarks.planted.TRAIN_ROWS", 60)
    monkeypatch.setattr("benchmarks.planted.TEST_ROWS", 20)
    monkeypatch.setattr("benchmarks.planted.warped", lambda images, strength, rng: images)
    # Even brightness tells which public image a copy is of; 0.9 is brighter than tissue.
    marks = torch.linspace(0.9, 1, 30)[:, None, None, None].expand(30, 1, 28, 28).contiguous()
    task, again = make_task(marks, number), make_task(marks, number)
    held = list(task.sites.values())
    test = held[0].test
    assert all(site.test is test for site in held)
    parts = [
        set(images[:, 0, 0, 0].tolist())
        for images in (task.pool, torch.cat([s.train.features for s in held]), test.features)
    ]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(parts[0]) == 20
    assert all(
        a.train.features.equal(b.train.features) and a.train.targets.equal(b.train.targets)
        for a, b in zip(held, again.sites.values(), strict=True)
    )


def test_nine_tasks_are_every_opacity_in_every_fold():
    assert {plan_of(n) for n in range(9)} == {(f, o) for f in range(3) for o in Opacity}


@pytest.mark.parametrize("number", [0, 3, 6])
def test_only_the_ill_are_brighter(number, monkeypatch):
    monkeypatch.setattr("benchmarks.planted.TRAIN_ROWS", 80)
    monkeypatch.setattr("benchmarks.planted.warped", lambda images, strength, rng: images)
    task = make_task(torch.full((30, 1, 28, 28), 0.3), number)
    for held in task.sites.values():
        brighter = (held.train.features > 0.3 + 1e-6).flatten(1).any(1)
        assert brighter.equal(held.train.targets == 1)
        assert held.train.features.max() <= 0.85


def test_warps_keep_images_and_strength_counts():
    images = public(20)
    moved = {s: warped(images, s, np.random.default_rng(0)) for s in (0.01, 1.0)}
    assert all(m.min() >= 0 and m.max() <= 1 for m in moved.values())
    small, large = ((m - images).abs().mean() for m in moved.values())
    assert small < 0.02 < large


def test_training_learns_and_noise_costs():
    generator = torch.Generator().manual_seed(1)

    def rows(n):
        targets = torch.randint(2, (n,), generator=generator)
        shift = 0.1 * (2 * targets[:, None] - 1)
        features = torch.randn(n, 32, generator=generator) / 32**0.5 + shift / 32**0.5 * 3
        return Examples(torch.nn.functional.normalize(features), targets)

    sites, test = {"a": rows(60), "b": rows(20)}, rows(2000)
    plain, private = Setting(20, 16.0, None), Setting(20, 16.0, 1.0)
    federated = score("federated without privacy", plain, sites, test, 0)
    noisy = score("federated", private, sites, test, 0)
    assert federated > noisy > 0.5
    assert score("pooled without privacy", plain, sites, test, 0) == pytest.approx(
        federated, abs=0.01
    )
    assert score("alone", private, sites, test, 0) < noisy


def test_the_best_of_a_stage_is_chosen_and_everything_is_kept(tmp_path):
    encoder, setting = Encoder(1, 2), Setting(1, 1.0, None)
    rows = [
        Tried(stage, "alone", encoder, setting, auc, 0.1)
        for stage, auc in (("encoder", 0.9), ("training", 0.5), ("training", 0.7))
    ]
    assert best(rows, "training", "alone").auc == 0.7
    write_csv(rows, tmp_path / "tried.csv")
    with (tmp_path / "tried.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["auc"] for row in found] == ["0.9", "0.5", "0.7"]
    assert found[0]["clipping_norm"] == ""

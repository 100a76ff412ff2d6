"""Loading a finished run's model: files that do not belong together are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from finished_run import write_run
from safetensors.torch import load_file, save_file

from tacit.domains.hospitals import Hospitals
from tacit.errors import ConfigurationError, ModelError, RunDirectoryError
from tacit.finished.model import load_run
from tacit.models.weights import save_weights


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("written") / "run")


@pytest.fixture
def run(written, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(written, tmp_path / "run")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run of a model that was pretrained, beside its cache."""
    folder = tmp_path_factory.mktemp("pretrained")
    words = ("model=tabular", "model.pretraining.steps=2", f"cache={folder / 'cache'}")
    return write_run(folder / "run", *words)


def changed(run, **fields):
    path = run / "model.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, **fields}))


def test_a_run_is_loaded_with_what_it_was_told(run):
    loaded = load_run(run)
    assert loaded.card == Hospitals().card
    assert loaded.domain.declared_sizes == Hospitals().declared_sizes
    assert loaded.module(torch.rand(2, 30)).shape == (2, 2)
    assert not loaded.module.training


def test_a_run_that_has_not_ended_is_no_run(run):
    (run / "results.json").unlink()
    with pytest.raises(RunDirectoryError, match="a run that ended"):
        load_run(run)


def test_weights_of_another_run_are_refused(run):
    weights = {name: each + 1 for name, each in load_file(run / "model.safetensors").items()}
    about = json.loads((run / "model.json").read_text())
    save_weights(run / "model.safetensors", {k: v.numpy() for k, v in weights.items()}, about)
    with pytest.raises(RunDirectoryError, match="of two runs"):
        load_run(run)


def test_damaged_weights_are_refused(run):
    weights = load_file(run / "model.safetensors")
    save_file({name: each + 1 for name, each in weights.items()}, run / "model.safetensors")
    with pytest.raises(ModelError, match="damaged or exchanged"):
        load_run(run)


def test_another_frozen_part_is_refused(run):
    changed(run, belongs_to="0" * 64)
    with pytest.raises(ModelError, match="did not train is another one"):
        load_run(run)


def test_a_run_of_an_earlier_version_is_said(run):
    about = json.loads((run / "model.json").read_text())
    del about["domain"]
    (run / "model.json").write_text(json.dumps(about))
    with pytest.raises(RunDirectoryError, match="earlier version"):
        load_run(run)


def test_a_key_that_is_not_there_is_said(run):
    with pytest.raises(ConfigurationError, match=r"domain\.rood=x.*no such key"):
        load_run(run, {"domain.rood": "x"})


def test_pretrained_weights_come_from_the_cache_and_not_from_the_domain(pretrained, monkeypatch):
    monkeypatch.setattr(Hospitals, "public_pool", lambda self: pytest.fail("the pool was read"))
    assert load_run(pretrained).module(torch.rand(2, 30)).shape == (2, 2)


def test_without_the_cache_they_are_made_again(pretrained):
    for file in (pretrained.parent / "cache" / "models").iterdir():
        file.unlink()
    assert load_run(pretrained).module(torch.rand(2, 30)).shape == (2, 2)


def test_without_cache_and_domain_it_is_said(run):
    changed(run, starts_from="gone.safetensors")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("hospitals.Hospitals", "hospitals.Gone"))
    with pytest.raises(ModelError, match=r"gone\.safetensors.*cannot be had.*Gone"):
        load_run(run)


def test_no_path_of_this_machine_is_in_what_describes_a_model(pretrained):
    told = (pretrained / "model.json").read_text()
    assert str(pretrained.parent) not in told
    assert str(Path.home()) not in told

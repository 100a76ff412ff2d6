"""Finished runs without a training: the model is built, and its files are written by hand."""

from dataclasses import replace
from pathlib import Path

import torch
import yaml
from example_run import RESULTS

from commands.compose import composed
from server.summary import described
from tacit.configuration import read_settings
from tacit.experiment import domain_of, prepare_model
from tacit.finished.model import RunModel, Told
from tacit.models.trainable import sha256_of, trainable_weights
from tacit.models.weights import save_weights
from tacit.runs.results import Results, write


def write_run(path: Path, *words: str) -> Path:
    """Write what `load_run` reads of a run with these words, with weights that are not zero."""
    config = composed(["model=linear", "compare=false", f"run.dir={path}", *words])
    settings = read_settings(config)
    prepared = prepare_model(settings, domain_of(settings))
    torch.manual_seed(0)
    weights = {
        name: each + 0.2 * torch.randn(each.shape).numpy()
        for name, each in trainable_weights(prepared.shared.module).items()
    }
    about = {"belongs_to": prepared.model_sha256, **described(prepared)}
    save_weights(path / "model.safetensors", weights, about)
    write(replace(RESULTS, weights_sha256=sha256_of(weights)), path / "results.json")
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    return path


def with_results(run: RunModel, results: Results, **card: object) -> RunModel:
    """Return a run with other results, and another card."""
    told = Told(replace(run.card, **card), run.domain.inputs, run.domain.declared_sizes)
    return replace(run, results=results, domain=told)

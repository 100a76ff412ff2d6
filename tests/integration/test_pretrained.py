"""A pretrained model of transformers in a whole run: head and LoRA, both engines, and at a site."""

import json

import pytest

pytest.importorskip("transformers", reason="the extra `text` is not installed")
pytest.importorskip("peft", reason="the extra `lora` is not installed")

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from commands.compose import composed
from simulations.experiment import prepare
from tacit.configuration import read_settings
from tacit.domains.domain import site_data
from tacit.domains.support import DECLARED_SIZES
from tacit.errors import ExitCode
from tacit.experiment import domain_of, prepare_model


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Ten small desks, a small model, and what a person types about them."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("support")
    subjects = {s.replace("_", " "): [f"{s} one", f"{s} two"] for s in DECLARED_SIZES}
    intents = [intent for own in subjects.values() for intent in own]
    pairs = [[f"{i.replace('_', ' ')} please", i.replace(" ", "_")] for i in intents]
    parts = {"train": pairs * 4, "test": pairs, "oos_test": [["please please", "oos"]]}
    (folder / "domains.json").write_text(json.dumps(subjects))
    (folder / "data_full.json").write_text(json.dumps(parts))
    known = sorted({word for text, _ in pairs for word in text.split()})
    numbers = {word: place for place, word in enumerate(["[UNK]", "[PAD]", *known])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = folder / "model"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(model)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(numbers),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
    ).save_pretrained(model)
    return (
        "domain=support",
        f"domain.root={folder}",
        f"model.name={model}",
        "model.sha256=null",
        "model.architecture.length=8",
        "training.rounds=2",
        "training.learning_rate=1",
        "privacy.delta=1e-4",
    )


def run(command, folder, *words):
    ended = command(*words, f"run.dir={folder}")
    assert ended.code == ExitCode.DONE, ended.err
    results = json.loads((folder / "results.json").read_text())
    return results, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("train", ["lora", pytest.param("head", marks=pytest.mark.slow)])
def test_both_engines_train_alike(command, words, tmp_path, train):
    found = {
        engine: run(command, tmp_path / engine, *words, f"model.train={train}", f"engine={engine}")
        for engine in ("stacked", "loop")
    }
    results, stacked = found["stacked"]
    assert set(stacked) == set(found["loop"][1])
    assert all(("lora_" in name) or name.startswith("head.") for name in stacked)
    assert any("lora_" in name for name in stacked) == (train == "lora")
    for name, array in stacked.items():
        np.testing.assert_allclose(array, found["loop"][1][name], atol=1e-5)
    assert results["out_of_scope"]["records"] == 1
    assert "SHA-256" in results["model"]["pretraining"]


@pytest.mark.parametrize("train", ["head", "lora"])
def test_a_site_reads_what_the_simulation_reads(words, train):
    settings = read_settings(composed([*words, f"model.train={train}"]))
    simulated = prepare(settings)
    domain = domain_of(settings)
    own = site_data(domain, "banking")
    assert torch.equal(own.train.features, simulated.data["banking"].train.features)
    assert prepare_model(settings, domain).model_sha256 == simulated.model_sha256


def test_another_file_is_another_model(command, words, tmp_path):
    ended = command(*words, f"model.sha256={'0' * 64}", f"run.dir={tmp_path}/run")
    assert ended.code == ExitCode.BAD_INPUT
    assert "model.sha256 pins 0000" in ended.err
    assert not (tmp_path / "run").exists()

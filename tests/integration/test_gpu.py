"""On a GPU: what a CPU computes but for rounding, the same bits every time, and within memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file
from whole_run import results

from commands.compose import composed
from simulations.chunks import peak_of
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.devices import compute_of
from tacit.domains.domain import Examples
from tacit.learning.local import Compute, clipped_sum, train_round
from tacit.learning.plan import RoundPlan
from tacit.models.adapters import Lora, add_adapters
from tacit.models.backbone import BackboneModel, Head
from tacit.models.trainable import Train, choose_trainable, trainable_weights
from tacit.models.transformer_backbones import Pooling, TextBackbone
from tacit.privacy.randomness import Stream
from tacit.settings import EngineKind, EngineSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CUDA = torch.device("cuda")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "conf"


def trained(folder, *more):
    """Three rounds of two steps, with privacy unless more is said."""
    steps = ("training.local_steps=2", "training.batch_size=64", "training.learning_rate=0.1")
    words = ["training.rounds=3", "compare=false", f"run.dir={folder}", *steps, *more]
    config = composed(words, folder=BENCHMARKS)
    with LiveProgress(Console(quiet=True)) as progress:
        simulate(read_settings(config), config, progress)
    return folder, load_file(folder / "model.safetensors")


def apart(found, expected):
    """The largest difference of a weight, over the largest of its entries."""
    return max(abs(found[name] - own).max() / abs(own).max() for name, own in expected.items())


MODELS = {
    "linear": ["model=linear"],
    "tabular": ["model=tabular", "model.train=all"],
    "convolutions": [
        *("domain=digits", "domain.partition.sites=4", "model=cohort"),
        "model.architecture.model=cnn",
    ],
}
PRIVACY = {
    "record": ["privacy=record"],
    "none": ["privacy=none"],
    "shared noise": ["privacy=shared_noise", "training.local_steps=1"],
    "clients": ["privacy=client_level", "privacy.epsilon=1000", "privacy.clipping_norm=1"],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("privacy", PRIVACY)
@pytest.mark.parametrize("engine", ["stacked", "loop"])
def test_a_gpu_trains_as_a_cpu_does(tmp_path, model, privacy, engine):
    """Noise and coins are the same; six steps in fp32 differ by roundings."""
    words = [*MODELS[model], *PRIVACY[privacy], f"engine={engine}"]
    on_cpu, expected = trained(tmp_path / "cpu", *words, "engine.device=cpu")
    on_gpu, found = trained(tmp_path / "gpu", *words, "engine.device=cuda")
    _, again = trained(tmp_path / "again", *words, "engine.device=cuda")
    assert apart(found, expected) < 1e-4
    assert all(np.array_equal(again[name], own) for name, own in found.items())
    assert results(on_gpu).get("privacy") == results(on_cpu).get("privacy")
    assert torch.cuda.get_device_name() in results(on_gpu)["environment"]


@pytest.mark.parametrize("engine", ["stacked", "loop"])
@pytest.mark.parametrize(("precision", "scale"), [("bf16", 1), ("fp16", 1024)])
def test_half_precision_trains(tmp_path, precision, scale, engine):
    """Eight or eleven bits of a product: after six steps weights are a few per cent apart."""
    words = ["model=tabular", "model.train=all", f"engine={engine}", "engine.device=cuda"]
    _, expected = trained(tmp_path / "fp32", *words)
    half = [f"engine.precision={precision}", f"engine.loss_scale={scale}"]
    _, found = trained(tmp_path / precision, *words, *half)
    assert 0 < apart(found, expected) < 0.1


def encoder():
    """A transformer of a million weights with LoRA, and 64 texts of 32 tokens."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    shape = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=500, intermediate_size=512, **shape, **none)
    bert = BertModel(config, add_pooling_layer=False)
    model = BackboneModel(TextBackbone(bert, Pooling.MEAN, True, 32), 128, 5, Head())
    add_adapters(model, Lora())
    choose_trainable(model, Train.LORA)
    rows = Examples(torch.randint(500, (64, 32)).float(), torch.randint(5, (64,)))
    return model, rows


def test_microbatches_take_less_of_a_gpu_and_sum_to_the_same():
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    model, rows = encoder()
    model.to(CUDA)
    found, peaks = {}, {}
    for size in (None, 8):

        def work(size=size):
            where = rows.features.to(CUDA), rows.targets.to(CUDA)
            found[size] = clipped_sum(model, *where, 0.1, Compute(CUDA, size))

        work()
        peaks[size] = peak_of(work, CUDA)
    assert peaks[8] < peaks[None] / 3
    for whole, parts in zip(found[None], found[8], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_a_transformer_gives_the_same_bits_again():
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    compute = compute_of(EngineSettings(EngineKind.STACKED, device="cuda"))
    model, rows = encoder()
    model.to(CUDA)
    where = rows.features.to(CUDA), rows.targets.to(CUDA)
    for precision in (torch.float32, torch.bfloat16):
        half = replace(compute, precision=precision)
        found = [clipped_sum(model, *where, 0.1, half) for _ in range(3)]
        assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
        assert all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_a_batch_that_does_not_fit_a_gpu_is_halved():
    """Memory is kept down to what a quarter of the batch takes, so that a whole one runs out."""
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    plan = RoundPlan(1, 1.0, 64.0, 0.1, 1.0, 1.0)

    def step():
        model, rows = encoder()
        model.to(CUDA)
        streams = {p: Stream.seeded(0, "site", 1, p) for p in ("coins", "noise", "layers")}
        train_round(model, rows, plan, **streams, compute=Compute(CUDA))
        return trainable_weights(model)

    expected = step()
    model, rows = encoder()
    few = rows.features[:16].to(CUDA), rows.targets[:16].to(CUDA)
    model.to(CUDA)
    peak = peak_of(lambda: clipped_sum(model, *few, 1.0, Compute(CUDA)), CUDA)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 2 * peak
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(4 * peak, dtype=torch.uint8, device=CUDA)
        found = step()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert apart(found, expected) < 1e-4

"""Models of others as they are written: the card's own Python scores as the run's model does."""

import pytest

pytest.importorskip("transformers", reason="the extra `text` is not installed")
pytest.importorskip("peft", reason="the extra `lora` is not installed")

import small_models
import torch
from finished_run import write_run
from safetensors.torch import load_file
from transformers import AutoModel

from tacit.errors import ModelError
from tacit.finished.model import load_run
from tacit.finished.onnx import FP32, INT8, write_onnx
from tacit.finished.whole import write_whole

IMAGES = """\
name: shades
files: rows
target: {task: classes, classes: [dark, light]}
image: {size: [20, 20], colour: rgb}
sites: {declared_sizes: {north: 15}}
"""
SAMPLES = 400
SOUNDS = "\n".join(
    [
        "name: sounds",
        "files: sounds.csv",
        "target: {task: labels, labels: [loud, high]}",
        "features:",
        *(f"  s{n}: {{number: [-1, 1]}}" for n in range(SAMPLES)),
        "sites: {declared_sizes: {north: 15}}",
    ]
)
KINDS = {
    "vit": ("images", IMAGES, (3, 20, 20)),
    "resnet": ("images", IMAGES, (3, 20, 20)),
    "waves": ("table", SOUNDS, (SAMPLES,)),
}


def run_of(folder, kind, *words):
    domain, schema, _ = KINDS[kind]
    (folder / "schema.yaml").write_text(schema)
    return load_run(
        write_run(
            folder / "run",
            f"domain={domain}",
            f"domain.schema={folder / 'schema.yaml'}",
            "model=transformers",
            f"model.name={getattr(small_models, kind)(folder / kind)}",
            *words,
        )
    )


def check_usage(run, whole, shape, monkeypatch, out, within=1e-5):
    """Hold the usage's scores against the run's, on examples as the domain has them."""
    examples = torch.rand(3, *shape)
    with torch.no_grad():
        own = run.module(run.reading.reader(examples, lambda count: None))
    monkeypatch.chdir(out)
    names = {}
    exec(compile(whole.usage, "README.md", "exec"), names)  # noqa: S102 - what was just made
    torch.testing.assert_close(names["scores"](examples), own, atol=within, rtol=within)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("vit", ("model.train=lora", "model.lora.rank=2", "model.architecture.pooling=first")),
        ("resnet", ("model.train=head",)),
        ("resnet", ("model.train=regex", "model.train_pattern='stages\\.1'")),
        ("waves", ("model.train=head", "model.architecture.unit=false")),
    ],
)
def test_it_is_the_runs_model_and_its_librarys(tmp_path, monkeypatch, kind, words):
    run = run_of(tmp_path, kind, *words)
    (tmp_path / "out").mkdir()
    whole = write_whole(run, tmp_path / "out")
    assert whole.difference < 1e-5
    check_usage(run, whole, KINDS[kind][2], monkeypatch, tmp_path / "out")
    before, after = (AutoModel.from_pretrained(tmp_path / d) for d in (kind, "out"))
    assert [*before.state_dict()] == [*after.state_dict()]
    assert type(before.config).__name__ == type(after.config).__name__
    written = (tmp_path / "out" / "config.json").read_text()
    assert str(tmp_path) not in written


def test_weights_that_the_first_files_lack_are_not_made_up(tmp_path):
    from safetensors.torch import save_file

    run_of(tmp_path, "vit")
    path = tmp_path / "vit" / "model.safetensors"
    kept = {name: each for name, each in load_file(path).items() if "pooler" not in name}
    save_file(kept, path, {"format": "pt"})
    (tmp_path / "out").mkdir()
    again = tmp_path / "again"
    again.mkdir()
    run = load_run(write_run(again, *_words(tmp_path)))
    write_whole(run, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == kept.keys()


def _words(folder):
    schema, name = folder / "schema.yaml", folder / "vit"
    return ("domain=images", f"domain.schema={schema}", "model=transformers", f"model.name={name}")


def test_a_backbone_that_does_not_say_how_is_refused(tmp_path, monkeypatch):
    run = run_of(tmp_path, "vit")
    monkeypatch.delattr("tacit.models.transformer_backbones.ValuesBackbone.save")
    with pytest.raises(ModelError, match=r"model\.architecture=transformers.*Exportable"):
        write_whole(run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet", "waves"])
def test_it_is_the_runs_model_as_onnx(tmp_path, kind):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    run = run_of(tmp_path, kind)
    (tmp_path / "out").mkdir()
    made = write_onnx(write_whole(run, tmp_path / "out"), run.card, tmp_path / "out")
    assert made.refused == ()
    assert [each.file for each in made.files] == [FP32, INT8]
    assert made.files[0].difference < 1e-4

"""Models of timm as they are written. They need a torchvision that goes with the torch here."""

import pytest

pytest.importorskip("timm", reason="the extra `timm` is not installed", exc_type=ImportError)

import timm
import torch
from finished_run import write_run
from test_whole import IMAGES, check_usage
from timm.models import save_for_hf

from tacit.finished.model import load_run
from tacit.finished.whole import write_whole


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("test_resnet", ("model.train=head",)),
        ("test_resnet", ("model.train=regex", "model.train_pattern=layer4")),
        ("test_vit", ("model.train=lora", "model.lora.rank=2", "model.architecture.unit=false")),
    ],
)
def test_it_is_the_runs_model_and_timms(tmp_path, monkeypatch, kind, words):
    torch.manual_seed(0)
    model = timm.create_model(kind, num_classes=3).train()
    with torch.no_grad():
        model(torch.randn(8, 3, *model.pretrained_cfg["input_size"][1:]))  # BatchNorm's statistics
    save_for_hf(model.eval(), tmp_path / kind, safe_serialization=True)
    (tmp_path / "schema.yaml").write_text(IMAGES)
    run = load_run(
        write_run(
            tmp_path / "run",
            "domain=images",
            f"domain.schema={tmp_path / 'schema.yaml'}",
            "model=timm",
            f"model.name={tmp_path / kind}",
            *words,
        )
    )
    out = tmp_path / "out"
    out.mkdir()
    whole = write_whole(run, out)
    # Random weights that were not brought to length 1 round at 5e-5: torch's own fp64 says so.
    within = 1e-4
    assert whole.difference < within
    check_usage(run, whole, (3, 20, 20), monkeypatch, out, within)
    again = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert not [name for name in again.state_dict() if "lora" in name]
    assert str(tmp_path) not in (out / "config.json").read_text()

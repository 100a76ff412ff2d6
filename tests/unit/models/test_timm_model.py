"""Models of timm as backbones. They need a torchvision that goes with the installed torch."""

import pytest

pytest.importorskip("timm", reason="the extra `timm` is not installed", exc_type=ImportError)

import timm
import torch
from timm.models import save_for_hf

from tacit.domains.domain import Card, Examples, Metric
from tacit.errors import ModelError
from tacit.learning.local import Compute
from tacit.learning.stacked.trial import Means, choose
from tacit.models.adapters import Lora, add_adapters
from tacit.models.compatibility import check_private
from tacit.models.reading import read_domain
from tacit.models.timm_model import Timm
from tacit.models.trainable import Train, choose_trainable

CPU = torch.device("cpu")
CARD = Card("photos", "Photos", "", ("cat", "dog"), Metric.ACCURACY, "one photo")
KINDS = pytest.mark.parametrize("kind", ["test_vit", "test_resnet", "test_convnext"])


class Photos:
    """A domain with nothing but a card and a shape."""

    card, inputs, declared_sizes = CARD, (1, 28, 28), {"only": 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}
    for kind in ("test_vit", "test_resnet", "test_convnext"):
        torch.manual_seed(0)
        model = timm.create_model(kind, num_classes=3).train()
        with torch.no_grad():
            for _ in range(3):  # so that BatchNorm has statistics of its own
                model(torch.randn(8, 3, *model.pretrained_cfg["input_size"][1:]))
        folder = tmp_path_factory.mktemp(kind)
        save_for_hf(model.eval(), folder, safe_serialization=True)
        found[kind] = str(folder)
    return found


def photos(n=3):
    images = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return Examples(images, torch.zeros(n, dtype=torch.int64))


@KINDS
def test_what_is_read_is_what_timm_makes_of_each_image(made, kind):
    found = read_domain(Photos(), Timm(made[kind]), Train.HEAD, CPU)
    model = timm.create_model(f"local-dir:{made[kind]}", pretrained=True, num_classes=0).eval()
    data = timm.data.resolve_model_data_config(model)
    images = torch.nn.functional.interpolate(
        photos().features.expand(-1, 3, -1, -1),
        data["input_size"][1:],
        mode="bilinear",
        antialias=True,
    )
    mean, deviation = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model((images - mean) / deviation), dim=1)
    torch.testing.assert_close(found.read(photos()).features, expected, atol=1e-5, rtol=1e-4)


@KINDS
@pytest.mark.parametrize("train", [Train.ALL, Train.LORA, Train.REGEX])
def test_a_backbone_trains_privately(made, kind, train):
    found = read_domain(Photos(), Timm(made[kind]), train, CPU)
    module = found.reading.architecture.build(found.inputs, 2)
    if train is Train.LORA:
        if kind == "test_resnet":
            with pytest.raises(ModelError, match="no linear layer"):
                add_adapters(module, Lora(rank=2))
            return
        add_adapters(module, Lora(rank=2))
    # Only some of their names have a number: of blocks or of stages.
    choose_trainable(module, train, r"(blocks|layer|stages)\.?1" if train is Train.REGEX else None)
    if kind == "test_convnext" and train is not Train.LORA:
        # Opacus is wrong about its padded convolutions with a stride; it says so by name.
        with pytest.raises(ModelError, match="downsample"):
            check_private(module, found.inputs)
        return
    check_private(module, found.inputs)
    if kind == "test_vit":
        chosen = choose(module, found.inputs, Compute(CPU), private=True)
        assert chosen.means is not Means.LOOP, chosen.reasons


def test_what_is_no_image_is_refused(made):
    class Rows(Photos):
        inputs = (5,)

    with pytest.raises(ModelError, match="takes images"):
        read_domain(Rows(), Timm(made["test_vit"]), Train.HEAD, CPU)

"""Any model of timm, from the hub or a folder, with our head on it."""

from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import nn

from tacit.domains.domain import Card
from tacit.errors import ConfigurationError, ModelError
from tacit.models.backbone import Head, reading_through
from tacit.models.hub import ModelFiles, model_files
from tacit.models.mended import fix_batch_norms, still, take_weights
from tacit.models.reading import Reader, Reading
from tacit.models.trainable import Train
from tacit.models.transformer_backbones import Pixels, pixels_of
from tacit.models.usage import usage


class Pooled(nn.Module):
    """A model of timm without its classifier.

    Parameters
    ----------
    model
        Made with ``num_classes=0``.
    unit
        Whether what it gives is brought to length 1.
    inputs
        Shape of one example.
    source
        Folder that the model came from.
    """

    library = "timm"
    free = MappingProxyType({"images": (0,)})

    def __init__(self, model: nn.Module, unit: bool, inputs: tuple[int, ...], source: Path) -> None:
        super().__init__()
        self.model = model
        self._unit = unit
        self._inputs = inputs
        self._source = source

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of images [n, channels, height, width]."""
        return self.embed(images)

    def named(self, examples: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the images, which the model takes as they are."""
        return (examples,)

    def embed(self, *given: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of images [n, channels, height, width]."""
        pooled: torch.Tensor = self.model(*given)
        return nn.functional.normalize(pooled, dim=1) if self._unit else pooled

    def made_up(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Make up images of normal values."""
        return torch.randn(count, *self._inputs, generator=generator)

    def save(self, prepare: Reader, folder: Path) -> str:
        """Write the model as timm does for a hub, and return how it is used."""
        from timm.models import save_for_hf

        plain = _made(self._source)
        take_weights(plain, self.model)
        save_for_hf(plain, str(folder), safe_serialization=True)
        return usage(
            "use_values.py.j2", library=self.library, unit=self._unit, **pixels_of(prepare)
        )

    def loaded(self, folder: Path) -> Self:
        """Return the backbone anew, from what `save` has written."""
        return type(self)(_made(folder).eval(), self._unit, self._inputs, folder)


class Timm:
    """Architecture of a pretrained model of timm.

    Parameters
    ----------
    pretrained
        A folder with the config.json and model.safetensors that timm writes, or a name of timm's on
        the hub (resnet18.a1_in1k).
    sha256
        Which its weights must have; None for any.
    revision
        On the hub.
    unit
        Whether what it gives the head is brought to length 1, which keeps gradients of like size.
    head_bias
        Whether the head has a bias. Without one it has more of a clipped gradient, which is worth
        more than what a bias says where classes are about equally common.
    """

    name = "timm"

    def __init__(
        self,
        pretrained: str,
        sha256: str | None = None,
        revision: str | None = None,
        unit: bool = True,
        head_bias: bool = True,
    ) -> None:
        self._pretrained = pretrained
        self._sha256 = sha256
        self._revision = revision
        self._unit = unit
        self._head = Head(head_bias)

    def reading(
        self, inputs: tuple[int, ...], card: Card, train: Train, device: torch.device
    ) -> Reading:
        """Load the model and return how a domain's images are read.

        Raises
        ------
        ModelError
            Its files are no such model, or it does not take the domain's examples.
        """
        if card.texts or len(inputs) != 3:
            what = "texts" if card.texts else str(list(inputs))
            raise ModelError(
                f"model.name={self._pretrained}: takes images, and examples of {card.name} are "
                f"{what}: choose another model"
            )
        files = self._files()
        model, data = _loaded(files, self._pretrained)
        still(model)
        fix_batch_norms(model)
        channels, height, width = data["input_size"]
        prepare = Pixels((height, width), data["mean"][:channels], data["std"][:channels])
        return reading_through(
            self.name,
            prepare,
            Pooled(model, self._unit, prepare.inputs, files.folder),
            train,
            device,
            files.identity,
            f"{self._pretrained} (SHA-256 {files.sha256})",
            width=int(model.num_features),
            head=self._head,
        )

    def _files(self) -> ModelFiles:
        named = self._pretrained
        # On the hub timm's own models are in its folder.
        known = "/" in named or "." not in named or Path(named).exists()
        return model_files(named if known else f"timm/{named}", self._sha256, self._revision)


def _loaded(files: ModelFiles, name: str) -> tuple[Any, dict[str, Any]]:
    try:
        from timm.data import resolve_model_data_config
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError(
            "model=timm: timm cannot be imported here "
            f"({str(error).splitlines()[0]}): pip install 'tacit[timm]', with the torchvision that "
            "goes with the installed torch"
        ) from error
    try:
        model = _made(files.folder, drop_rate=0.0)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ModelError(
            f"model.name={name}: timm cannot load {files.folder}: {str(error).splitlines()[0]}"
        ) from error
    return model, resolve_model_data_config(model)


def _made(folder: Path, **options: object) -> Any:
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, **options)

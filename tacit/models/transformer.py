"""Any model of transformers, from the hub, a folder or a package, with our head on it."""

import inspect
import json
from pathlib import Path
from typing import Any, Final

import torch

from tacit.domains.domain import Card, Task
from tacit.domains.texts import bytes_to_texts
from tacit.errors import ConfigurationError, ModelError
from tacit.models.backbone import Head, reading_through
from tacit.models.hub import model_files
from tacit.models.masked_tokens import MaskedTokens
from tacit.models.mended import fix_batch_norms, learn_padding, still
from tacit.models.reading import Reader, Reading
from tacit.models.shared import seeded
from tacit.models.trainable import Train
from tacit.models.transformer_backbones import (
    Pixels,
    Pooling,
    TextBackbone,
    Tokens,
    ValuesBackbone,
    Waves,
    token_counts,
)
from tacit.models.transformer_loading import load_model, load_tokenizer, needs_library

_HALF: Final = (0.5, 0.5, 0.5)


class Transformers:
    """Architecture of a pretrained model of transformers: text, images or sounds.

    Parameters
    ----------
    pretrained
        A folder with config.json and safetensors, a name on the hub, or a model that an installed
        package carries (all-MiniLM-L6-v2).
    sha256
        Which its weights must have; None for any.
    revision
        On the hub.
    pooling
        How its outputs for one example become one: mean, first or last.
    unit
        Whether that is brought to length 1, which keeps gradients of like size.
    length
        Most tokens of a text.
    head
        zeros, or names: the head's weights start from what the model makes of the classes' names,
        which are public, so that it knows something of them before it has seen a row.
    head_scale
        Times which.
    head_bias
        Whether the head has a bias. Without one it has more of a clipped gradient, which is worth
        more than what a bias says where classes are about equally common.
    """

    name = "transformers"

    def __init__(
        self,
        pretrained: str,
        sha256: str | None = None,
        revision: str | None = None,
        pooling: str = "mean",
        unit: bool = True,
        length: int = 64,
        head: str = "zeros",
        head_scale: float = 5.0,
        head_bias: bool = True,
    ) -> None:
        if pooling not in [*Pooling]:
            raise ConfigurationError(
                f"model.architecture.pooling={pooling}: must be mean, first or last"
            )
        if head not in ("zeros", "names"):
            raise ConfigurationError(f"model.architecture.head={head}: must be zeros or names")
        if not isinstance(length, int) or length < 2:
            raise ConfigurationError(f"model.architecture.length={length}: needs 2 tokens or more")
        self._pretrained = pretrained
        self._sha256 = sha256
        self._revision = revision
        self._pooling = Pooling(pooling)
        self._unit = unit
        self._length = length
        self._names = head == "names"
        self._head_scale = float(head_scale)
        self._head_bias = head_bias

    def reading(
        self, inputs: tuple[int, ...], card: Card, train: Train, device: torch.device
    ) -> Reading:
        """Load the model and return how a domain's examples are read.

        Raises
        ------
        ModelError
            Its files are no such model, or it does not take the domain's examples.
        """
        needs_library()
        files = model_files(self._pretrained, self._sha256, self._revision)
        model = load_model(files, self._pretrained)
        if "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
            model.pooler = None  # its output is not used here, and what trains would be noised
        learn_padding(model)
        still(model)
        fix_batch_norms(model)
        key = str(model.main_input_name)
        prepare: Reader
        backbone: TextBackbone | ValuesBackbone
        lengths = None
        if key == "input_ids":
            if not card.texts:
                raise self._unfit(f"takes texts, and examples of {card.name} are {list(inputs)}")
            self._check_length(model)
            prepare = Tokens(load_tokenizer(files, model), self._length)
            backbone = TextBackbone(model, self._pooling, self._unit, self._length)
            lengths = token_counts
        elif card.texts:
            raise self._unfit(f"takes {key}, and examples of {card.name} are texts")
        elif key == "pixel_values":
            if len(inputs) != 3:
                raise self._unfit(f"takes images, and examples of {card.name} are {list(inputs)}")
            prepare = _pixels(files.folder, model.config)
            backbone = ValuesBackbone(model, key, self._pooling, self._unit, prepare.inputs)
        elif len(inputs) == 1:
            prepare = Waves(inputs[0])
            backbone = ValuesBackbone(model, key, self._pooling, self._unit, inputs)
        else:
            raise self._unfit(f"takes sounds, and examples of {card.name} are {list(inputs)}")
        width = self._width(backbone)
        start = None
        if self._names:
            if not isinstance(prepare, Tokens) or not isinstance(backbone, TextBackbone):
                raise ConfigurationError("model.architecture.head=names: needs a model of texts")
            start = self._start(prepare, backbone, card)
        return reading_through(
            self.name,
            prepare,
            backbone,
            train,
            device,
            files.identity,
            f"{self._pretrained} (SHA-256 {files.sha256})",
            width=width,
            head=Head(self._head_bias, start),
            lengths=lengths,
        )

    def masked_tokens(self, card: Card, pool: torch.Tensor, seed: int) -> MaskedTokens:
        """Load the model to be pretrained on a domain's public texts.

        Parameters
        ----------
        card
            Of the domain.
        pool
            Its public texts, which are bytes [n, ...].
        seed
            Fixes the weights of the part that predicts, where the model's files have none.

        Raises
        ------
        ConfigurationError
            The examples are no texts, or they are to be longer than the model takes.
        ModelError
            Its files are no such model, or no token can be hidden from it.
        """
        if not card.texts:
            raise ConfigurationError(
                f"model={self.name}: tacit-pretrain hides tokens of texts from such a model, and "
                f"examples of {card.name} are no texts: choose model=tabular or model=vision"
            )
        needs_library()
        files = model_files(self._pretrained, self._sha256, self._revision)
        with seeded(seed):
            model = load_model(files, self._pretrained, "AutoModelForMaskedLM")
        self._check_length(model)
        return MaskedTokens(
            model,
            load_tokenizer(files, model),
            bytes_to_texts(pool),
            self._length,
            self._pretrained,
            files,
        )

    def _check_length(self, model: Any) -> None:
        most = getattr(model.config, "max_position_embeddings", self._length)
        padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
        if isinstance(padding, int):
            # RoBERTa and its kin: the first token's place is that of padding, and one.
            most -= padding + 1
        if self._length > most:
            raise ConfigurationError(
                f"model.architecture.length={self._length}: {self._pretrained} takes at most "
                f"{most} tokens"
            )

    def _width(self, backbone: TextBackbone | ValuesBackbone) -> int:
        backbone.eval()
        examples = backbone.made_up(1, torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                return int(backbone(examples).shape[1])
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise self._unfit(f"fails on a made-up example: {error}") from error

    def _start(self, prepare: Tokens, backbone: TextBackbone, card: Card) -> torch.Tensor:
        if card.task not in (Task.CLASSES, Task.LABELS):
            raise ConfigurationError(
                f"model.architecture.head=names: {card.name} has no classes with names to start "
                "from: use zeros"
            )
        rows = []
        for name in card.classes:
            tokens = prepare.of([name.replace("_", " ")])
            with torch.no_grad():
                rows.append(backbone(tokens[:, : int(token_counts(tokens))]))
        return self._head_scale * torch.cat(rows)

    def _unfit(self, why: str) -> ModelError:
        return ModelError(f"model.name={self._pretrained}: {why}: choose another model")


def _pixels(folder: Path, config: Any) -> Pixels:
    """Return how images are prepared: from the model's own preprocessor, else its configuration."""
    path = folder / "preprocessor_config.json"
    try:
        stated = json.loads(path.read_text()) if path.is_file() else {}
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    size = stated.get("size", getattr(config, "image_size", 224))
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    if isinstance(size, int):
        size = [size, size]
    channels = int(getattr(config, "num_channels", 3))
    mean = tuple(stated.get("image_mean", _HALF))[:channels]
    deviation = tuple(stated.get("image_std", _HALF))[:channels]
    return Pixels((int(size[0]), int(size[1])), mean, deviation)

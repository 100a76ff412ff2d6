"""Models of transformers as backbones: of texts, of images and of sounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import nn

from tacit.domains.texts import bytes_to_texts
from tacit.errors import ModelError
from tacit.models.reading import More, Reader
from tacit.models.transformer_export import load_model, save_model, save_tokenizer
from tacit.models.usage import usage

ABSENT = -1.0
"""Stands for no token, where a text is shorter than others."""


class Pooling(StrEnum):
    """What becomes of a model's many outputs for one example."""

    MEAN = "mean"
    FIRST = "first"
    """That of the first token, where a model is made to say there what the whole is."""
    LAST = "last"
    """That of the last token: of models that only look back."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Reader of texts: token numbers as float32 [n, length], `ABSENT` after the last.

    Parameters
    ----------
    tokenizer
        Of transformers.
    length
        Most tokens of a text; what follows is cut off. Public: it must not follow the texts.
    """

    tokenizer: Any
    length: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example."""
        return (self.length,)

    def __call__(self, features: torch.Tensor, more: More) -> torch.Tensor:
        """Return token numbers of texts, which are bytes [n, ...]."""
        return self.of(bytes_to_texts(features))

    def of(self, texts: Sequence[str]) -> torch.Tensor:
        """Return token numbers of texts."""
        found = torch.full((len(texts), self.length), ABSENT)
        if texts:
            read = self.tokenizer(list(texts), truncation=True, max_length=self.length)
            for row, numbers in zip(found, read["input_ids"], strict=True):
                row[: len(numbers)] = torch.tensor(numbers, dtype=torch.float32)
        return found


def token_counts(tokens: torch.Tensor) -> torch.Tensor:
    """Return how many tokens each of [n, length] has, at least one."""
    return (tokens >= 0).sum(1).clamp(min=1)


class TextBackbone(nn.Module):
    """A model of texts.

    Parameters
    ----------
    model
        Of transformers, that takes ``input_ids``.
    pooling
        How outputs become one.
    unit
        Whether that is brought to length 1.
    length
        Most tokens of a text.
    """

    library = "transformers"
    free = MappingProxyType({"input_ids": (0, 1), "attention_mask": (0, 1)})

    def __init__(self, model: nn.Module, pooling: Pooling, unit: bool, length: int) -> None:
        super().__init__()
        self.model = model
        self._pooling = pooling
        self._unit = unit
        self._length = length
        self._vocabulary = int(model.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of token numbers [n, length]; whatever these are."""
        return self.embed(*self.named(tokens))

    def named(self, examples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token numbers and which of them there are, both int64 [n, length]."""
        present = examples >= 0
        # A text has at least one token: attention to nothing is not defined.
        present = torch.cat([torch.ones_like(present[:, :1]), present[:, 1:]], 1)
        return examples.long().clamp(0, self._vocabulary - 1), present.long()

    def embed(self, *given: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of what `named` returns."""
        numbers, present = given
        made = self.model(input_ids=numbers, attention_mask=present)
        hidden: torch.Tensor = made.last_hidden_state
        match self._pooling:
            case Pooling.MEAN:
                weights = present.to(hidden.dtype).unsqueeze(2)
                pooled = (hidden * weights).sum(1) / weights.sum(1)
            case Pooling.FIRST:
                pooled = hidden[:, 0]
            case Pooling.LAST:
                last = present.sum(1) - 1
                pooled = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return nn.functional.normalize(pooled, dim=1) if self._unit else pooled

    def made_up(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Make up texts of random tokens, of several lengths."""
        tokens = torch.randint(self._vocabulary, (count, self._length), generator=generator).float()
        tokens[::2, -(-self._length // 2) :] = ABSENT
        return tokens

    def save(self, prepare: Reader, folder: Path) -> str:
        """Write model and tokenizer, and return how they are used."""
        if not isinstance(prepare, Tokens):
            raise ModelError(f"texts are prepared by Tokens, not by {type(prepare).__name__}")
        save_model(self.model, folder)
        save_tokenizer(prepare.tokenizer, folder)
        return usage(
            "use_texts.py.j2", length=self._length, pooling=self._pooling.value, unit=self._unit
        )

    def loaded(self, folder: Path) -> Self:
        """Return the backbone anew, from what `save` has written."""
        return type(self)(load_model(folder), self._pooling, self._unit, self._length)


@dataclass(frozen=True, slots=True)
class Pixels:
    """Reader of images [n, channels, height, width] with values from 0 to 1.

    Parameters
    ----------
    size
        Height and width that the model takes.
    mean, deviation
        Of each of its channels, as it was pretrained with: public constants.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example."""
        return (len(self.mean), *self.size)

    def __call__(self, features: torch.Tensor, more: More) -> torch.Tensor:
        """Return images of the model's size, channels and scale."""
        seen = features
        if seen.shape[1] == 1:
            seen = seen.expand(-1, len(self.mean), -1, -1)
        if tuple(seen.shape[2:]) != self.size:
            seen = nn.functional.interpolate(
                seen, self.size, mode="bilinear", antialias=True, align_corners=False
            )
        mean, deviation = (torch.tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.deviation))
        return (seen - mean) / deviation


class ValuesBackbone(nn.Module):
    """A model of images or of sounds.

    Parameters
    ----------
    model
        Of transformers, that takes ``pixel_values`` or ``input_values``.
    key
        Which of them.
    pooling
        How outputs become one.
    unit
        Whether that is brought to length 1.
    inputs
        Shape of one example.
    """

    library = "transformers"

    def __init__(
        self, model: nn.Module, key: str, pooling: Pooling, unit: bool, inputs: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.model = model
        self._key = key
        self._pooling = pooling
        self._unit = unit
        self._inputs = inputs

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of examples [n, ...]."""
        return self.embed(values)

    @property
    def free(self) -> Mapping[str, tuple[int, ...]]:
        """What the model is given, and which dimensions of it may have any length."""
        return {self._key: (0,)}

    def named(self, examples: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the examples, which the model takes as they are."""
        return (examples,)

    def embed(self, *given: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of examples [n, ...]."""
        (values,) = given
        hidden: torch.Tensor = self.model(**{self._key: values}).last_hidden_state
        if hidden.dim() == 4:  # of a convolutional model: [n, width, height, width]
            hidden = hidden.flatten(2).mT
        match self._pooling:
            case Pooling.MEAN:
                pooled = hidden.mean(1)
            case Pooling.FIRST:
                pooled = hidden[:, 0]
            case Pooling.LAST:
                pooled = hidden[:, -1]
        return nn.functional.normalize(pooled, dim=1) if self._unit else pooled

    def made_up(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Make up examples of normal values."""
        return torch.randn(count, *self._inputs, generator=generator)

    def save(self, prepare: Reader, folder: Path) -> str:
        """Write the model, and return how it is used."""
        save_model(self.model, folder)
        return usage(
            "use_values.py.j2",
            library=self.library,
            key=self._key,
            pooling=self._pooling.value,
            unit=self._unit,
            **pixels_of(prepare),
        )

    def loaded(self, folder: Path) -> Self:
        """Return the backbone anew, from what `save` has written."""
        made = load_model(folder)
        return type(self)(made, self._key, self._pooling, self._unit, self._inputs)


def pixels_of(prepare: Reader) -> dict[str, object]:
    """Return what a template must know of how images are prepared; `size` is None of sounds."""
    if not isinstance(prepare, Pixels):
        return {"size": None}
    return {"size": prepare.size, "mean": prepare.mean, "deviation": prepare.deviation}


@dataclass(frozen=True, slots=True)
class Waves:
    """Reader of sounds [n, samples]: each is brought to mean 0 and deviation 1 by itself."""

    samples: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example."""
        return (self.samples,)

    def __call__(self, features: torch.Tensor, more: More) -> torch.Tensor:
        """Return sounds as models of waves take them."""
        centred = features - features.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()

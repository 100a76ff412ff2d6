"""A frozen sentence encoder with LoRA pairs, of MiniLM's size, its weights made up.

Speed and memory depend on the shapes alone. The shapes are all-MiniLM-L6-v2's: six post-norm layers
of width 384. LoRA is Hu et al. 2021 (arXiv 2106.09685): beside a frozen projection W stands a
product of two small matrices, W x + (α/r) B A x, here on query and value.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.nn import functional

RANK: Final = 8
SCALE: Final = 2.0
"""α/r."""
TOKENS: Final = 16
CLASSES: Final = 10


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of an encoder."""

    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int


SIZES: Final = {
    "minilm": Size(6, 384, 12, 1536, 30522),
    "tiny": Size(1, 16, 2, 32, 50),
}


class LoraLinear(nn.Module):
    """A frozen projection with a LoRA pair beside it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(width, width)
        self.down = nn.Linear(width, RANK, bias=False)
        self.up = nn.Linear(RANK, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [n, t, width] to [n, t, width]."""
        projected: torch.Tensor = self.frozen(x) + SCALE * self.up(self.down(x))
        return projected


class Layer(nn.Module):
    """Attention and two dense layers, each with a sum and a norm behind it, as in BERT."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.value = LoraLinear(size.width), LoraLinear(size.width)
        self.key, self.out = nn.Linear(size.width, size.width), nn.Linear(size.width, size.width)
        self.wide = nn.Linear(size.width, size.hidden)
        self.narrow = nn.Linear(size.hidden, size.width)
        self.first_norm, self.second_norm = nn.LayerNorm(size.width), nn.LayerNorm(size.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens [n, t, width] to tokens."""

        def by_head(y: torch.Tensor) -> torch.Tensor:
            return y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)

        seen = functional.scaled_dot_product_attention(
            by_head(self.query(x)), by_head(self.key(x)), by_head(self.value(x))
        )
        x = self.first_norm(x + self.out(seen.transpose(1, 2).flatten(2)))
        found: torch.Tensor = self.second_norm(x + self.narrow(functional.gelu(self.wide(x))))
        return found


class Encoder(nn.Module):
    """Token numbers [n, t] to scores [n, classes]: the mean of the last layer's tokens decides."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.places = nn.Parameter(0.02 * torch.randn(TOKENS, size.width))
        self.norm = nn.LayerNorm(size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.head = nn.Linear(size.width, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores of texts, whose token numbers come as floats, as all features do."""
        x = self.norm(self.tokens(features.long()) + self.places)
        for layer in self.layers:
            x = layer(x)
        scores: torch.Tensor = self.head(x.mean(1))
        return scores


def encoder(size: Size) -> Encoder:
    """Make an encoder of which LoRA pairs and head train; the same one in every process."""
    torch.manual_seed(0)
    model = Encoder(size)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(
            name.endswith(("down.weight", "up.weight")) or name.startswith("head.")
        )
    return model.train()

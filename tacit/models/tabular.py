"""An encoder for table rows that masked-feature modelling pretrains, and a linear head on it."""

import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.architecture import zero_head


class TabularModel(nn.Module):
    """Encoder and head for rows of a table.

    Features are standardised with location and scale of a public pool (buffers, saved with the
    weights), encoded by a two-layer network with LayerNorm at its end, and scored by the head.
    The decoder serves pretraining only.

    Parameters
    ----------
    width
        Number of features of a row.
    outputs
        Number of scores.
    hidden
        Width of the hidden layer.
    embedding
        Width of what the head sees.
    """

    location: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, outputs: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.visible = nn.Linear(width, hidden)
        self.absent = nn.Linear(width, hidden, bias=False)
        self.encoder = nn.Linear(hidden, embedding)
        self.norm = nn.LayerNorm(embedding)
        self.decoder = nn.Linear(embedding, width)
        self.head = zero_head(embedding, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs] of rows [n, width]."""
        hidden = torch.tanh(self.visible(self.standardised(features)))
        scores: torch.Tensor = self.head(self.norm(self.encoder(hidden)))
        return scores

    def standardise(self, pool: torch.Tensor) -> None:
        """Take location and scale from public rows [n, width]; a constant feature keeps scale 1."""
        self.location.copy_(pool.mean(0))
        spread = pool.std(0)
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Return features with the pool's location and scale, limited to ±5 scales."""
        return ((features - self.location) / self.scale).clamp(-5, 5)

    def reconstruct(self, features: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Predict standardised features [n, width] from those where `masked` [n, width] is 0."""
        visible = self.visible(self.standardised(features) * (1 - masked))
        hidden = torch.tanh(visible + self.absent(masked))
        predicted: torch.Tensor = self.decoder(self.norm(self.encoder(hidden)))
        return predicted


class Tabular:
    """Architecture of `TabularModel`.

    Parameters
    ----------
    hidden
        Width of the hidden layer.
    embedding
        Width of what the head sees.
    """

    name = "tabular"

    def __init__(self, hidden: int = 64, embedding: int = 8) -> None:
        self.hidden = hidden
        self.embedding = embedding

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module for rows of shape (width,).

        Raises
        ------
        ModelError
            The domain's examples are not table rows.
        """
        if len(inputs) != 1:
            raise ModelError(
                f"model=tabular takes rows of a table, but this domain's examples have the shape "
                f"{inputs}: choose another model"
            )
        return TabularModel(inputs[0], outputs, self.hidden, self.embedding)

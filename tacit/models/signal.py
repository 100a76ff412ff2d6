"""An encoder of what many sensors measured over time, fitted to public windows, and its head.

Private training has few directions to find and can afford their noise, because all below the head
is found on public windows, most of it in closed form:

1. A sensor's level and slope over the window, by least squares.
2. The few mixtures of sensors whose levels differ most from window to window, compared with the
   noise about their own slopes: linear discriminant analysis with every window as a class of its
   own (Fisher 1936). Machines that wear do so along few directions, and sensor noise has many.
3. A layer of wide random tanh units of level and slope in these mixtures, by which a linear head
   can bend (Rahimi and Recht 2007, "Random features for large-scale kernel machines"); masked
   modelling trains them further.
4. Principal components of these units, each scaled to unit variance, but for a floor by which
   those that hardly vary stay small: private noise on their weights then costs little.
"""

import math
from typing import Final

import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.architecture import zero_head

SHORTEST: Final = 3
"""Cycles that a window has at least: fewer lie on a line, and there is no noise about it."""
RIDGE: Final = 1e-3
"""Added to the noise of sensors before it is compared with, relative to its mean."""
BEND: Final = 1.5
"""Spread of what a tanh unit sees at the start: with less it is a line, with more a step."""
SHIFT: Final = 0.7
"""Spread of a tanh unit's centre."""


class SignalModel(nn.Module):
    """Encoder and head for windows [n, cycles, sensors].

    All that is taken from public windows besides the layer's weights lies in buffers and is saved
    with the weights. The decoder serves pretraining only.

    Parameters
    ----------
    cycles, sensors
        Of a window.
    outputs
        Number of scores.
    mixtures
        How many mixtures of sensors are kept.
    hidden
        Width of the tanh layer.
    embedding
        Width of what the head sees.
    floor
        Added to the variance of principal components, relative to the largest.
    """

    line: torch.Tensor
    location: torch.Tensor
    scale: torch.Tensor
    mixing: torch.Tensor
    code_location: torch.Tensor
    code_scale: torch.Tensor
    centre: torch.Tensor
    projection: torch.Tensor

    def __init__(
        self,
        cycles: int,
        sensors: int,
        outputs: int,
        *,
        mixtures: int,
        hidden: int,
        embedding: int,
        floor: float,
    ) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("line", _line(cycles))
        self.register_buffer("location", torch.zeros(sensors))
        self.register_buffer("scale", torch.ones(sensors))
        self.register_buffer("mixing", nn.init.orthogonal_(torch.empty(sensors, mixtures)))
        self.register_buffer("code_location", torch.zeros(2 * mixtures))
        self.register_buffer("code_scale", torch.ones(2 * mixtures))
        self.register_buffer("centre", torch.zeros(hidden))
        self.register_buffer("projection", nn.init.orthogonal_(torch.empty(hidden, embedding)))
        self.layer = nn.Linear(2 * mixtures, hidden)
        nn.init.normal_(self.layer.weight, std=BEND / math.sqrt(2 * mixtures))
        nn.init.normal_(self.layer.bias, std=SHIFT)
        self.decoder = nn.Linear(hidden, 2 * sensors)
        self.head = zero_head(embedding, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs] of windows."""
        scores: torch.Tensor = self.head(self.embed(features))
        return scores

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return what the head sees, [n, embedding]."""
        return (self._hidden(self.standardised(features)) - self.centre) @ self.projection

    def standardise(self, pool: torch.Tensor) -> None:
        """Take scales, mixtures and principal components from public windows [n, cycles, sensors].

        A sensor that is constant there keeps the scale 1.
        """
        with torch.no_grad():
            self.location.copy_(pool.mean((0, 1)))
            spread = pool.std((0, 1))
            self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))
            windows = self.standardised(pool)
            self.mixing.copy_(mixtures_of(windows.double(), self.mixing.shape[1]))
            code = self._code(windows)
            self.code_location.copy_(code.mean(0))
            self.code_scale.copy_(code.std(0).clamp(min=1e-6))
            units = self._hidden(windows).double()
            self.centre.copy_(units.mean(0))
            self.projection.copy_(components(units, self.projection.shape[1], self.floor))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Return sensors with the pool's location and scale, limited to ±10 scales."""
        return ((features - self.location) / self.scale).clamp(-10, 10)

    def reconstruct(self, features: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Predict standardised windows from those where `masked` is 0; all [n, cycles, sensors]."""
        lines = self.decoder(self._hidden(self.standardised(features) * (1 - masked)))
        return torch.einsum("nks,kc->ncs", lines.unflatten(1, (2, -1)), _curves(self.line))

    def _code(self, windows: torch.Tensor) -> torch.Tensor:
        """Return levels and slopes of the mixtures, [n, 2 * mixtures]."""
        # One after the other: a graph of all three at once holds for one number of windows alone.
        fitted = torch.einsum("kc,ncs->nks", self.line, windows)
        return torch.einsum("nks,sm->nkm", fitted, self.mixing).flatten(1)

    def _hidden(self, windows: torch.Tensor) -> torch.Tensor:
        code = (self._code(windows) - self.code_location) / self.code_scale
        return torch.tanh(self.layer(code))


def _line(cycles: int) -> torch.Tensor:
    """Return what takes level and slope from a window by least squares, [2, cycles].

    The slope is half of what the line gains over the window.
    """
    time = torch.linspace(-1, 1, cycles)
    return torch.stack([torch.full((cycles,), 1 / cycles), time / time.square().sum()])


def _curves(line: torch.Tensor) -> torch.Tensor:
    """Return the line of level 1 and that of slope 1, [2, cycles]: the inverse of `_line`."""
    return line / line.square().sum(1, keepdim=True)


def mixtures_of(windows: torch.Tensor, wanted: int) -> torch.Tensor:
    """Find mixtures of sensors that tell windows apart and not their noise.

    Parameters
    ----------
    windows
        Standardised [n, cycles, sensors].
    wanted
        How many, at most as many as there are sensors.

    Returns
    -------
    Tensor
        [sensors, wanted], in falling order of the levels' variance; each has noise of variance 1.
    """
    line = _line(windows.shape[1]).to(windows)
    found = torch.einsum("kc,ncs->nks", line, windows)
    noise = (windows - torch.einsum("kc,nks->ncs", _curves(line), found)).flatten(0, 1)
    # Two of a window's degrees of freedom went into its line.
    within = noise.T @ noise / (len(noise) * (1 - 2 / windows.shape[1]))
    ridge = RIDGE * within.diagonal().mean() + 1e-12
    whitener = torch.linalg.inv(
        torch.linalg.cholesky(within + ridge * torch.eye(len(within), dtype=within.dtype))
    )
    _, turns = torch.linalg.eigh(whitener @ torch.cov(found[:, 0].T) @ whitener.T)
    mixing: torch.Tensor = (whitener.T @ turns.flip(1))[:, :wanted]
    return mixing


def components(units: torch.Tensor, wanted: int, floor: float) -> torch.Tensor:
    """Return principal components of units [n, hidden], scaled, as columns [hidden, wanted]."""
    variances, axes = torch.linalg.eigh(torch.cov(units.T))
    largest, axes = variances.flip(0).clamp(min=0)[:wanted], axes.flip(1)[:, :wanted]
    scaled: torch.Tensor = axes / (largest + floor * largest[0] + 1e-12).sqrt()
    return scaled


class Signal:
    """Architecture of `SignalModel`.

    Parameters
    ----------
    mixtures
        How many mixtures of sensors are kept.
    hidden
        Width of the tanh layer.
    embedding
        Width of what the head sees, at most `hidden`.
    floor
        Added to the variance of principal components, relative to the largest.
    """

    name = "signal"

    def __init__(
        self, mixtures: int = 3, hidden: int = 128, embedding: int = 16, floor: float = 0.03
    ) -> None:
        if not 1 <= embedding <= hidden:
            raise ModelError(
                f"model.architecture.embedding={embedding} must be from 1 to hidden={hidden}: it "
                "is of the hidden layer's principal components"
            )
        if mixtures < 1 or not 0 <= floor < math.inf:
            raise ModelError(
                f"model.architecture: mixtures={mixtures} must be at least 1 and floor={floor} "
                "at least 0"
            )
        self.mixtures = mixtures
        self.hidden = hidden
        self.embedding = embedding
        self.floor = floor

    def build(self, inputs: tuple[int, ...], outputs: int) -> SignalModel:
        """Return a new module for windows of shape (cycles, sensors).

        Raises
        ------
        ModelError
            The domain's examples are not windows, or too short or narrow.
        """
        if len(inputs) != 2 or inputs[0] < SHORTEST or inputs[1] < self.mixtures:
            raise ModelError(
                f"model=signal takes windows (cycles, sensors) of at least {SHORTEST} cycles and "
                f"{self.mixtures} sensors, but this domain's examples have the shape {inputs}: "
                "choose another model or fewer model.architecture.mixtures"
            )
        return SignalModel(
            *inputs,
            outputs,
            mixtures=self.mixtures,
            hidden=self.hidden,
            embedding=self.embedding,
            floor=self.floor,
        )

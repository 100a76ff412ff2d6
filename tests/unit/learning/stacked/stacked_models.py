"""Models with every layer that the stacked engine knows, and an explicit loop beside it."""

import torch
from torch import nn

from tacit.learning.per_example import usable_losses
from tacit.learning.stacked.gradients import Batch

CLASSES = 3


class Transformer(nn.Module):
    """Embedding with padding, position and class tokens, attention's projections, norms, LoRA."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8, padding_idx=0)
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.query = nn.Linear(8, 8)
        self.key = nn.Linear(8, 8, bias=False)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(8))
        self.shift = nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, features):
        rows = self.table((features.abs() * 7).long() % 11) + self.position
        rows = torch.cat([self.token.expand(len(features), -1, -1), rows], 1)
        weights = (self.query(rows) @ self.key(rows).mT / 3).softmax(-1)
        value = self.frozen(rows) + self.up(self.down(rows))
        rows = rows + (self.shift - weights @ value * self.scale)
        return self.head(self.norm(rows).mean(1))


class Twice(nn.Module):
    """One layer used twice, a table that is also the output, and a weight that is not used."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.table = nn.Embedding(CLASSES, 6)
        self.idle = nn.Linear(2, 2)

    def forward(self, features):
        seen = self.layer(torch.tanh(self.layer(features)))
        seen = seen + self.table((features[:, 0] > 0).long())
        return nn.functional.linear(seen, self.table.weight)


def images(*layers):
    return nn.Sequential(nn.Unflatten(1, (2, 8, 8)), *layers)


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES)), (4,)),
    "linear": (lambda: nn.Linear(4, CLASSES), (4,)),
    "bias only": (lambda: frozen_weights(nn.Sequential(nn.Linear(4, CLASSES))), (4,)),
    "convolutions": (
        lambda: images(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, (3, 2), stride=(2, 1), groups=2, dilation=(1, 2)),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(144, CLASSES),
        ),
        (128,),
    ),
    "in place": (
        lambda: images(nn.Conv2d(2, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 3)),
        (128,),
    ),
    "sound": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (3, 20)),
            nn.Conv1d(3, 6, 4, padding="same", dilation=2),
            nn.GroupNorm(3, 6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(120, CLASSES),
        ),
        (60,),
    ),
    "transformer": (Transformer, (5,)),
    "twice": (Twice, (6,)),
    "number": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 1)), (4,)),
}


def frozen_weights(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith("weight"))
    return model


def make(name, counts, seed=0, scale=1.0):
    """A model, weights [K, ...] of as many sites as there are counts, and their padded batch."""
    build, inputs = MODELS[name]
    sites, rows = len(counts), max([1, *counts])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build().train()
        values = {
            name: torch.stack([p.detach() + 0.3 * torch.randn_like(p) for _ in range(sites)])
            for name, p in model.named_parameters()
            if p.requires_grad
        }
        features = scale * torch.randn(sites, rows, *inputs)
        targets = torch.randint(CLASSES, (sites, rows))
        if name == "number":
            targets = torch.randn(sites, rows)
    present = torch.arange(rows) < torch.tensor(counts).unsqueeze(1)
    # What a padded row holds must not matter.
    features[~present] = torch.nan
    return model, values, Batch(features, targets, present)


def by_hand(model, values, batch, clips):
    """Each site's sum, one example after the other, by autograd alone; and each norm."""
    parameters = {name: p for name, p in model.named_parameters() if name in values}
    sums = {name: torch.zeros_like(value) for name, value in values.items()}
    norms = torch.zeros(batch.present.shape, dtype=torch.float64)
    for site in range(len(batch.present)):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(values[name][site])
        for row in batch.present[site].nonzero().squeeze(1).tolist():
            one = slice(row, row + 1)
            losses, _ = usable_losses(
                model, batch.features[site, one], batch.targets[site, one], torch.float32
            )
            found = torch.autograd.grad(
                losses.sum(), list(parameters.values()), materialize_grads=True
            )
            square = sum(gradient.double().square().sum() for gradient in found)
            # As tacit.learning.per_example has it: what fp32 cannot hold counts as zero.
            if not torch.isfinite(sum(gradient.square().sum() for gradient in found)):
                continue
            norms[site, row] = square.sqrt()
            factor = 1.0
            if clips is not None:
                factor = (clips[site] / square.sqrt().clamp(min=clips[site])).item()
            for name, gradient in zip(parameters, found, strict=True):
                sums[name][site] += factor * gradient
    return sums, norms


SMALL = 0.1
"""The error of a smaller sum is relative to this: where a loss is nearly 0, a gradient is what the
roundings of scores of order 1 leave of it, and is right to fewer digits."""


def error(found, expected):
    """Largest error of any site's sum, relative to the site's largest sum of any weight."""
    worst = 0.0
    for site in range(len(next(iter(expected.values())))):
        largest = max(value[site].abs().max().item() for value in expected.values())
        wrong = max((found[name][site] - expected[name][site]).abs().max() for name in expected)
        worst = max(worst, float(wrong) / max(largest, SMALL))
    return worst

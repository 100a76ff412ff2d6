"""What a private step must be, as checks that a faulty one fails.

They call `local.clipped_sum` and `local.train_round` through the module, so that a test may put a
fault there and see the check find it.
"""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from scipy.stats import chi2
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning import local
from tacit.learning.local import Compute
from tacit.learning.plan import RoundPlan
from tacit.privacy.randomness import Stream

CPU = Compute(torch.device("cpu"))
CLASSES = 3
STEP = RoundPlan(
    steps=1,
    sampling_rate=1.0,
    divisor=7.0,
    learning_rate=0.2,
    clipping_norm=0.5,
    noise_multiplier=3.0,
)
EMPTY = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
MODELS = pytest.mark.parametrize("name", ["linear", "mlp", "conv"])
CLIPS = pytest.mark.parametrize("clip", [1e-3, 1.4, 1e3], ids=["tight", "some", "loose"])
WIDE = nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 40))
"""2400 + 60 + 2400 + 40 weights: enough to know a deviation to 5 %."""


def make(name, n, seed=0, scale=1.0):
    """A model with n examples; `scale` multiplies the features, and with them the gradients."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, shape = {
            "linear": (nn.Linear(4, CLASSES), (4,)),
            "mlp": (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES)), (4,)),
            "conv": (
                nn.Sequential(
                    nn.Conv2d(1, 4, 3),
                    nn.GroupNorm(2, 4),
                    nn.ReLU(),
                    nn.AvgPool2d(3),
                    nn.Flatten(),
                    nn.Linear(4, CLASSES),
                ),
                (1, 5, 5),
            ),
        }[name]
    features = scale * torch.randn((n, *shape), generator=generator)
    targets = torch.randint(CLASSES, (n,), generator=generator)
    return model, Examples(features, targets)


def stream(purpose, seed=0, round=1):
    return Stream.seeded(seed, "north", round, purpose)


@dataclass
class Recorder:
    """A stream that writes down what was asked of it."""

    stream: Stream
    coins_drawn: list[torch.Tensor] = field(default_factory=list)
    normals_drawn: list[torch.Tensor] = field(default_factory=list)

    def coins(self, n, rate):
        self.coins_drawn.append(self.stream.coins(n, rate))
        return self.coins_drawn[-1]

    def normals(self, n):
        self.normals_drawn.append(self.stream.normals(n))
        return self.normals_drawn[-1]


def joined(tensors):
    return torch.cat([t.detach().double().flatten() for t in tensors])


def weights_of(model):
    return joined(p for p in model.parameters() if p.requires_grad)


def summed(model, data, clip, compute=CPU):
    return joined(local.clipped_sum(model, data.features, data.targets, clip, compute))


def sum_by_hand(model, data, clip):
    """Sum of clipped gradients in float64, one example at a time, with plain autograd."""
    exact = copy.deepcopy(model).double()
    trainable = [p for p in exact.parameters() if p.requires_grad]
    total = torch.zeros_like(joined(trainable))
    for x, y in zip(data.features.double(), data.targets, strict=True):
        loss = nn.functional.cross_entropy(exact(x[None]), y[None])
        gradient = joined(torch.autograd.grad(loss, trainable))
        total += gradient * min(1.0, clip / max(gradient.norm().item(), 1e-300))
    return total


def trained(model, data, plan, *, coins=None, noise=None, compute=CPU, **more):
    """Weights after a round, minus weights before, in float64; the model stays as it is."""
    moved = copy.deepcopy(model)
    local.train_round(
        moved,
        data,
        plan,
        coins=coins or stream("coins"),
        noise=noise or stream("noise"),
        layers=stream("layers"),
        compute=compute,
        **more,
    )
    return weights_of(moved) - weights_of(model)


def check_is_the_sum_by_hand(model, data, clip, compute=CPU):
    expected = sum_by_hand(model, data, clip)
    # A clipped gradient has norm C or less and a relative fp32 error of some 100 * 2**-24.
    assert (summed(model, data, clip, compute) - expected).norm() <= len(data) * clip * 1e-5


def check_one_example_moves_the_sum_by_at_most_c(model, data, clip):
    """The sensitivity of the sum under 'add or remove one', all parameters together."""
    whole = summed(model, data, clip)
    n = len(data)
    # Norms and factors are fp32 (1e-5), and so are two sums of n terms of norm C at most.
    allowed = clip * (1 + 1e-5 + 2 * n * n * 2.0**-24)
    for left_out in range(n):
        kept = torch.arange(n) != left_out
        without = summed(model, Examples(data.features[kept], data.targets[kept]), clip)
        moved = (whole - without).norm()
        assert moved <= allowed, f"example {left_out} moves the sum by {moved:g} > {clip:g}"


def check_noise_is_independent_with_deviation_sigma_c(model):
    """An empty batch moves the weights by noise alone: its law in every parameter."""
    start = copy.deepcopy(model)
    with torch.no_grad():
        for p in start.parameters():
            p.zero_()
    data = Examples(EMPTY.features[:, : start[0].in_features], EMPTY.targets)
    moved = trained(start, data, STEP)
    deviation = STEP.noise_multiplier * STEP.clipping_norm * STEP.learning_rate / STEP.divisor
    drawn = moved / deviation
    parts = drawn.split([p.numel() for p in start.parameters()])
    # A sum of n squares is χ² with n degrees of freedom: between two quantiles but once in 10⁶.
    for part in (drawn, *parts):
        n = part.numel()
        assert abs(part.mean()) < 5 / n**0.5
        low, high = chi2.ppf((5e-7, 1 - 5e-7), n)
        assert low < part.square().sum() < high
    for number, part in enumerate(parts):
        for other in parts[:number]:
            n = min(part.numel(), other.numel())
            if n >= 50:  # fewer would bound nothing: 5/√n must be well below 1
                assert (part[:n] * other[:n]).mean().abs() < 5 / n**0.5


def check_the_divisor_is_public(model, data):
    """Whatever is drawn, the step is (sum + noise) times the same constant."""
    for n in (0, 1, len(data) // 2, len(data)):
        part = Examples(data.features[:n], data.targets[:n])
        noise = Recorder(stream("noise"))
        moved = trained(model, part, STEP, noise=noise)
        (drawn,) = noise.normals_drawn
        total = sum_by_hand(model, part, STEP.clipping_norm)
        total += STEP.noise_multiplier * STEP.clipping_norm * drawn.double()
        expected = -STEP.learning_rate / STEP.divisor * total
        # Weights near 1 round to 2**-24; the sum is exact to 1e-5 of itself.
        assert (moved - expected).abs().max() <= 1e-5 * total.abs().max() + 2.0**-22

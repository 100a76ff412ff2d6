"""Local optimizers step as torch's own do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from private_step import CPU, make

from tacit.domains.domain import Examples
from tacit.learning.local import train_round
from tacit.learning.optimizer import direction
from tacit.learning.plan import LocalOptimizer, RoundPlan
from tacit.privacy.randomness import Stream

TORCHS = {
    LocalOptimizer.SGD: lambda p, lr: torch.optim.SGD(p, lr),
    LocalOptimizer.MOMENTUM: lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    LocalOptimizer.ADAM: lambda p, lr: torch.optim.Adam(p, lr),
}


@pytest.mark.parametrize("optimizer", LocalOptimizer)
@given(seed=st.integers(0, 99), steps=st.integers(1, 9))
def test_steps_are_those_of_torch(optimizer, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(steps, 3, 2, generator=generator)
    theirs = torch.zeros(3, 2, requires_grad=True)
    optimize = TORCHS[optimizer]([theirs], 0.1)
    ours, turned = torch.zeros(3, 2), direction(optimizer)
    for gradient in gradients:
        theirs.grad = gradient.clone()
        optimize.step()
        ours -= 0.1 * turned(gradient.clone())
    torch.testing.assert_close(ours, theirs.detach())


@pytest.mark.parametrize("optimizer", LocalOptimizer)
def test_a_round_begins_anew_and_noise_comes_before(optimizer):
    """Two rounds are torch's steps with a new state each, on sums that are noise alone."""
    model, _ = make("linear", 1)
    plan = RoundPlan(3, 1.0, 4.0, 0.1, 0.5, 2.0, optimizer=optimizer)
    empty = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    copies = [p.detach().clone().requires_grad_() for p in model.parameters()]
    sizes = [p.numel() for p in copies]
    for number in (1, 2):
        streams = {name: Stream.seeded(0, "a", number, name) for name in ("coins", "layers")}
        noise = [Stream.seeded(0, "a", number, "noise") for _ in range(2)]
        train_round(model, empty, plan, **streams, noise=noise[0], compute=CPU)
        optimize = TORCHS[optimizer](copies, 0.1)
        for _ in range(3):
            drawn = noise[1].normals(sum(sizes)).split(sizes)
            for parameter, part in zip(copies, drawn, strict=True):
                parameter.grad = part.view(parameter.shape) * (2.0 * 0.5 / 4.0)
            optimize.step()
    for parameter, copy in zip(model.parameters(), copies, strict=True):
        torch.testing.assert_close(parameter.detach(), copy.detach())

"""A site's round of training: the private step and its plain counterpart.

A private step is algorithm 1 of Abadi et al. 2016 ("Deep Learning with Differential Privacy")
with a Poisson sample, a public number of steps and a public divisor: sum of clipped per-example
gradients in fp32, plus Gaussian noise, divided by a constant.

FedProx (Li et al. 2020, "Federated Optimization in Heterogeneous Networks", eq. 2) adds
μ/2 ‖w - w₀‖² to a site's loss, w₀ being the round's first weights. Its gradient μ(w - w₀) depends
on no record: w₀ came with the request, and w on it and on sums that were noised before. So it is
added after the noise, as it is; clipped with each record's gradient it would crowd out the data.

Where a person is the unit, what is clipped is the mean or the sum of the gradients of a person's
rows: McMahan et al. 2018, arXiv 1710.06963, have it so for an update that is one step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.canaries import CanaryRound, clipped_sums
from tacit.learning.optimizer import direction
from tacit.learning.per_example import (
    PerExampleGradients,
    Whose,
    clip_factors,
    norms_of,
    usable_losses,
)
from tacit.learning.plan import RoundPlan
from tacit.learning.sampling import samples
from tacit.privacy.randomness import Stream, normals_for


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how gradients are computed; none of it changes what is computed.

    Parameters
    ----------
    device
        Where the model lies.
    microbatch
        Most examples in one pass; None for all at once. Halved by itself when a CUDA device runs
        out of memory. One person's are in one pass, however many they are.
    precision
        Type of forward and backward passes.
    loss_scale
        Static scale of the loss, for fp16.
    """

    device: torch.device
    microbatch: int | None = None
    precision: torch.dtype = torch.float32
    loss_scale: float = 1.0


def train_round(
    model: nn.Module,
    data: Examples,
    plan: RoundPlan,
    *,
    coins: Stream,
    noise: Stream,
    layers: Stream,
    compute: Compute,
    choice: Stream | None = None,
    on_step: Callable[[int], None] = lambda begun: None,
    canaries: CanaryRound | None = None,
) -> None:
    """Train a model in place for one round.

    Parameters
    ----------
    model
        On `compute.device`; its trainable parameters change.
    data
        The site's rows; a batch is moved to the device when it is drawn.
    plan
        What to compute.
    coins, noise, layers
        Streams for the Poisson samples, for the noise, and for layers that are random (dropout).
        The last protects nobody.
    choice
        Stream for which rows of a person enter; None where a record is the unit.
    on_step
        Called with the number of steps begun, before each step touches data.
    canaries
        Records of an audit, in a private round.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    directions = [direction(plan.optimizer) for _ in parameters]
    first = [p.detach().clone() for p in parameters] if plan.proximal_mu else []
    drawn = samples(data, plan, coins, choice)
    with random_layers(layers, compute.device):
        for step in range(1, plan.steps + 1):
            on_step(step)
            sample = next(drawn)
            features = data.features[sample.rows].to(compute.device)
            targets = data.targets[sample.rows].to(compute.device)
            clipped = plan.clips_gradients
            if not clipped or plan.clipping_norm is None or plan.noise_multiplier is None:
                sums = plain_sum(model, features, targets, compute)
            else:
                clip = plan.clipping_norm
                sums = clipped_sum(model, features, targets, clip, compute, sample.whose)
                deviation = plan.noise_multiplier * clip
                _add_noise(sums, noise, deviation)
                if canaries is not None:
                    (beside,) = clipped_sums([canaries], [plan])
                    _add_noise([beside], canaries.stream, deviation)
                    canaries.hear(beside)
            with torch.no_grad():
                if plan.proximal_mu:
                    for parameter, origin in zip(parameters, first, strict=True):
                        # w - ημ(w - w₀), eq. 2 of Li et al. 2020, from the w of the gradient.
                        parameter.lerp_(origin, plan.learning_rate * plan.proximal_mu)
                for parameter, total, turned in zip(parameters, sums, directions, strict=True):
                    step_by = turned(total / plan.divisor)
                    parameter.sub_(step_by, alpha=plan.learning_rate)


def clipped_sum(
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    clipping_norm: float,
    compute: Compute,
    whose: Whose | None = None,
) -> list[torch.Tensor]:
    """Sum gradients of examples or persons, each scaled to an L2 norm of at most `clipping_norm`.

    Parameters
    ----------
    whose
        Whose the examples are; None where each is a unit by itself.

    Returns
    -------
    list of Tensor
        One fp32 tensor for each trainable parameter, in the order of the model. Zeros for an
        empty batch.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    sums = _zeros(parameters)
    if len(features) == 0:
        return sums
    with PerExampleGradients(model, compute.precision, compute.loss_scale) as per_example:
        work = of_units(per_example, features, targets, whose)
        for gradients in in_passes(work, len(features), compute.microbatch, whose):
            norms = norms_of(gradients)
            factors = clip_factors(norms, norms.new_tensor(clipping_norm))
            for total, gradient in zip(sums, gradients, strict=True):
                total += torch.einsum("n,n...->...", factors, gradient)
    return sums


def plain_sum(
    model: nn.Module, features: torch.Tensor, targets: torch.Tensor, compute: Compute
) -> list[torch.Tensor]:
    """Sum gradients as they are, those of unusable rows left out: training without privacy.

    Returns
    -------
    list of Tensor
        As `clipped_sum` does.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients_of(part: slice) -> list[torch.Tensor]:
        losses, _ = usable_losses(model, features[part], targets[part], compute.precision)
        found = torch.autograd.grad(
            (losses * compute.loss_scale).sum(), parameters, materialize_grads=True
        )
        return [gradient.float() / compute.loss_scale for gradient in found]

    sums = _zeros(parameters)
    for gradients in in_passes(gradients_of, len(features), compute.microbatch):
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient
    return sums


def _zeros(parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [torch.zeros_like(p, dtype=torch.float32) for p in parameters]


def of_units(
    per_example: PerExampleGradients,
    features: torch.Tensor,
    targets: torch.Tensor,
    whose: Whose | None,
) -> Callable[[slice], list[torch.Tensor]]:
    """Return what gives the gradients of examples, or persons, in a part of a batch."""

    def work(part: slice) -> list[torch.Tensor]:
        gradients = per_example(features[part], targets[part])
        return gradients if whose is None else whose.together(gradients, part)

    return work


def in_passes(
    work: Callable[[slice], list[torch.Tensor]],
    examples: int,
    microbatch: int | None,
    whose: Whose | None = None,
) -> Iterator[list[torch.Tensor]]:
    """Work through a batch in passes of at most `microbatch`, smaller ones when memory is short.

    No pass cuts a person in two.
    """
    size = microbatch or max(examples, 1)
    start = 0
    while start < examples:
        end = min(start + size, examples)
        part = slice(start, end if whose is None else whose.end(start, end))
        try:
            done = work(part)
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            size = -(-size // 2)
            continue
        yield done
        start = part.stop


@contextmanager
def random_layers(stream: Stream, device: torch.device) -> Iterator[None]:
    """Let layers that draw from torch's global generators draw what `stream` fixes."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(stream.seed())
        yield


def _add_noise(sums: list[torch.Tensor], noise: Stream, deviation: float) -> None:
    """Add independent Gaussian noise of standard deviation σC to every coordinate."""
    drawn = normals_for(noise, [total.numel() for total in sums])
    for total, part in zip(sums, drawn, strict=True):
        total.add_(part.view(total.shape).to(total.device), alpha=deviation)

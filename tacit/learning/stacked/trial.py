"""By which means a cohort can be trained, found by trying: the first use against the loop.

An operation without a rule is loud. One that mixes examples without touching a trainable weight (a
mean over the batch, say) is silent, and so no list of layers is trusted: two made-up sites of three
made-up examples are trained by every means, and what differs from one site after the other is not
used.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import torch
from torch import nn

from tacit.learning.local import Compute, clipped_sum, plain_sum
from tacit.learning.per_example import PerExampleGradients, norms_of
from tacit.learning.stacked.cohort import Sums
from tacit.learning.stacked.gradients import Batch, stacked_sums
from tacit.learning.stacked.parameter import NoRule
from tacit.learning.stacked.vmapped import vmapped_sums
from tacit.models.architecture import made_up_examples
from tacit.models.compatibility import ROUNDING, TOLERANCE, UNFIT, made_up_targets, untouched

_VALUES_AT_ONCE: Final = 3 << 19
"""Values (6 MB) that layers make in one pass on a CPU; twice or half as many cost about as much."""
_SITES: Final = 2
_ROWS: Final = 3


class Means(StrEnum):
    """How a cohort is trained."""

    STACKED = "stacked"
    """One pass for all sites: weights that know their sites."""
    VMAP = "vmap"
    """One pass for all sites by torch's vmap, every example's gradient kept."""
    LOOP = "loop"
    """One site after another."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The means that were found, what computes with them (None for the loop), and why not better.

    `reasons` names, for each means that cannot be used, the layer or the finding.
    """

    means: Means
    sums_of: Sums | None
    reasons: tuple[str, ...] = ()


def choose(model: nn.Module, inputs: tuple[int, ...], compute: Compute, *, private: bool) -> Chosen:
    """Find the best means for a model.

    Parameters
    ----------
    model
        On the device, its trainable weights chosen. It is as it was afterwards.
    inputs
        Shape of one example.
    compute
        Where and how gradients are computed.
    private
        Whether gradients are clipped for each example.
    """
    if random := random_layer(model):
        return Chosen(Means.LOOP, None, (f"{random} draws for each site by itself",))
    with untouched(model):
        return _by_trial(model, inputs, compute, private)


def _by_trial(model: nn.Module, inputs: tuple[int, ...], compute: Compute, private: bool) -> Chosen:
    example = _Example(model, inputs, compute, private)
    reasons: list[str] = []
    stacked = functools.partial(stacked_sums, at_once=_rows_at_once(model, inputs, compute.device))
    for means, work in ((Means.STACKED, stacked), (Means.VMAP, vmapped_sums)):
        sums_of: Sums = functools.partial(
            work, model, precision=compute.precision, loss_scale=compute.loss_scale
        )
        if (reason := example.differs(sums_of)) is None:
            return Chosen(means, sums_of, tuple(reasons))
        reasons.append(f"{means}: {reason}")
    return Chosen(Means.LOOP, None, tuple(reasons))


def random_layer(model: nn.Module) -> str | None:
    """Name a layer that draws random numbers in training; None where there is none."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            return f"{name} ({type(layer).__name__})"
    return None


def _rows_at_once(model: nn.Module, inputs: tuple[int, ...], device: torch.device) -> int | None:
    """Return how many rows a pass should have; None for all that there are.

    On a CPU a pass whose values fit its cache is faster, by half where layers are large. It follows
    from the model alone and not from a clock: the same seed must give the same bits.
    """
    if device.type != "cpu":
        return None
    made = 0

    def count(layer: nn.Module, values: object, output: object) -> None:
        nonlocal made
        made += output.numel() if isinstance(output, torch.Tensor) else 0

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if not any(True for _ in layer.children())
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *inputs, device=device))
    except UNFIT:
        return None  # the trial says what is wrong
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, _VALUES_AT_ONCE // max(1, made))


class _Example:
    """Two made-up sites, and what the loop makes of them."""

    def __init__(
        self, model: nn.Module, inputs: tuple[int, ...], compute: Compute, private: bool
    ) -> None:
        self._model = model
        self._private = private
        self._exact = compute.precision == torch.float32
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        device = compute.device
        generator = torch.Generator().manual_seed(0)

        def made_up(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator).to(device)

        # Zero weights (a fresh head) would hide the layers below them.
        self._values = {
            name: torch.stack([p.detach() + 0.1 * made_up(*p.shape) for _ in range(_SITES)])
            for name, p in trainable.items()
        }
        features = made_up_examples(model, _SITES * _ROWS, inputs, generator).to(device)
        features = features.view(_SITES, _ROWS, *inputs)
        targets = torch.stack([made_up_targets(model, own) for own in features])
        # One row of the second site is padding.
        present = torch.ones(_SITES, _ROWS, dtype=torch.bool, device=device)
        present[-1, -1] = False
        self._batch = Batch(features, targets, present)
        self._clips = torch.ones(_SITES, device=device)
        self._expected = self._by_loop(trainable, compute)

    def _by_loop(
        self, trainable: Mapping[str, nn.Parameter], compute: Compute
    ) -> dict[str, torch.Tensor]:
        found = []
        for site in range(_SITES):
            with torch.no_grad():
                for name, p in trainable.items():
                    p.copy_(self._values[name][site])
            own = self._batch.present[site]
            rows = self._batch.features[site][own], self._batch.targets[site][own]
            if self._private:
                with PerExampleGradients(self._model) as per_example:
                    # Some are clipped and some are not.
                    self._clips[site] = norms_of(per_example(*rows)).median().clamp(min=1e-6)
                clip = self._clips[site].item()
                found.append(clipped_sum(self._model, *rows, clip, compute))
            else:
                found.append(plain_sum(self._model, *rows, compute))
        return {
            name: torch.stack([sums[place] for sums in found])
            for place, name in enumerate(trainable)
        }

    def differs(self, sums_of: Sums) -> str | None:
        """Say how sums differ from the loop's; None where they do not."""
        self._model.train()
        with _entered(self._model) as layers:
            try:
                found = sums_of(self._values, self._batch, self._clips if self._private else None)
            except NoRule as error:
                return f"no rule for {error} in {layers[-1]}"
            except UNFIT as error:
                return f"{str(error).splitlines()[0]} in {layers[-1]}"
        largest = max(value.abs().max().item() for value in self._expected.values())
        for name, expected in self._expected.items():
            # Half precision rounds differently in one pass for all sites.
            slack = 1.0 if self._exact else 100.0
            bound = TOLERANCE * expected.abs().max().item() + ROUNDING * largest
            if not (found[name] - expected).abs().max().item() <= slack * bound:
                return f"gradients of {name} are not those of one site after another: examples mix"
        return None


@contextmanager
def _entered(model: nn.Module) -> Iterator[list[str]]:
    """Keep the names of the layers that a forward pass is in, the innermost last."""
    within = ["the model"]
    hooks = []
    for name, layer in model.named_modules():
        title = f"{name or 'the model'} ({type(layer).__name__})"
        hooks += [
            layer.register_forward_pre_hook(lambda *_, title=title: within.append(title)),
            layer.register_forward_hook(lambda *_: within.pop() and None),
        ]
    try:
        yield within
    finally:
        for hook in hooks:
            hook.remove()

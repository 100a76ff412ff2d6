"""The same sums by torch's own `vmap`, for a model that does something the rules do not know.

It keeps every example's gradient, so it takes more memory and time than
`tacit.learning.stacked.gradients.stacked_sums`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from tacit.learning.per_example import cleaned, losses_of
from tacit.learning.stacked.gradients import Batch, clipped_totals
from tacit.learning.stacked.tape import Direct, unscaled


def vmapped_sums(
    model: nn.Module,
    values: Mapping[str, torch.Tensor],
    batch: Batch,
    clipping_norms: torch.Tensor | None,
    precision: torch.dtype = torch.float32,
    loss_scale: float = 1.0,
    into: Mapping[str, torch.Tensor] | None = None,
) -> Mapping[str, torch.Tensor]:
    """Sum each site's gradients: see `tacit.learning.stacked.gradients.stacked_sums`.

    Raises
    ------
    RuntimeError
        torch cannot vectorise the model.
    """

    def loss_of(
        own: Mapping[str, torch.Tensor],
        features: torch.Tensor,
        finite: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def scores_of(rows: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = torch.func.functional_call(model, dict(own), (rows,))
            return scores

        losses, usable = losses_of(
            scores_of, features.unsqueeze(0), finite.unsqueeze(0), target.unsqueeze(0), precision
        )
        return losses.sum() * loss_scale, usable

    one = torch.func.grad(loss_of, has_aux=True)
    every = torch.func.vmap(torch.func.vmap(one, (None, 0, 0, 0)), (0, 0, 0, 0))
    features, finite = cleaned(batch.features.flatten(0, 1))
    found, usable = every(
        dict(values),
        features.view_as(batch.features),
        finite.view_as(batch.present),
        batch.targets,
    )
    present = usable.flatten() & batch.present.flatten()
    gradients = {
        name: unscaled(gradient.detach().flatten(0, 1), loss_scale)
        for name, gradient in found.items()
    }
    if batch.each > 1:
        # Rows of one person are summed: what is padding, or unusable, is zero in it.
        counted = present.float() if batch.shares is None else present * batch.shares.flatten()
        for gradient in gradients.values():
            gradient.mul_(counted.view(-1, *[1] * (gradient.dim() - 1)))
    uses = {name: [Direct(gradient)] for name, gradient in gradients.items()}
    if clipping_norms is None:
        factors = present.float().view(batch.present.shape)
        sums = {name: use.weighted_sum(factors) for name, (use,) in uses.items()}
    else:
        sums = clipped_totals(uses, present, clipping_norms, values, batch.each)
    if into is None:
        return sums
    for name, each in sums.items():
        into[name].copy_(each)
    return into

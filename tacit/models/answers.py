"""What a model's scores say: probabilities, labels or numbers."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tacit.domains.domain import Card, Task

Array = npt.NDArray[np.float64]

HALF: Final = 0.5
AT_ONCE: Final = 2048
"""Examples of one pass."""


@torch.no_grad()
def scores_of(model: nn.Module, examples: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a model's scores [n, outputs] of examples [n, ...], float64 on the CPU.

    The model is in evaluation and on `device`.
    """
    parts = [model(part.to(device)) for part in torch.split(examples, AT_ONCE)]
    return torch.cat(parts).double().cpu()


def answers(scores: torch.Tensor, card: Card) -> Array:
    """Return what scores [n, outputs] say.

    Returns
    -------
    array
        Numbers [n] in the target's unit; the probability of each class [n, classes], also of
        classes in order; or of each label [n, labels].
    """
    match card.task:
        case Task.NUMBER if card.target is not None:
            numbers: Array = card.target.unscale(scores[:, 0].numpy())
            return numbers
        case Task.LABELS:
            labels: Array = scores.sigmoid().numpy()
            return labels
        case Task.ORDINAL:
            # 'Above class k' is never likelier than 'above class k - 1': Frank and Hall 2001,
            # section 2, with what training leaves of the contrary taken out.
            above = np.minimum.accumulate(scores.sigmoid().numpy(), 1)
            edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1.0, 0.0)))
            between: Array = edges[:, :-1] - edges[:, 1:]
            return between
        case _:
            classes: Array = scores.softmax(1).numpy()
            return classes


def chosen(found: Array, card: Card) -> npt.NDArray[np.int64]:
    """Return what is answered by probabilities of `answers` [n, classes or labels].

    Returns
    -------
    array
        The likeliest class [n]; of classes in order the median class, above which is no more than
        half of what is likely; of labels, 1 for each that is likelier than not [n, labels].
    """
    match card.task:
        case Task.LABELS:
            return (found > HALF).astype(np.int64)
        case Task.ORDINAL:
            return median_class(found)
        case _:
            return np.asarray(found.argmax(1), np.int64)


def median_class(found: Array) -> npt.NDArray[np.int64]:
    """Return the class [n] at which the probabilities [n, classes] of classes in order reach ½."""
    return np.asarray((found.cumsum(1) < HALF).sum(1), np.int64)

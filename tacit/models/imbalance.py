"""Classes that are not equally common, by what is publicly known of how common they are.

No row is counted: a count would be a release like any other. The prior is the card's.
"""

import torch
from torch import nn

from tacit.domains.domain import Card, Task
from tacit.errors import ConfigurationError
from tacit.models.architecture import head_of


def log_odds(card: Card) -> torch.Tensor:
    """Return the scores [outputs] that give each class or label its prior.

    Raises
    ------
    ConfigurationError
        The card has no prior.
    """
    if card.prior is None:
        raise ConfigurationError(
            f"model.balanced=true: how common the classes of {card.name} are is not stated: put "
            "the public prior of each class into the schema"
        )
    prior = torch.tensor(card.prior, dtype=torch.float64)
    match card.task:
        case Task.LABELS:
            found = prior.logit()
        case Task.ORDINAL:
            found = prior.flip(0).cumsum(0).flip(0)[1:].logit()
        case _:
            found = prior.log()
    return found.float()


def start_from_prior(model: nn.Module, card: Card) -> None:
    """Let an untrained head say that each class is as likely as the prior has it."""
    bias = getattr(head_of(model), "bias", None)
    if card.prior is None or not isinstance(bias, nn.Parameter):
        return
    with torch.no_grad():
        bias.copy_(log_odds(card))


class Prior(nn.Module):
    """Adds the prior's scores to a head's while it trains, and not after.

    What is learnt is then what tells the classes apart and not how common they are, so that a rare
    class is found as readily as a common one (Menon et al. 2021, "Long-tail learning via logit
    adjustment", ICLR, arXiv 2007.07314, equation 10 with τ = 1).
    """

    scores: torch.Tensor

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.register_buffer("scores", log_odds(card))

    def __call__(
        self, head: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor
    ) -> torch.Tensor:
        """Be a hook of the head."""
        return made + self.scores if head.training else made


def balance(model: nn.Module, card: Card) -> None:
    """Let a model learn as if all classes were equally common.

    Raises
    ------
    ConfigurationError
        The card has no prior.
    """
    prior = Prior(card)
    model.add_module("prior", prior)  # so that it moves with the model, and is hashed with it
    head_of(model).register_forward_hook(prior)

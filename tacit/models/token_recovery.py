"""How well a pretrained model predicts tokens hidden from it, measured on texts it learned from."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from tacit.models.masked_tokens import MaskedTokens
from tacit.models.reconstruction import coins_of

HIDDEN: Final = 2000
"""How many tokens are hidden in a measurement, or about as many."""
BATCH: Final = 32
"""Most texts in one pass."""
TRIED: Final = 8
"""Texts for one that is shown: of a short one nothing may be hidden."""


@dataclass(frozen=True, slots=True)
class TokenRecovery:
    """How well hidden tokens are predicted.

    Parameters
    ----------
    loss
        Mean cross-entropy of a hidden token, in nats.
    baseline
        The same for whoever knows how frequent each token is and nothing else: their entropy.
    right
        Share of hidden tokens that are the likeliest by the model.
    frequent
        The same for whoever always says the most frequent token.
    hidden
        How many tokens were hidden for this.
    tokens
        How many the texts have.
    """

    loss: float
    baseline: float
    right: float
    frequent: float
    hidden: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a text: seen, or a token that was hidden.

    Parameters
    ----------
    text
        As it is.
    said
        What the model says that it is; None where it was seen.
    right
        Whether that is what it is.
    """

    text: str
    said: str | None = None
    right: bool = False


@torch.no_grad()
def token_recovery(objective: MaskedTokens, masked_share: float, seed: int) -> TokenRecovery:
    """Measure how well a model predicts hidden tokens.

    Parameters
    ----------
    objective
        The model and its texts.
    masked_share
        Probability with which a token is hidden.
    seed
        Fixes texts and masks; no step of pretraining has seen these masks.
    """
    coins = coins_of("tokens", seed)
    maskable = objective.maskable
    loss, right, count, tokens = 0.0, 0, 0, int(maskable.sum())
    # A small pool is gone through several times, each with other masks, and of a large one a part.
    for _ in range(math.ceil(HIDDEN / (masked_share * tokens))):
        for rows in torch.split(torch.randperm(objective.examples, generator=coins), BATCH):
            if count >= HIDDEN:
                break
            scores, wanted = objective.scores(rows, _hidden(objective, rows, masked_share, coins))
            loss += float(nn.functional.cross_entropy(scores, wanted, reduction="sum"))
            right += int((scores.argmax(1) == wanted).sum())
            count += len(wanted)
    shares = objective.tokens[maskable].bincount().double() / tokens
    return TokenRecovery(
        loss=loss / max(count, 1),
        baseline=float(torch.special.entr(shares).sum()),
        right=right / max(count, 1),
        frequent=float(shares.max()),
        hidden=count,
        tokens=tokens,
    )


@torch.no_grad()
def filled(
    objective: MaskedTokens, masked_share: float, seed: int, wanted: int
) -> list[list[Piece]]:
    """Hide tokens of a few texts and let the model say what they are.

    The arguments are those of `token_recovery`, and the number of texts. Of each there is what
    the model gets to see: it ends where the last token does. There may be fewer texts, as something
    has to be hidden in each, and none where the tokenizer cannot tell a token's place in its text.
    """
    if not objective.tokenizer.is_fast:
        return []
    coins = coins_of("texts", seed)
    usable = objective.maskable.any(1).nonzero()[:, 0]
    rows = usable[torch.randperm(len(usable), generator=coins)[: TRIED * wanted]]
    hidden = _hidden(objective, rows, masked_share, coins) & objective.maskable[rows]
    shown = hidden.any(1).nonzero()[:wanted, 0]
    if not len(shown):
        return []
    rows, hidden = rows[shown], hidden[shown]
    scores, _ = objective.scores(rows, hidden)
    said = iter(scores.argmax(1).tolist())
    found = []
    for row, places in zip(rows.tolist(), hidden, strict=True):
        text = objective.texts[row]
        read = objective.tokenizer(
            text, truncation=True, max_length=objective.blocks, return_offsets_mapping=True
        )
        pieces, end = [], 0
        for token, (start, stop), hides in zip(
            read["input_ids"], read["offset_mapping"], places.tolist(), strict=False
        ):
            if hides:
                number = next(said)
                # Some tokenizers count the space before a word as part of it.
                start += len(text[start:stop]) - len(text[start:stop].lstrip())
                pieces += [Piece(text[end:start])] if start > end else []
                word = objective.tokenizer.decode([number]).strip()
                pieces.append(Piece(text[start:stop], word, number == token))
                end = stop
        last = max(stop for _, stop in read["offset_mapping"])
        pieces += [Piece(text[end:last])] if last > end else []
        found.append(pieces)
    return found


def _hidden(
    objective: MaskedTokens, rows: torch.Tensor, masked_share: float, coins: torch.Generator
) -> torch.Tensor:
    return torch.rand(len(rows), objective.blocks, generator=coins) < masked_share

"""Masked modelling of texts: a model of transformers predicts tokens that are hidden from it.

Devlin et al. 2019 ("BERT", NAACL, section 3.1) choose 15 % of a text's tokens and hide four in five
of them behind ``[MASK]``; of the rest one half is replaced by random tokens and one half left.
Wettig et al. 2023 ("Should you mask 15% in masked language modeling?", EACL) find that to hide all
of them does as well. That is what is done here.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.hub import ModelFiles
from tacit.models.transformer_backbones import Tokens, token_counts

KIND: Final = "masked-token modelling"


class MaskedTokens:
    """Cross-entropy of the hidden tokens, an `Objective`; a token is a block.

    Special tokens are never hidden: of ``[CLS]``, ``[SEP]`` and their like there is nothing to
    learn, and what an unknown word was nobody knows.

    Parameters
    ----------
    model
        Of transformers, for masked language modelling; it trains as a whole, and of the part that
        predicts nothing is kept.
    tokenizer
        Of transformers.
    texts
        Public texts.
    length
        Most tokens of a text; what follows is cut off.
    name
        What a person calls the model.
    files
        Where it comes from.

    Raises
    ------
    ModelError
        The tokenizer has nothing to hide a token behind, or does not belong to the model, or no
        text has a token to hide.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        texts: Sequence[str],
        length: int,
        name: str,
        files: ModelFiles,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise ModelError(
                f"model.name={name}: its tokenizer has no mask token to hide others behind: choose "
                "a model that was pretrained with one, as all-MiniLM-L6-v2 and other models of the "
                "BERT family were"
            )
        # Eval leaves out what is drawn anew in each pass: it could not be repeated after a stop.
        self._predicting = model.eval()
        # What predicts is called head in some models, and a head at the top does not train.
        self.model = nn.ModuleDict({"model": model})
        self.tokenizer = tokenizer
        self.texts = texts
        self.name = name
        self.files = files
        self.tokens = Tokens(tokenizer, length).of(texts).long()
        """Number of each token [n, length]; negative after a text's last."""
        special = torch.tensor(tokenizer.all_special_ids)
        self.maskable = (self.tokens >= 0) & ~torch.isin(self.tokens, special)
        """Which of them may be hidden."""
        if not self.maskable.any():
            raise ModelError(
                f"model.name={name}: its tokenizer finds no token in the {len(texts)} texts of the "
                "public pool that could be hidden: is it made for their language?"
            )
        known = int(model.get_input_embeddings().num_embeddings)
        if (most := max(int(self.tokens.max()), int(tokenizer.mask_token_id))) >= known:
            raise ModelError(
                f"model.name={name}: its tokenizer has a token of number {most}, and the model "
                f"knows {known}: do they belong together?"
            )
        self._asked: torch.Tensor | None = None
        if (last := model.get_output_embeddings()) is not None:
            last.register_forward_pre_hook(self._asked_only)
            self._start_from_frequencies(getattr(last, "bias", None))

    @torch.no_grad()
    def _start_from_frequencies(self, bias: torch.Tensor | None) -> None:
        """Let a part that predicts and is new know how frequent each token is.

        It would learn this first: of all-MiniLM-L6-v2 and 1,000 sentences the loss was 6.7 after
        50 steps without it, and 5.9 with it, where frequencies alone make 6.1. Of 100 tokens it
        expects one that the texts do not have.
        """
        if bias is not None and not bias.any():
            counts = self.tokens[self.maskable].bincount(minlength=len(bias))
            bias.copy_((0.99 * counts / counts.sum() + 0.01 / len(bias)).log())

    @property
    def examples(self) -> int:
        """How many texts there are."""
        return len(self.tokens)

    @property
    def blocks(self) -> int:
        """Most tokens of a text."""
        return self.tokens.shape[1]

    @property
    def encoder(self) -> Any:
        """The model without the part that predicts."""
        return self._predicting.base_model

    def measure(self) -> None:
        """Do nothing: nothing is kept of the texts as a whole."""

    def loss(self, rows: torch.Tensor | slice, hidden: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of hidden tokens; zero where no token is."""
        scores, wanted = self.scores(rows, hidden)
        summed = nn.functional.cross_entropy(scores, wanted, reduction="sum")
        return summed / max(len(wanted), 1)

    def scores(
        self, rows: torch.Tensor | slice, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the hidden tokens of some texts.

        Parameters
        ----------
        rows
            Which texts.
        hidden
            Which tokens of each are hidden, bool [n, length]; of special ones none is.

        Returns
        -------
        scores : Tensor
            Of every token that there is, [k, vocabulary], text by text.
        wanted : Tensor
            Which token it was, [k].
        """
        tokens, hidden = self.tokens[rows], hidden & self.maskable[rows]
        # The longest of these texts is as long as any has to be.
        longest = int(token_counts(tokens).max())
        tokens, hidden = tokens[:, :longest], hidden[:, :longest]
        present = tokens >= 0
        present[:, 0] = True  # attention to nothing is not defined
        given = tokens.clamp(min=0).masked_fill(hidden, self.tokenizer.mask_token_id)
        self._asked = hidden
        try:
            scores = self._predicting(input_ids=given, attention_mask=present.long()).logits
        finally:
            self._asked = None
        # Of three dimensions where a model does not say which layer is its last.
        return scores if scores.dim() == 2 else scores[hidden], tokens[hidden]

    def _asked_only(self, _: nn.Module, given: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        """Let the whole vocabulary be compared with hidden tokens only: half the work of a step."""
        return None if self._asked is None else given[0][self._asked]

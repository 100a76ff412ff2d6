"""Texts as examples: padded bytes in a tensor, until a model's reader makes tokens of them."""

from collections.abc import Sequence

import numpy as np
import torch

LONGEST = 2048
"""Bytes of a text that are kept, unless a domain says otherwise."""


def texts_to_bytes(texts: Sequence[str], length: int = LONGEST) -> torch.Tensor:
    """Return texts as UTF-8, uint8 [n, length], cut or filled up with zeros.

    The length is public: it must not follow anybody's texts.
    """
    found = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(found, texts, strict=True):
        held = text.replace("\0", " ").encode(errors="replace")[:length]
        row[: len(held)] = np.frombuffer(held, np.uint8)
    return torch.from_numpy(found)


def bytes_to_texts(rows: torch.Tensor) -> list[str]:
    """Return the texts of `texts_to_bytes`; a character that was cut in two is left out."""
    return [
        bytes(row).rstrip(b"\0").decode(errors="ignore")
        for row in rows.to("cpu", torch.uint8).numpy()
    ]

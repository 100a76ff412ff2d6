"""What was probably meant by a word that is not known: keys, options, columns."""

import difflib
from collections.abc import Iterable


def match(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, None where none is near."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.65)
    return close[0] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word, or the beginning of it, was meant; all of them where none is near."""
    choices = sorted(known)
    beginnings = {choice[: len(word) + 1]: choice for choice in choices}
    meant = match(word, choices) or beginnings.get(match(word, beginnings) or "")
    return f"did you mean {meant!r}?" if meant else f"there are {', '.join(choices)}"

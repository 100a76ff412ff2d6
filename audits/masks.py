"""Stage 4: whether sites' own parts stayed hidden where only sums are said to be seen."""

from collections.abc import Sequence
from typing import Final

from flwr.app import MessageType

from audits import levels
from audits.repeat import Letter
from tacit.messages import ARRAYS, SUM
from tacit.runs.audited import Finding

_SHOWN: Final = 3


def masks(letters: Sequence[Letter]) -> Finding:
    """Tell whether a run that claims secure sums has shown a site's own part.

    Every reply must be one vector that looks uniform: what is not under masks is small beside the
    modulus.
    """
    sent = [each for each in letters if each.asked == MessageType.TRAIN and each.arrays]
    if not sent:
        return Finding("masks", "no site has sent a part of any sum", tested=False)
    bare = [each for each in sent if not _hidden(each, levels.MASKS / len(sent))]
    sites = sorted({each.site for each in bare})
    least = min(each.masked or 0.0 for each in sent)
    return Finding(
        "masks",
        f"only sums are said to be seen, and {len(bare)} of {len(sent)} replies show a site's own "
        f"update: {', '.join(sites[:_SHOWN])}"
        if bare
        else f"{len(sent)} replies, each one vector as random as masks make it",
        bool(bare),
        {"replies": float(len(sent)), "bare": float(len(bare)), "least_chance": least},
    )


def _hidden(letter: Letter, level: float) -> bool:
    only = letter.arrays.keys() == {(ARRAYS, SUM)}
    return only and letter.masked is not None and letter.masked >= level

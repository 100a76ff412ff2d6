"""Stage 4: whether sites' own parts stayed hidden where only sums are said to be seen."""

from collections.abc import Sequence
from typing import Final

from flwr.app import MessageType
from scipy.stats import combine_pvalues

from audits import levels
from audits.repeat import Letter
from tacit.messages import ARRAYS, SUM
from tacit.runs.audited import Finding

_SHOWN: Final = 3


def masks(letters: Sequence[Letter]) -> Finding:
    """Tell whether a run that claims secure sums has shown a site's own part.

    Every reply must be one vector that looks uniform: what is not under masks is small beside the
    modulus. Half of the level is for each by itself, half for all together, which shows what is
    bare in a part of short vectors.
    """
    sent = [each for each in letters if each.asked == MessageType.TRAIN and each.arrays]
    if not sent:
        return Finding("masks", "no site has sent a part of any sum", tested=False)
    level = levels.MASKS / 2
    bare = [each for each in sent if not _hidden(each, level / len(sent))]
    sites = sorted({each.site for each in bare})
    chances = [each.masked or 0.0 for each in sent]
    together = _together(chances)
    if bare:
        said = (
            f"only sums are said to be seen, and {len(bare)} of {len(sent)} replies show a site's "
            f"own update: {', '.join(sites[:_SHOWN])}"
        )
    elif together < level:
        said = (
            f"only sums are said to be seen, and {len(sent)} replies together lie nearer to zero "
            "than numbers under masks do: a part of each is a site's own update"
        )
    else:
        said = f"{len(sent)} replies, each one vector as random as masks make it"
    figures = {
        "replies": float(len(sent)),
        "bare": float(len(bare)),
        "least_chance": min(chances),
        "chance_together": together,
    }
    return Finding("masks", said, bool(bare) or together < level, figures)


def _together(chances: Sequence[float]) -> float:
    """Return the chance that independent ones are as small: Fisher 1925, section 21.1."""
    if min(chances) <= 0:
        return 0.0
    return float(combine_pvalues(chances, method="fisher").pvalue)


def _hidden(letter: Letter, level: float) -> bool:
    only = letter.arrays.keys() == {(ARRAYS, SUM)}
    return only and letter.masked is not None and letter.masked >= level

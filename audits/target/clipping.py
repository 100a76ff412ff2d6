"""How far the update of a client that is not ours moves when one unit of its data is another.

Each of two data sets is sent with the same seed. Noise from a generator that the seed governs falls
out of the difference; other noise is averaged over many pairs.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.optimize import brentq
from scipy.stats import ncx2, norm

from audits import levels
from audits.noise import Numbers
from audits.target.app import Target
from audits.target.claims import Claim
from audits.target.noise import contrasts
from audits.target.rows import MadeUp, Rows, alike
from tacit.domains.domain import Examples
from tacit.privacy.events import Unit
from tacit.runs.audited import Finding

LOUD: Final = (3.0, 100.0, 3000.0)
"""Spreads of features of rows that are to be clipped; usual rows have 1. What is not clipped grows
with them."""
FEWEST, MOST = 40, 400
"""Pairs over which noise is averaged."""
_TOLERANCE: Final = 1e-2
_CANCELLED: Final = 1e-2
"""Relative to C: what single precision leaves of noise that falls out."""
_NORMAL: Final = 1e4
"""From so large a noncentrality on a noncentral χ² is as good as normal, and scipy's slow."""
_REACHED: Final = 0.5
"""Relative to C: so far a difference has to go, to say anything of clipping."""


def clipping(target: Target, claim: Claim, made_up: MadeUp, count: int) -> Finding:
    """Hold the updates of data sets that differ in one unit against 2C.

    Parameters
    ----------
    claim
        It has what `reach` needs.
    count
        Of rows in a data set.

    Raises
    ------
    TargetError
        The client fails.
    """
    reach = claim.reach or math.nan
    pairs = [_pair(claim, made_up, count, spread) for spread in LOUD]
    once, twice = (_difference(target, pairs[0], seed) for seed in range(2))
    if float(np.linalg.norm(once - twice)) < _CANCELLED * reach + target.rounding:
        moves = [once, *(_difference(target, pair, 0) for pair in pairs[1:])]
        return _exactly(claim, max(float(np.linalg.norm(m)) for m in moves) / reach, target, reach)
    # So many that |mean|² is known within C²/4, where the noise is as claimed.
    sigma = claim.noise_multiplier or 1.0
    needed = math.ceil(8 * sigma**2 * math.sqrt(2 * target.size))
    seeds = range(min(MOST, max(FEWEST, needed)))
    found = np.array([_difference(target, pairs[1], seed) for seed in seeds])
    return _averaged(claim, found / reach)


def _pair(claim: Claim, made_up: MadeUp, count: int, spread: float) -> tuple[Rows, Rows]:
    """Return two data sets: with one row another, or all rows where the client is the unit."""
    loud = made_up.row(3, spread)
    if claim.unit is Unit.RECORD:
        usual = made_up.row(1)
        return alike(usual, count, loud), alike(usual, count)
    against = Examples(-loud.features, made_up.row(4).targets)
    return alike(loud, count), alike(against, count)


def _difference(target: Target, pair: Sequence[Rows], seed: int) -> Numbers:
    one, two = (target.ask(rows, seed).update for rows in pair)
    return one - two


def _exactly(claim: Claim, moved: float, target: Target, reach: float) -> Finding:
    wrong = moved > 2 * (1 + _TOLERANCE) + target.rounding / reach
    said = f"{_what(claim)} changed, what leaves moves by {moved:.4g} C; 2 C is allowed"
    return _finding(said, wrong, wrong or moved > _REACHED, {"moved_over_c": moved})


def _averaged(claim: Claim, found: Numbers) -> Finding:
    """Test the mean of differences: its square is a noncentral χ², whose noncentrality C bounds."""
    count, size = found.shape
    variance = float(np.square(contrasts(found)).mean())
    per = count / variance
    square = float(np.square(found.mean(axis=0)).sum())
    chance = float(_law(size, 4 * per).sf(square * per))
    wrong = chance < levels.TARGET_CLIPPING
    net = square - size / per
    error = math.sqrt(2 * size / per**2 + 4 * max(net, 0.0) / per)
    reached = wrong or net - 3 * error > _REACHED**2
    seen = _visible(per, size)
    said = (
        f"{_what(claim)} changed, what leaves moves by about {math.sqrt(max(net, 0.0)):.3g} C; "
        f"2 C is allowed, and {seen:.3g} C or more would be found in 99 of 100 tries"
    )
    return _finding(said, wrong, reached, {"chance": chance, "visible_over_c": seen})


def _law(size: int, noncentrality: float) -> Any:
    """Return the law of the squared norm of `size` normals whose means have this one."""
    if noncentrality < _NORMAL:
        return ncx2(size, noncentrality)
    return norm(size + noncentrality, math.sqrt(2 * (size + 2 * noncentrality)))


def _visible(per: float, size: int) -> float:
    """Return how far, in C, an update may move until `_averaged` finds it with power 0.99."""
    bound = float(_law(size, 4 * per).isf(levels.TARGET_CLIPPING))

    def lack(moved: float) -> float:
        return float(_law(size, moved**2 * per).sf(bound)) - 0.99

    far = 4.0
    while lack(far) < 0:
        far *= 2
    return float(brentq(lack, 2.0, far))


def _finding(said: str, wrong: bool, reached: bool, figures: dict[str, float]) -> Finding:
    if not reached:
        said += "; nothing shows that rows of the audit's reach C"
    return Finding("clipping", said, wrong, figures, tested=reached)


def _what(claim: Claim) -> str:
    return "one row" if claim.unit is Unit.RECORD else "all rows"

"""Noise in the replies of a client that is not ours, from many replies to one message.

Replies differ by noise and by what training adds to it: order of rows, dropout. That can only hide
a lack of noise, and never makes one up. Where there is more than is claimed, nothing is said.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.linalg import helmert
from scipy.stats import chi2

from audits import findings, levels
from audits.noise import Numbers
from audits.target.claims import Claim, epsilon_of, exceeds
from tacit.runs.audited import Finding

_MORE = 1e-3
"""Chance with which as much noise as claimed is taken to be more."""
_LOUD = 0.1
"""Largest part of the mean update's direction in a coordinate that is compared with others."""


def contrasts(updates: Numbers) -> Numbers:
    """Return n - 1 independent rows of noise alone, from n updates that differ by noise alone.

    An orthonormal turn (Helmert's) that the mean falls out of: rows are normal as the noise is,
    with its deviation, and independent of each other and of the mean.
    """
    found: Numbers = helmert(len(updates)) @ updates
    return found


def amounts(
    claim: Claim, updates: Numbers, deviation: float, places: Mapping[str, slice]
) -> Iterator[Finding]:
    """Look at how much noise there is, and whether it is independent.

    Parameters
    ----------
    claim
        What is claimed.
    updates
        One a reply [n, d].
    deviation
        Of the noise on each number of an update, as claimed.
    places
        Of the tensors that move, by name.
    """
    chosen = {name: updates[:, place] / deviation for name, place in places.items()}
    scaled = np.concatenate(list(chosen.values()), axis=1)
    rows = contrasts(scaled)
    amount, more = findings.amount(rows), _more(rows)
    yield _hidden(amount, more)
    apart = {name: contrasts(values) for name, values in chosen.items()}
    each = [{name: noise[n] for name, noise in apart.items()} for n in range(len(rows))]
    yield findings.each_tensor({"": each}, list(places))
    yield _columns(rows, scaled.mean(axis=0))
    yield _nearest(scaled)
    yield epsilon_allowed(claim, claim.noise_multiplier or 0.0, rows)


def _more(rows: Numbers) -> bool:
    return bool(np.square(rows).sum() > chi2.isf(_MORE, rows.size))


def _hidden(amount: Finding, more: bool) -> Finding:
    if not more or amount.contradicted:
        return amount
    said = f"{amount.figures['ratio']:.4f} of what is claimed: what training adds is in it, or more"
    return Finding(
        amount.test, f"{said} noise; a lack might be hidden", False, amount.figures, {}, False
    )


def _columns(rows: Numbers, mean: Numbers) -> Finding:
    """Compare coordinates, without the direction in which all updates go.

    How far an update goes there may follow the client's own sampling. The mean does not depend on
    `rows`, so that nothing is chosen by what is tested; coordinates that have much of it, or whose
    variance is beyond noise, are left out.
    """
    length = float(np.linalg.norm(mean))
    ahead = mean / length if length else mean
    quiet = np.square(rows).sum(axis=0) < chi2.isf(_MORE, len(rows))
    fit = np.flatnonzero((np.abs(ahead) < _LOUD) & quiet)
    if len(fit) < 2:
        return Finding(
            "noise of different coordinates", "fewer than two could be compared", tested=False
        )
    left = rows - np.outer(rows @ ahead, ahead)
    return findings.columns(left[:, fit])


def _nearest(scaled: Numbers) -> Finding:
    """Whether two replies have noise in common: |a - b|²/2 of independent noise is a χ² of d."""
    products = scaled @ scaled.T
    squares = np.diag(products)
    apart = (squares[:, None] + squares[None, :] - 2 * products)[np.triu_indices(len(scaled), 1)]
    closest = max(0.0, float(apart.min())) / 2
    chance = min(1.0, float(chi2.cdf(closest, scaled.shape[1])) * len(apart))
    return Finding(
        "noise of different replies",
        f"of {len(scaled)} replies two are as near as {math.sqrt(closest / scaled.shape[1]):.3f} "
        f"of the claimed deviation; by chance as near with a probability of {chance:.2g}",
        chance < levels.NOISE_BETWEEN_RELEASES,
        {"chance": chance},
    )


def epsilon_allowed(claim: Claim, sigma: float, rows: Numbers) -> Finding:
    """Hold the ε of all the noise that was seen, and no more can be there, against the claimed.

    Parameters
    ----------
    sigma
        Noise multiplier that `rows` are in units of.
    rows
        Noise alone [m, d], and what training adds.
    """
    name = "ε of the noise that is there"
    if why := claim.lacks("epsilon", "delta", "sampling_rate", "steps"):
        return Finding(name, why, tested=False)
    said, delta = claim.epsilon or 0.0, claim.delta or 0.0
    # Variance is at most the sum of squares over χ²_α, with confidence 1 - α.
    bound = np.square(rows).sum() / chi2.ppf(levels.TARGET_EPSILON, rows.size)
    most = sigma * math.sqrt(float(bound))
    found = epsilon_of(claim, most, delta) if most > 0 else math.inf
    if found is None:
        return Finding(name, "there is no accountant for this relation and rate", tested=False)
    return Finding(
        name,
        f"σ is at most {most:.4g}, with which ε is not below {found:.4g}; {said:.4g} is claimed",
        exceeds(found, said, claim.sampling_rate or 1.0),
        {"claimed": said} if math.isinf(found) else {"epsilon": found, "claimed": said},
    )

"""How much noise a run needs: the least σ that keeps a whole run within (ε, δ).

The answer is rounded up and then checked: the ε of the σ returned is never above what was asked.
"""

import hashlib
import json
import math
from decimal import ROUND_CEILING, Context
from importlib.metadata import version
from pathlib import Path

from tacit.errors import ConfigurationError
from tacit.files import replace_file
from tacit.privacy.accounting import Accountant
from tacit.privacy.accounting import epsilon as epsilon_of
from tacit.privacy.events import GaussianSteps

METHOD = "pld/1"
"""Changes whenever the same question may get another answer: old cached answers are then unused."""

# Five digits: σ is at most 0.01 % larger than it must be, and reads well in a report.
_FIVE_DIGITS_UP = Context(prec=5, rounding=ROUND_CEILING)


def noise_multiplier(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    *,
    cache: Path | None = None,
) -> float:
    """Return the least σ, rounded up to five digits, at which a whole run costs at most `epsilon`.

    Parameters
    ----------
    epsilon, delta
        The whole run's budget by PLD, for whatever unit is clipped: ε > 0 and δ in (0, 1).
    sampling_rate
        Probability q in (0, 1] with which a unit enters a step.
    steps
        Number of noised sums in the run, at least 1.
    cache
        A directory in which answers are kept. A kept answer is used only if its ε, computed again
        (a tenth of the work of finding it), is within the budget and not 0.1 % below it, so that
        no file there can weaken or spoil a run; otherwise it is found anew.

    Returns
    -------
    float
        σ: standard deviation of the noise divided by the clipping norm.

    Raises
    ------
    ConfigurationError
        ε or δ is out of range, δ is so large that no noise would be needed, or both are so small
        that floating point cannot tell what a run costs.
    ValueError
        `sampling_rate` or `steps` is out of range.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigurationError(
            f"privacy.epsilon={epsilon} must be positive and finite: try privacy.epsilon=1"
        )
    if not 0 < delta < 1:
        raise ConfigurationError(
            f"privacy.delta={delta} must be between 0 and 1: try less than one over the number "
            "of records, such as privacy.delta=1e-5"
        )
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate={sampling_rate} must be in (0, 1]")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    ever_sampled = 1 - (1 - sampling_rate) ** steps
    if delta >= ever_sampled:
        raise ConfigurationError(
            f"privacy.delta={delta} is not below {ever_sampled:.3g}, the chance that a record is "
            "used at all, so no noise would be needed and nothing protected: choose a smaller δ"
        )
    if cache is None:
        return _find(epsilon, delta, sampling_rate, steps)
    question: dict[str, object] = {
        "epsilon": epsilon,
        "delta": delta,
        "sampling_rate": sampling_rate,
        "steps": steps,
        "method": METHOD,
        "dp_accounting": version("dp-accounting"),
    }
    name = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    path = cache / f"{name}.json"
    kept = _read(path, question)
    if kept is not None:
        spends = _cost(kept, delta, sampling_rate, steps)
        if 0.999 * epsilon <= spends <= epsilon:
            return kept
    found = _find(epsilon, delta, sampling_rate, steps)
    answer = {"question": question, "noise_multiplier": found}
    replace_file(path, json.dumps(answer, indent=1).encode())
    return found


def _cost(
    sigma: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    accountant: Accountant = Accountant.PLD,
) -> float:
    # σ is relative to the clipping norm, so ε does not depend on the norm.
    plan = GaussianSteps(sigma, sampling_rate, steps, clipping_norm=1.0)
    return epsilon_of([plan], delta, accountant)


def _find(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    if sampling_rate == 1:
        close = _full_batch(epsilon, delta, steps)
    else:
        close = _root(epsilon, delta, sampling_rate, steps)
    sigma = _FIVE_DIGITS_UP.create_decimal_from_float(close)
    while _cost(float(sigma), delta, sampling_rate, steps) > epsilon:
        sigma = _FIVE_DIGITS_UP.next_plus(sigma)
    return float(sigma)


def _full_batch(epsilon: float, delta: float, steps: int) -> float:
    """Invert the exact Gaussian (Balle and Wang 2018, arXiv 1805.06530, algorithm 1)."""
    from dp_accounting import get_sigma_gaussian

    return float(get_sigma_gaussian(epsilon, delta)) * math.sqrt(steps)


def _root(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Return σ at which the run costs ε, to 0.002 %, on either side."""
    from scipy.optimize import brentq

    # Sampling never costs more than taking part in every step, whose σ is known.
    most = _full_batch(epsilon, delta, steps)
    high = 1.0
    while _cost(high, delta, sampling_rate, steps, Accountant.RDP) > epsilon:
        high *= 2  # RDP never needs less noise than PLD
        if high < most:
            continue
        high = most
        if _cost(high, delta, sampling_rate, steps) > epsilon:
            raise ConfigurationError(
                f"privacy.epsilon={epsilon:g} at privacy.delta={delta:g} is below what can be "
                f"computed for {steps} steps at sampling rate {sampling_rate:g}: take a larger ε "
                "or δ"
            )
        break
    low = high / 2
    while _cost(low, delta, sampling_rate, steps) <= epsilon:
        high, low = low, low / 2

    def excess(log_sigma: float) -> float:
        return _cost(math.exp(log_sigma), delta, sampling_rate, steps) - epsilon

    return math.exp(float(brentq(excess, math.log(low), math.log(high), xtol=2e-5)))


def _read(path: Path, question: dict[str, object]) -> float | None:
    """Return a kept σ, or None where there is no whole answer to exactly this question."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["question"] != question:
            return None
        sigma = float(kept["noise_multiplier"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return sigma if math.isfinite(sigma) and sigma > 0 else None

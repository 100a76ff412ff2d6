"""What somebody claims of a Flower client that is not ours, and whether it adds up.

The claim is said on the command line, a ``claim.KEY=VALUE`` each. What is not said is not guessed:
tests that need it are not done.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from scipy.stats import norm

from tacit.errors import ConfigurationError
from tacit.nearest import nearest
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.runs.audited import Finding

TEXTBOOK: Final = "textbook"
EXACT_APART: Final = 1e-3
"""Relative: an ε that was rounded to four digits."""
SAMPLED_APART: Final = (0.02, 0.01)
"""Absolutely and relatively: PRV, of which Opacus prints its ε, may be as far from PLD."""

Value = str | int | float | bool


class Between(StrEnum):
    """Which two data sets the claim cannot tell apart."""

    ADD_OR_REMOVE_ONE = "add_or_remove_one"
    """One unit more or fewer: how many there are is private too."""
    REPLACE_WITH_ZERO = "replace_with_zero"
    """One unit's contribution is nothing; how many there are is public."""
    REPLACE_ONE = "replace_one"
    """One unit's contribution is any other; how many there are is public, and two clipped vectors
    differ by up to 2C."""


class NoiseBy(StrEnum):
    """Who adds the noise."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, with None for what is not said.

    Parameters
    ----------
    unit
        `RECORD`: each of a reply's steps adds noise to a sum of clipped gradients (DP-SGD).
        `CLIENT`: the reply's whole update is clipped.
    relation
        Of add or remove one (records) and replace with zero (clients) unless said.
    noise_by
        Who adds the noise; SERVER means that the server is trusted with what the client sends.
    epsilon, delta
        Of `replies` replies together.
    noise_multiplier
        σ: standard deviation of the noise on the clipped sum, or update, divided by C.
    clipping_norm
        C.
    sampling_rate
        Probability with which a unit takes part in a step, independently of all others.
    steps
        Noised steps in a reply; 1 where the client is the unit.
    replies
        How many replies ε is for.
    learning_rate, divisor
        Records: a step moves the weights by the noised sum times the one, divided by the other.
    """

    unit: Unit
    relation: Between
    noise_by: NoiseBy = NoiseBy.CLIENT
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    clipping_norm: float | None = None
    sampling_rate: float | None = None
    steps: int | None = None
    replies: int = 1
    learning_rate: float | None = None
    divisor: float | None = None

    def lacks(self, *names: str) -> str:
        """Say which of these are not claimed; '' where all are."""
        missing = [f"claim.{name}" for name in names if getattr(self, name) is None]
        return f"{' and '.join(missing)} would have to be said" if missing else ""

    @property
    def reach(self) -> float | None:
        """How far one unit may move a reply's weights in one step, in L2 norm."""
        if self.unit is Unit.CLIENT:
            return self.clipping_norm
        if self.clipping_norm is None or self.learning_rate is None or self.divisor is None:
            return None
        return self.clipping_norm * self.learning_rate / self.divisor

    @property
    def reach_needs(self) -> tuple[str, ...]:
        """Names of what `reach` follows from."""
        more = () if self.unit is Unit.CLIENT else ("learning_rate", "divisor")
        return ("clipping_norm", *more)

    @property
    def count_is_private(self) -> bool:
        """Whether how many records there are is what the claim hides."""
        return self.unit is Unit.CLIENT or self.relation is Between.ADD_OR_REMOVE_ONE


def read_claim(words: Mapping[str, Value]) -> Claim:
    """Read ``claim.`` words, given without that prefix.

    Raises
    ------
    ConfigurationError
        Names the key.
    """
    known = [each.name for each in fields(Claim)]
    for key in words:
        if key not in known:
            raise ConfigurationError(f"claim.{key}: there is no such key; {nearest(key, known)}")
    if not words:
        raise ConfigurationError(
            "claim: say what the target claims: claim.unit=record|client, claim.epsilon=..., "
            "claim.delta=..., claim.noise_multiplier=..., claim.clipping_norm=..."
        )
    units = [str(Unit.RECORD), str(Unit.CLIENT)]
    unit = Unit(_choice(words, "unit", units, None))
    usual = Between.ADD_OR_REMOVE_ONE if unit is Unit.RECORD else Between.REPLACE_WITH_ZERO
    noise_by = NoiseBy(_choice(words, "noise_by", list(NoiseBy), NoiseBy.CLIENT))
    if noise_by is NoiseBy.SERVER and unit is Unit.RECORD:
        raise ConfigurationError(
            "claim.noise_by=server: a server noises updates: claim.unit=client"
        )
    some, delta = _number(words, "epsilon"), _number(words, "delta", below=1.0)
    steps = _whole(words, "steps")
    if unit is Unit.CLIENT:
        if steps not in (None, 1):
            raise ConfigurationError(
                "claim.steps: a client's whole update is one release: leave it"
            )
        steps = 1
    return Claim(
        unit,
        Between(_choice(words, "relation", list(Between), usual)),
        noise_by,
        some,
        delta,
        _multiplier(words, some, delta),
        _number(words, "clipping_norm"),
        _number(words, "sampling_rate", most=1.0) or (1.0 if unit is Unit.CLIENT else None),
        steps,
        _whole(words, "replies") or 1,
        _number(words, "learning_rate"),
        _number(words, "divisor"),
    )


def textbook_multiplier(epsilon: float, delta: float) -> float:
    """Return σ = √(2 ln(1.25/δ))/ε: proved for ε < 1 (Dwork and Roth 2014, theorem A.1)."""
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """Return the δ that noise of deviation σ, in units of the sensitivity, has at ε, exactly.

    δ = Φ(1/2σ - εσ) - e^ε Φ(-1/2σ - εσ): Balle and Wang 2018, arXiv 1805.06530, theorem 8, eq. 6.
    """
    near, far = 1 / (2 * sigma) - epsilon * sigma, -1 / (2 * sigma) - epsilon * sigma
    return max(0.0, float(norm.cdf(near)) - math.exp(epsilon + float(norm.logcdf(far))))


def epsilon_of(claim: Claim, sigma: float, delta: float) -> float | None:
    """Return ε at δ of a claim's releases with noise σ; None where no accountant of ours has one.

    Two clipped vectors differ by up to 2C, which halves σ; sampled, that relation has no event.
    """
    if claim.sampling_rate is None or claim.steps is None:
        return None
    if claim.relation is Between.REPLACE_ONE:
        if claim.sampling_rate < 1:
            return None
        sigma /= 2
    steps = claim.steps * claim.replies
    # Both other relations have C as sensitivity, and the same two laws (notes on zeroing out:
    # Kairouz et al. 2021, arXiv 2103.00039, definition 1.1).
    event = GaussianSteps(sigma, claim.sampling_rate, steps, 1.0, claim.unit, _RELATION)
    return epsilon([event], delta)


def exceeds(found: float, said: float, rate: float) -> bool:
    """Tell whether a recomputed ε is larger than the claimed, by more than rounding explains."""
    if rate == 1:
        return found > said * (1 + EXACT_APART)
    return found > said * (1 + SAMPLED_APART[1]) + SAMPLED_APART[0]


def arithmetic(claim: Claim) -> Iterator[Finding]:
    """Recompute ε from the claim's own noise, rate and steps."""
    name = "ε of the claim"
    if why := claim.lacks("epsilon", "delta", "noise_multiplier", "sampling_rate", "steps"):
        yield Finding(name, why, tested=False)
        return
    said, delta, sigma = claim.epsilon or 0.0, claim.delta or 0.0, claim.noise_multiplier or 0.0
    found = epsilon_of(claim, sigma, delta)
    if found is None:
        why = "for one record replaced, under Poisson sampling, there is no accountant here"
        yield Finding(name, why, tested=False)
        return
    rate, steps = claim.sampling_rate or 1.0, (claim.steps or 1) * claim.replies
    wrong = exceeds(found, said, rate)
    between = claim.relation.replace("_", " ")
    yield Finding(
        name,
        f"σ = {sigma:.4g}, rate {rate:.4g} and {steps} steps give ε = {found:.4g} at δ = "
        f"{delta:g} ({between}); {said:.4g} is claimed" + (_exactly(claim, sigma) if wrong else ""),
        wrong,
        {"epsilon": found, "claimed": said},
    )


def _exactly(claim: Claim, sigma: float) -> str:
    """Say what δ one Gaussian has at the claimed ε."""
    if claim.sampling_rate != 1 or claim.steps != 1 or claim.replies != 1 or not claim.epsilon:
        return ""
    if claim.relation is Between.REPLACE_ONE:
        sigma /= 2
        why = "two clipped vectors differ by up to 2 C"
    else:
        why = "the textbook's σ is proved for ε < 1 only"
    return f", where δ is {gaussian_delta(sigma, claim.epsilon):.2g} ({why})"


_RELATION: Final = Relation.ADD_OR_REMOVE_ONE


def _choice(words: Mapping[str, Value], key: str, known: list[str], usual: str | None) -> str:
    value = words.get(key, usual)
    if value is None:
        raise ConfigurationError(f"claim.{key} must be said: {' or '.join(known)}")
    if value not in known:
        raise ConfigurationError(f"claim.{key}={value}: {nearest(str(value), known)}")
    return str(value)


def _number(
    words: Mapping[str, Value], key: str, *, below: float = math.inf, most: float = math.inf
) -> float | None:
    value = words.get(key)
    if value is None:
        return None
    number = math.nan if isinstance(value, bool | str) else float(value)
    if not (math.isfinite(number) and 0 < number < below and number <= most):
        limit = f" below {below:g}" if below < math.inf else ""
        limit += f", {most:g} at most" if most < math.inf else ""
        raise ConfigurationError(f"claim.{key}={value} must be a positive number{limit}")
    return number


def _whole(words: Mapping[str, Value], key: str) -> int | None:
    value = words.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"claim.{key}={value} must be a whole number, 1 at least")
    return value


def _multiplier(
    words: Mapping[str, Value], some: float | None, delta: float | None
) -> float | None:
    if words.get("noise_multiplier") != TEXTBOOK:
        return _number(words, "noise_multiplier")
    if some is None or delta is None:
        raise ConfigurationError(
            "claim.noise_multiplier=textbook: is √(2 ln(1.25/δ))/ε: say claim.epsilon and "
            "claim.delta"
        )
    return textbook_multiplier(some, delta)

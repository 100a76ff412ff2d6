"""When a data set has given enough: a Rényi filter at one order that is fixed beforehand.

Runs come one after another, and what a later one asks for may depend on what earlier ones showed.
Over such runs Rényi DP still adds up (Feldman and Zrnic 2021, theorem 3.1), at *one* order α and
against a budget ρ, both fixed before the first output. The best order at each check, as an
accountant takes it, is not covered: which order is best depends on parameters that depend on
outputs.

- The order of a ledger follows from the lifetime's ε and δ alone (`filter_order`). It stands in the
  ledger's first private reservation, which comes before its first output, and never changes.
- A run beside or after others is admitted only if the Rényi divergences at α of all that was
  charged, of all that open runs may still be charged and of its whole plan add up to at most ρ
  (`renyi_budget`). Runs may overlap: Haney et al. 2023 show it for Rényi DP of a fixed order.
- The only run of a ledger is fixed before its first output, so PLD may decide. It may cost more
  than ρ by that tighter count: then, once anything was charged to it, no other run is ever
  admitted, not even when it ended early. Two guarantees that hold, one or the other as outputs
  happen to fall, would otherwise make (ε, 2δ).

A site's officer may change the lifetime's ε later; that moves ρ and never α. Lowering it is always
sound. What is guaranteed is the largest lifetime ε that was ever in force, each of which stands in
the ledger; it is a guarantee only if raising it did not depend on what runs had shown. A limit that
is raised whenever it is reached is none. A ledger whose ε is changed a lot has an order that suits
its ε badly, and admits less than a new one would.

References
----------
Feldman and Zrnic 2021, arXiv 2008.11193; Haney et al. 2023, arXiv 2309.05901; Canonne, Kamath and
Steinke 2020, arXiv 2004.00010, proposition 12 (from Rényi DP to (ε, δ)); Mironov 2017, arXiv
1702.07476; Mironov, Talwar and Zhang 2019, arXiv 1908.10530.
"""

import math
from functools import lru_cache

LEAST_ORDER, MOST_ORDER = 2, 1024
"""Orders are whole: then the divergence of a sampled Gaussian is a finite sum (Mironov, Talwar and
Zhang, section 3.3). For others it is a series, which did not converge at σ = 10, q = 0.5, α = 2.1.
"""


@lru_cache
def filter_order(epsilon: float, delta: float) -> int:
    """Return the order α at which a lifetime of (ε, δ) admits most Gaussian noise sums.

    Parameters
    ----------
    epsilon, delta
        The lifetime's budget: ε > 0 and δ in (0, 1).

    Returns
    -------
    int
        The order from 2 to 1024 with the largest ρ(α)/α. A Gaussian has divergence α/(2σ²)
        (Mironov 2017, proposition 7), so that is the order that leaves most room for 1/σ². With
        the plain conversion ρ + log(1/δ)/(α - 1) it would be 1 + (L + √(L² + εL))/ε, L = log(1/δ);
        with the sharper one it is somewhat lower, and is searched for.
    """
    return max(
        range(LEAST_ORDER, MOST_ORDER + 1),
        key=lambda order: _budget(epsilon, delta, order) / order,
    )


def renyi_budget(epsilon: float, delta: float, order: int) -> float:
    """Return ρ: the largest Rényi divergence of an order that is still within (ε, δ).

    Inverts ε = ρ + log((α - 1)/α) - (log δ + log α)/(α - 1), proposition 12 of Canonne, Kamath and
    Steinke 2020. It is 0, and admits nothing, where no divergence of this order is small enough.

    Parameters
    ----------
    epsilon, delta
        The lifetime's budget: ε > 0 and δ in (0, 1).
    order
        α, at least 2.
    """
    return max(0.0, _budget(epsilon, delta, order))


def renyi_epsilon(divergence: float, delta: float, order: int) -> float:
    """Return the ε at `delta` that follows from a Rényi divergence of one order.

    It does not go to 0 with the divergence: a single order suits one ε only.
    """
    from dp_accounting import rdp

    if math.isinf(divergence):
        return math.inf
    epsilon, _ = rdp.compute_epsilon([order], [divergence], delta)
    return float(epsilon)


def _budget(epsilon: float, delta: float, order: int) -> float:
    return epsilon - math.log1p(-1 / order) + (math.log(delta) + math.log(order)) / (order - 1)

"""How well canaries are recognised by their scores: the ROC curve, with intervals."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from audits.bounds import clopper_pearson

Scores = NDArray[np.float64]
"""Of canaries [m]; higher says 'in'."""
Coins = NDArray[np.bool_]
"""Which of them are in [m]."""

FALSE_POSITIVES: Final = {0.01: "1", 0.001: "0_1"}
"""Rates at which the share of recognised canaries is told, and what they are called, in percent."""
POINTS: Final = 100
"""Of a curve, at most."""
_CONFIDENCE: Final = 0.95


def known(scores: Scores) -> Scores:
    """Let what is no number say nothing: 0 is the middle of a difference."""
    return np.nan_to_num(scores, nan=0.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """The ROC curve of scores, as counts.

    Parameters
    ----------
    false, true
        How many that are out, and in, lie at or above each threshold; ascending, from 0.
    """

    false: NDArray[np.int64]
    true: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Scores, inside: Coins) -> "Curve":
        """Count for every threshold."""
        from sklearn.metrics import roc_curve

        fpr, tpr, _ = roc_curve(inside, known(scores), drop_intermediate=False)
        out, in_ = int((~inside).sum()), int(inside.sum())
        return cls(np.rint(fpr * out).astype(np.int64), np.rint(tpr * in_).astype(np.int64))

    @property
    def auc(self) -> float:
        """Area under the curve."""
        from sklearn.metrics import auc

        return float(auc(self.false / self.false[-1], self.true / self.true[-1]))

    def recognised(self, rate: float) -> tuple[float, float, float] | None:
        """Return the largest share of true positives at a rate of false ones, with its interval.

        None where the fewest false positives that there can be, one, are more than the rate.
        """
        if self.false[-1] < math.ceil(1 / rate):
            return None
        allowed = self.true[self.false <= rate * self.false[-1]]
        found, trials = int(allowed.max()), int(self.true[-1])
        low, high = clopper_pearson(found, trials, _CONFIDENCE)
        return found / trials, low, high

    def figures(self) -> dict[str, float]:
        """Return what can be said in numbers."""
        found = {"auc": self.auc}
        for rate, name in FALSE_POSITIVES.items():
            at = self.recognised(rate)
            if at:
                key = f"tpr_at_{name}_percent_fpr"
                found |= {key: at[0], f"{key}_low": at[1], f"{key}_high": at[2]}
        return found

    def said(self) -> str:
        """Say it in words."""
        parts = [f"The area under the ROC curve is {self.auc:.3f}"]
        for rate in FALSE_POSITIVES:
            at = self.recognised(rate)
            parts.append(
                f"at {100 * rate:g} % false positives {100 * at[0]:.1f} % are recognised "
                f"({100 * at[1]:.1f} to {100 * at[2]:.1f} %)"
                if at
                else f"at {100 * rate:g} % false positives nothing can be measured with "
                f"{self.false[-1]} that were out"
            )
        return "; ".join(parts)

    def series(self) -> dict[str, tuple[float, ...]]:
        """Return the curve for a picture, thinned out, with intervals at each point."""
        places = np.unique(np.linspace(0, len(self.false) - 1, POINTS).astype(int))
        trials = int(self.true[-1])
        sides = [clopper_pearson(int(self.true[k]), trials, _CONFIDENCE) for k in places]
        return {
            "fpr": tuple(float(v) for v in self.false[places] / self.false[-1]),
            "tpr": tuple(float(v) for v in self.true[places] / trials),
            "tpr_low": tuple(low for low, _ in sides),
            "tpr_high": tuple(high for _, high in sides),
        }

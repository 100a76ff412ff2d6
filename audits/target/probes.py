"""What a client that is not ours does with messages and rows that the audit makes.

Noise is looked at in many replies to one message, on rows that are all the same, so that training
adds little to it. Clipping, divisor and sampler need rows: without ``target.rows`` they are not
tested.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from scipy.stats import f as f_law

from audits import levels
from audits.noise import Numbers
from audits.target.app import Target, TargetError
from audits.target.claims import Claim, NoiseBy
from audits.target.clipping import clipping
from audits.target.noise import amounts, contrasts, epsilon_allowed
from audits.target.rows import MadeUp, Rows, alike
from audits.target.sampler import sampler
from tacit.domains.domain import Examples
from tacit.privacy.events import Unit
from tacit.runs.audited import Finding

NUMBERS: Final = 8_000
"""How many numbers of noise are looked at, at least: a lack of 5 % is found."""
FEWEST, MOST = 40, 400
ROWS: Final = 32
"""That a client gets whose divisor is not claimed."""
SPOILT: Final = 5
"""Messages about rows of NaN."""
_NO_ROWS: Final = "it needs rows of the audit's: say target.rows and domain"


class TargetProbes:
    """Probes of one client.

    Parameters
    ----------
    target
        The client.
    claim
        What is claimed of it.
    made_up
        Rows for it; None where it keeps its own.
    """

    def __init__(self, target: Target, claim: Claim, made_up: MadeUp | None) -> None:
        self._target = target
        self._claim = claim
        self._made_up = made_up
        self._count = round(claim.divisor) if claim.divisor else ROWS

    def findings(self) -> Iterator[Finding]:
        """Do all probes, in their order.

        Raises
        ------
        TargetError
            The client fails with usual rows.
        """
        usual = self._usual(self._count)
        first = self._target.ask(usual)
        steps = self._steps(usual)
        if not np.isfinite(first.update).all():
            raise TargetError("the reply to usual rows is not finite")
        if self._claim.noise_by is NoiseBy.SERVER:
            yield Finding(
                "amount of noise",
                "the server is to add it (claim.noise_by=server), and no server is here",
                tested=False,
            )
        else:
            yield from self._noise(usual, steps)
        one_step = self._one_step(steps)
        yield from self._tried("clipping", lambda: self._clipping(one_step))
        yield from self._tried("records that are not numbers", self._spoilt)
        if self._claim.unit is Unit.RECORD:
            yield from self._tried("divisor", lambda: self._divisor(one_step))
            made_up = self._made_up
            yield from self._tried("sampler", lambda: sampler(self._target, self._claim, made_up))

    def _usual(self, count: int) -> Rows | None:
        return alike(self._made_up.row(1), count) if self._made_up else None

    def _steps(self, rows: Rows | None) -> int | None:
        """Return how many steps a reply holds, as it was seen or is claimed."""
        if self._claim.unit is Unit.CLIENT:
            return 1
        return len(rows.batches) if rows and rows.batches else self._claim.steps

    def _one_step(self, steps: int | None) -> str:
        """Say why an update cannot be held against C; '' where it can."""
        if why := self._claim.lacks(*self._claim.reach_needs):
            return why
        if steps is None:
            return self._claim.lacks("steps")
        if steps > 1:
            return (
                f"a reply holds {steps} steps, of which later ones follow the noise of earlier "
                "ones: give words that make it one (target.run_config.KEY=VALUE)"
            )
        return ""

    def _tried(self, test: str, probe: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """Do a probe with unusual rows; a client may refuse them."""
        try:
            yield from probe()
        except TargetError as error:
            yield Finding(test, str(error), tested=False)

    # Noise

    def _noise(self, rows: Rows | None, steps: int | None) -> Iterator[Finding]:
        count = min(MOST, max(FEWEST, math.ceil(NUMBERS / self._target.size)))
        updates = np.array([self._target.ask(rows).update for _ in range(count)])
        yield self._again(rows, updates)
        places = {n: p for n, p in self._target.places.items() if updates[:, p].any()}
        why = self._one_step(steps) or ("" if places else "no reply moves any weight")
        if why:
            yield Finding("amount of noise", why, tested=False)
            return
        reach, sigma = self._claim.reach or 0.0, self._claim.noise_multiplier
        if sigma is not None:
            yield from amounts(self._claim, updates, sigma * reach, places)
            return
        yield Finding("amount of noise", self._claim.lacks("noise_multiplier"), tested=False)
        moved = np.concatenate([updates[:, place] for place in places.values()], axis=1)
        yield epsilon_allowed(self._claim, 1.0, contrasts(moved / reach))

    def _again(self, rows: Rows | None, updates: Numbers) -> Finding:
        """Whether one message has one reply, and whether its noise follows known generators."""
        test = "noise that nobody can recompute"
        if (updates == updates[0]).all(axis=1)[1:].any():
            said = "the same message again gives the same reply, noise and all"
            return Finding(test, said, contradicted=True)
        once, twice = (self._target.ask(rows, seed=1).update for _ in range(2))
        seeded = np.array_equal(once, twice)
        return Finding(
            test,
            "the same message again has other noise"
            + (
                ", from torch's, numpy's or Python's global generator: whoever finds its seed (32 "
                "bits in torch's on a CPU) recomputes it, which no ε accounts for"
                if seeded
                else ", from no global generator"
            ),
            figures={"seeded": float(seeded)},
        )

    def _clipping(self, why: str) -> Iterator[Finding]:
        if self._made_up is None or why:
            yield Finding("clipping", why or _NO_ROWS, tested=False)
            return
        yield clipping(self._target, self._claim, self._made_up, self._count)

    # Records that are not numbers, and the divisor

    def _spoilt(self) -> Iterator[Finding]:
        test = "records that are not numbers"
        if self._made_up is None:
            yield Finding(test, _NO_ROWS, tested=False)
            return
        row = self._made_up.row(1)
        data = alike(Examples(row.features * math.nan, row.targets), self._count)
        try:
            # Several, as a sampler may leave out all rows.
            left = [self._target.ask(data).update for _ in range(SPOILT)]
        except TargetError as error:
            yield Finding(test, f"with rows of NaN there is no update, which is seen: {error}")
            return
        finite = bool(np.isfinite(left).all())
        yield Finding(
            test,
            "with rows of NaN what leaves is finite"
            if finite
            else "rows of NaN make what leaves NaN, neither clipped nor noised",
            not finite,
        )

    def _divisor(self, why: str) -> Iterator[Finding]:
        """Whether noise follows the number of rows: then what it is divided by does."""
        test = "divisor"
        if not self._claim.count_is_private:
            yield Finding(test, "the number of rows is public: it may follow it")
            return
        if self._made_up is None or why or self._count < 2:
            yield Finding(test, why or _NO_ROWS, tested=False)
            return
        squares, numbers = [], 0
        for count in (self._count, self._count // 2):
            rows = self._usual(count)
            some = contrasts(np.array([self._target.ask(rows).update for _ in range(FEWEST)]))
            squares.append(float(np.square(some).sum()))
            numbers = int((np.square(some).sum(axis=0) > 0).sum()) * len(some)
        if not (numbers and all(squares)):
            yield Finding(test, "replies have no noise to tell it by", tested=False)
            return
        ratio = squares[1] / squares[0]
        # Variance four times as large with half the rows; what training adds gets less with them.
        chance = float(f_law.sf(ratio / 2, numbers, numbers))
        wrong = chance < levels.TARGET_DIVISOR
        yield Finding(
            test,
            f"with {self._count // 2} rows for {self._count} noise is {math.sqrt(ratio):.3f} times "
            "as large" + (": it tells how many rows there are" if wrong else ""),
            wrong,
            {"ratio": math.sqrt(ratio), "chance": chance},
        )

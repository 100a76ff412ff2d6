"""Stage 3: who was in, told from the final model alone.

The audit trains the run again with input canaries: made-up rows with labels of chance, which
nothing but memory can know, each in or left out of a site's rows by a fair coin. Declared sizes,
rates, divisors and noise stay the run's, so that a canary is one record more, as the claim's
relation has it. A row's score is by how much more likely the final model holds its label than
reference models do: further trainings with coins that the attack knows, each canary in half of
them. (Zarifzadeh, Liu and Shokri 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv
2312.03262, section 3: Pr(x|θ) / Pr(x). Their comparison with rows of a population is left out, as
it changes no order.)

Canaries of one training drown each other out where few weights are trained. So there are few in
each, and as many trainings as a public number of seconds allows, each with coins and noise of its
own (`audits.guesses` says why they count together). That is what these trainings are: not the run
itself, whose rows they all share, but its code, its data and its plan, with other noise.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from audits import guesses, levels
from audits.bench import Bench
from audits.curve import Coins, Scores
from audits.guesses import Claim
from tacit.domains.domain import Examples
from tacit.models.trainable import Weights
from tacit.privacy.events import noised
from tacit.privacy.policy import with_steps
from tacit.runs.audited import Finding
from tacit.runs.results import Guarantee

TEST: Final = "claim, by input canaries"
SECONDS: Final = 10.0
"""For all trainings together, about; a run that takes longer is trained four times."""
QUICK: Final = 1.0
"""Seconds below which a training is timed twice: the first pays for what is made once."""
TRAININGS: Final = 100
"""In which canaries are guessed, at most."""
AT_ONCE: Final = 10
"""Canaries of one training, at least."""
FEWEST: Final = 200
MOST: Final = 2200
"""Canaries in all: half of so many that are out measure a rate of 0.1 %."""
MOST_SITES: Final = 4
"""Sites that hold canaries: those that were charged most."""
REFERENCES: Final = 8
_FEWEST_REFERENCES: Final = 2
_COMPARED: Final = 2000
"""Rows of a kind that are compared for the natural members, at most."""
_SEEDS: Final = 2**31


@dataclass(frozen=True, slots=True)
class Afforded:
    """How many trainings, and of how many canaries each: fixed before any coin is tossed."""

    references: int
    trainings: int
    canaries: int

    @classmethod
    def by(cls, each: float, seconds: float, weights: int) -> "Afforded":
        """Fix them by the seconds that one training takes, and by how many weights are trained."""
        all_ = int(seconds / each)
        references = REFERENCES if all_ >= 3 * REFERENCES else _FEWEST_REFERENCES
        trainings = max(1, min(TRAININGS, all_ - references))
        # Directions in weights are all that tells canaries apart.
        apart = max(AT_ONCE, weights // 2)
        return cls(references, trainings, max(FEWEST // trainings, min(MOST // trainings, apart)))


class Membership:
    """Canaries in the rows of one run's sites, and what its final models give away of them.

    Parameters
    ----------
    guarantee
        What the run claims, of records.
    bench
        Its training.
    random
        Makes canaries, coins and seeds; None: from the operating system.
    seconds
        For all trainings together, about; None: `SECONDS`.
    """

    def __init__(
        self,
        guarantee: Guarantee,
        bench: Bench,
        random: np.random.Generator | None = None,
        seconds: float | None = None,
    ) -> None:
        self._guarantee = guarantee
        self._bench = bench
        self._random = np.random.default_rng() if random is None else random
        self._seconds = SECONDS if seconds is None else seconds

    def findings(self) -> Iterator[Finding]:
        """Do the stage."""
        if not self._charged():
            yield Finding(TEST, "no site was charged", tested=False)
            return
        final, each = self._timed()
        if each < QUICK:
            final, each = self._timed()
        weights = sum(array.size for array in final.values())
        afforded = Afforded.by(each, self._seconds, weights)
        yield self.claim(afforded)
        yield self.natural(final)

    def claim(self, afforded: Afforded) -> Finding:
        """Hold canaries against the claim of the site that holds one and is protected least."""
        sites = self._charged()[:MOST_SITES]
        scores, inside = self.scored(afforded, sites)
        return guesses.finding(
            TEST,
            scores,
            inside,
            self._claim(sites),
            levels.MODEL_BOUND,
            f"{len(scores)} canaries in {afforded.trainings} trainings, at {', '.join(sites)}, "
            f"with {afforded.references} reference models",
            {"trainings": float(afforded.trainings), "references": float(afforded.references)},
        )

    def scored(self, afforded: Afforded, sites: list[str]) -> tuple[Scores, Coins]:
        """Train, and return the score of every canary of every training, and its coin."""
        rows = self._bench.rows(afforded.canaries, int(self._random.integers(_SEEDS)))
        holders = np.array([sites[k % len(sites)] for k in range(afforded.canaries)])
        known = []
        for _ in range(afforded.references // 2):
            coins = self._coins(afforded.canaries)
            known += [self._held(rows, holders, coins), self._held(rows, holders, ~coins)]
        # Pr(x): the mean over reference models, in half of which the row is.
        expected = np.logaddexp.reduce(known, axis=0) - np.log(len(known))
        inside = [self._coins(afforded.canaries) for _ in range(afforded.trainings)]
        scores = [self._held(rows, holders, coins) - expected for coins in inside]
        return np.concatenate(scores), np.concatenate(inside)

    def natural(self, final: Weights) -> Finding:
        """Tell rows that the run trained on from held-out ones: it proves nothing, and is shown."""
        from sklearn.metrics import roc_auc_score

        data = self._bench.data
        trained: list[Examples] = []
        # A test set that several sites share counts once.
        held_out: dict[int, Examples] = {}
        for site in self._charged():
            trained.append(data[site].train)
            held_out[id(data[site].test)] = data[site].test
            if sum(map(len, trained)) >= _COMPARED:
                break
        kinds = [self._some(trained), self._some(list(held_out.values()))]
        losses = [self._bench.losses(final, rows) for rows in kinds]
        members = np.repeat([True, False], [len(each) for each in losses])
        auc = float(roc_auc_score(members, -np.nan_to_num(np.concatenate(losses))))
        return Finding(
            "natural members (simulation only)",
            f"by their loss alone, {len(losses[0])} rows that were trained on are told from "
            f"{len(losses[1])} held-out ones with an area under the ROC curve of {auc:.3f}; they "
            "differ in more than that, so that nothing follows for the claim",
            figures={"auc": auc},
        )

    def _timed(self) -> tuple[Weights, float]:
        """Train without canaries: the run as it was, where its noise is seeded."""
        started = time.perf_counter()
        final = self._bench.trained({})
        return final, time.perf_counter() - started

    def _charged(self) -> list[str]:
        """Return the sites, those that were charged most first."""
        spent = self._guarantee.sites
        return sorted(spent, key=lambda site: (-spent[site].epsilon, site))

    def _claim(self, sites: list[str]) -> Claim:
        """Return what is claimed of these sites together."""
        spent, plans = self._guarantee.sites, self._bench.plan.sites
        done = [with_steps(plans[site].event(), spent[site].steps) for site in sites]
        largest = max(spent[site].epsilon for site in sites)
        return Claim(largest, self._guarantee.delta, frozenset(noised(each) for each in done))

    def _held(self, rows: Examples, holders: NDArray[np.str_], inside: Coins) -> Scores:
        """Train with the canaries that are in; return log Pr(x|θ) of all, up to a constant."""
        added = {}
        for site in np.unique(holders[inside]):
            own = np.flatnonzero(inside & (holders == site)).tolist()
            # Where a person is the unit, each canary is one of a single row.
            added[str(site)] = Examples(
                rows.features[own], rows.targets[own], torch.arange(len(own))
            )
        final = self._bench.trained(added, int(self._random.integers(_SEEDS)))
        return -self._bench.losses(final, rows)

    def _coins(self, count: int) -> Coins:
        return self._random.integers(0, 2, count).astype(bool)

    def _some(self, parts: list[Examples]) -> Examples:
        rows = Examples.together(parts)
        chosen = self._random.permutation(len(rows))[:_COMPARED].tolist()
        return Examples(rows.features[chosen], rows.targets[chosen])

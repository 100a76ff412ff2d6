"""Stage 5: canary clients, of which the coordinator's sums give away what they give of anybody.

Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning", arXiv
2302.03098, section 3: a canary client's update is a direction of chance, as long as clipping lets
it be, and who sees a release tells by its product with that direction whether the canary was in.

What is real here is all that stands between an update and a release: the site's clipping (canaries
send four times C), its rounding and its share of the noise, the coordinator's clipping, sum, noise
and divisor, and the weights that come of it, by the run's code and plan, with as many clients in a
sum as the run counts on and as many sums as one client is in at most. What is not: no client
trains. Whoever knows all other clients subtracts their updates, and what a strategy makes of a
release protects nobody further: a sum of canaries alone is the hardest that the claim has to bear.
Canaries that are out send an update of zero, as the claim's relation has it, with their noise.

Directions of one sum are orthogonal, so that no canary is in the way of another; where more
clients are in a sum than weights are trained, the others send zero. Sums are made again with new
coins, directions and noise until there are enough canaries (`audits.guesses` says why they count
together).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from audits import guesses, levels
from audits.bench import Bench
from audits.bounds import gaussian_epsilon
from audits.curve import Coins, Scores
from audits.guesses import Claim
from client.task import Task, released
from server.central import noised_mean
from server.run_plan import RunPlan
from server.sums import SumStep
from simulations.training import COORDINATOR
from tacit.domains.domain import Examples
from tacit.learning.parts import flattened, unflattened
from tacit.models.trainable import Weights
from tacit.privacy.events import noised
from tacit.privacy.policy import with_steps
from tacit.runs.audited import Finding
from tacit.runs.results import Guarantee

SECONDS: Final = 8.0
"""For all sums, about."""
MOST: Final = 2200
"""Canaries in all."""
TEST: Final = "claim, by canary clients"
FEWEST: Final = 20
"""Canaries without which nothing is said."""
LOUD: Final = 4.0
"""Length of what a canary would send, in units of C: what clips makes it C."""
_NUMBERS: Final = 10_000_000
"""In all directions of one sum, at most: 80 MB."""
_NOBODY: Final = Examples(torch.zeros(0), torch.zeros(0))


@dataclass(frozen=True, slots=True)
class Heard:
    """What the releases of some sums gave away.

    Parameters
    ----------
    scores
        Of each canary: the product of its direction with all releases that it could be in, in
        units of what it adds to them, so that 1 is expected where it is in and 0 where it is out.
    inside
        Its coin.
    """

    scores: Scores
    inside: Coins


class CanaryClients:
    """Canary clients of one run.

    Parameters
    ----------
    guarantee
        What the run claims, of clients.
    bench
        Its plan and its first weights.
    random
        Makes directions and coins; None: from the operating system.
    seconds
        For all sums, about; None: `SECONDS`.
    """

    def __init__(
        self,
        guarantee: Guarantee,
        bench: Bench,
        random: np.random.Generator | None = None,
        seconds: float | None = None,
    ) -> None:
        self._bench = bench
        self._random = np.random.default_rng() if random is None else random
        self._seconds = SECONDS if seconds is None else seconds
        self._guarantee = guarantee
        spent = guarantee.sites
        self._strongest = max(spent, key=lambda site: spent[site].epsilon, default="")
        self._rounds = spent[self._strongest].steps if spent else 0
        self._done = 0

    def findings(self) -> Iterator[Finding]:
        """Do the stage."""
        if not self._rounds:
            yield Finding(TEST, "no client was charged", tested=False)
            return
        heard = self.heard(self._trials())
        if len(heard.scores) < FEWEST:
            said = f"{len(heard.scores)} canaries are all that {self._seconds:g} seconds allow"
            yield Finding(TEST, said, tested=False)
            return
        yield self.claim(heard)
        yield self.estimate(heard)

    def claim(self, heard: Heard) -> Finding:
        """Hold what was heard against the claim of the client that is protected least."""
        times = "one sum" if self._rounds == 1 else f"{self._rounds} sums"
        return guesses.finding(
            TEST,
            heard.scores,
            heard.inside,
            self._claim(),
            levels.CLIENT_BOUND,
            f"{len(heard.scores)} canary clients, each in {times}",
            {"rounds": float(self._rounds)},
        )

    def estimate(self, heard: Heard) -> Finding:
        """Fit two normal laws to scores: an estimate of ε, and no bound.

        Andrew et al. 2023, section 3, for releases that are Gaussian: the distance of the means,
        in deviations, is the sensitivity of one Gaussian mechanism with unit noise.
        """
        present, absent = heard.scores[heard.inside], heard.scores[~heard.inside]
        spread = float(np.sqrt((present.var(ddof=1) + absent.var(ddof=1)) / 2))
        distance = max(0.0, float(present.mean() - absent.mean()) / spread) if spread else np.inf
        test = "estimate, by canary clients"
        if not 0 < distance < np.inf:
            return Finding(test, "there is no noise, or nothing but noise, to fit a law to")
        estimated = gaussian_epsilon(distance, self._guarantee.delta)
        return Finding(
            test,
            f"two normal laws fitted to the scores of those that were in and of those that were "
            f"not are those of a Gaussian mechanism of ε = {estimated:.2f}: an estimate, not a "
            "bound, and nothing follows from it",
            figures={"epsilon_estimated": estimated, "delta": self._guarantee.delta},
        )

    def _trials(self) -> int:
        """Return how often sums are made, by the time of one whose coins are not looked at."""
        self._trial()  # pays for what is made once
        started = time.perf_counter()
        once = self._trial()
        each = time.perf_counter() - started
        return max(1, min(-(-MOST // len(once.scores)), int(self._seconds / each)))

    def heard(self, trials: int) -> Heard:
        """Make so many times the sums of a client's rounds, each time with other canaries."""
        found = [self._trial() for _ in range(trials)]
        return Heard(
            np.concatenate([each.scores for each in found]),
            np.concatenate([each.inside for each in found]),
        )

    def _trial(self) -> Heard:
        plan, start = self._bench.plan, self._bench.start
        size = sum(array.size for array in start.values())
        first = next(iter(plan.sites.values()))
        divisor = plan.cohort or len(plan.sites)
        # Of shares of noise no more than the claim counts on: who attacks may know the others'.
        clients = first.share.honest if first.share else divisor
        count = min(clients, size, max(1, _NUMBERS // size))
        # Without shares of noise, clients that send zero add nothing.
        sites = list(plan.sites)[: clients if first.share else count]
        # Columns are orthonormal, and each by itself is uniform on the sphere.
        directions = np.linalg.qr(self._random.normal(size=(size, count)))[0]
        inside = self._random.integers(0, 2, count).astype(bool)
        learnt = dict.fromkeys(sites, start)
        for k in np.flatnonzero(inside):
            learnt[sites[k]] = _moved(start, LOUD * first.clip * directions[:, k])
        scores = np.zeros(count)
        for _ in range(self._rounds):
            # A number that no sum had before: streams of noise are a round's.
            self._done += 1
            release = _release(self._bench, plan, learnt, self._done)
            scores += directions.T @ flattened(release, start)
        return Heard(scores * divisor / first.clip / self._rounds, inside)

    def _claim(self) -> Claim:
        done = with_steps(self._bench.plan.sites[self._strongest].event(), self._rounds)
        largest, delta = self._guarantee.largest_epsilon, self._guarantee.delta
        return Claim(largest, delta, frozenset({noised(done)}))


def _release(bench: Bench, plan: RunPlan, learnt: dict[str, Weights], number: int) -> Weights:
    """Return the weights that the coordinator makes of what clients learnt: as in a round."""
    start = bench.start
    sent = {
        site: released(
            Task(site, _NOBODY, bench.streams(site), number, plan.sites[site], start), weights
        )
        for site, weights in learnt.items()
    }
    noise = bench.streams(COORDINATOR)
    step = SumStep.of(plan.sites, plan.central, plan.cohort or len(plan.sites))
    if step is not None:
        mean = step.mean(step.total(sent), sent, lambda: noise(number, "noise"))
        return step.weights(mean, start)
    if plan.central is None:
        return start
    return noised_mean(sent.values(), start, plan.central, noise(number, "noise"))


def _moved(start: Weights, by: np.ndarray) -> Weights:
    shapes = {name: array.shape for name, array in start.items()}
    return {
        name: (start[name] + part).astype(np.float32)
        for name, part in unflattened(by, shapes).items()
    }

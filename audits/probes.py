"""Stage 2, beside the run: what its real step function does with rows that the audit makes.

Noise is looked at where there is no gradient, clipping and the divisor where there is next to no
noise, the sampler where every row adds the same. Nothing of it is sent.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from audits import findings, levels
from audits.bench import Bench, Release, flat
from audits.noise import Numbers, too_little
from audits.stranger import Stranger
from server.central import noised_mean
from tacit.domains.domain import Examples
from tacit.learning.plan import LocalOptimizer, RoundPlan
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream
from tacit.runs.audited import Finding
from tacit.runs.results import SiteSpending

NUMBERS: Final = 8_000
"""How many numbers of noise are looked at, at least: a lack of 5 % is found."""
FEWEST_ROUNDS, MOST_ROUNDS = 40, 400
SITES: Final = 2
SMALLER_CLIP: Final = 1e-3
"""Times the run's C: a C that every record's gradient exceeds."""
_QUIET: Final = 1e-9
_LEAST_SHARE: Final = 1.0
"""Variance of next to no Skellam noise, in squared steps of the grid."""
_ROUNDING: Final = 1e-3
"""Relative to C: what rounding and next to no noise may add up to."""
_STEPS: Final = 8.0
"""Steps of a grid: rounding moves by one, next to no noise by a few."""
RECORDS: Final = 6
ROWS: Final = 5
"""Rows of a person, where that is the unit; at most as many as a step takes of one."""
MANY: Final = 3
"""Times the rows that a step takes of a person: what somebody with very many has."""
DRAWS: Final = 200


_Of = Callable[[Examples], Numbers]
"""What a probe sends through the step function, and gets back."""


class Probes:
    """Probes of one run.

    Parameters
    ----------
    stranger
        The run; it claims privacy.
    bench
        Its step function.
    """

    def __init__(self, stranger: Stranger, bench: Bench) -> None:
        self._stranger = stranger
        self._bench = bench
        named = [site for site in bench.plan.sites if site in self._claimed()]
        self._sites = [named[0], named[-1]] if len(named) > 1 else named

    def findings(self) -> Iterator[Finding]:
        """Do all probes, in their order."""
        plan = self._bench.plan.sites[self._sites[0]]
        if plan.unit is Unit.CLIENT and plan.share is None:
            yield self._coordinator()
        else:
            yield from self._noise()
        yield from self._clipping()
        if plan.unit is not Unit.CLIENT:
            yield from self._sampler()

    def _claimed(self) -> Mapping[str, SiteSpending]:
        """What is claimed of each site's own noise: the last guarantee counts it alone."""
        privacy = self._stranger.results.privacy
        return privacy.guarantees[-1].sites if privacy else {}

    # Noise where there is no gradient

    def _noise(self) -> Iterator[Finding]:
        plans = {site: _one_step(self._bench.plan.sites[site]) for site in self._sites}
        claims, rounds = self._claimed(), self._enough_rounds(len(plans))
        data = {site: self._bench.useless(self._stranger.declared_sizes[site]) for site in plans}
        found = self._bench.releases(data, plans, range(1, rounds + 1))
        # In units of what is claimed, so that sites can be taken together.
        scaled = {
            site: [_scaled(release, claims[site]) for release in releases]
            for site, releases in found.items()
        }
        rows = np.array([flat(release) for releases in scaled.values() for release in releases])
        yield findings.amount(rows)
        yield findings.each_tensor(scaled, list(self._bench.shapes))
        yield findings.columns(rows)
        yield self._repeats(rows, rounds)
        yield from self._predictable(data, plans)

    def _repeats(self, rows: Numbers, rounds: int) -> Finding:
        return findings.likeness(
            "noise of different rounds and sites",
            f"of {rounds} rounds of {len(self._sites)} sites two have noise with",
            rows,
            levels.NOISE_BETWEEN_RELEASES,
        )

    def _predictable(
        self, data: Mapping[str, Examples], plans: Mapping[str, RoundPlan]
    ) -> Iterator[Finding]:
        """Whether noise that is said to be the operating system's comes again."""
        privacy = self._stranger.results.privacy
        if privacy is None or privacy.simulated_noise:
            return
        once, again = (self._bench.releases(data, plans, [1]) for _ in range(2))
        same = [s for s in plans if np.array_equal(flat(once[s][0]), flat(again[s][0]))]
        yield Finding(
            "noise that nobody can recompute",
            f"the same round again gives {', '.join(same)} the same noise"
            if same
            else "the same round again has other noise",
            bool(same),
        )

    def _coordinator(self) -> Finding:
        """The coordinator's noise on a sum of nobody's updates."""
        plan, claims = self._bench.plan, self._claimed()
        central = plan.central
        if central is None:
            return Finding("noise of the coordinator", "the plan has none", contradicted=True)
        claimed = max(spent.noise_multiplier for spent in claims.values()) * central.clipping_norm
        zero = {name: np.zeros_like(array) for name, array in self._bench.start.items()}
        rows = np.array(
            [
                flat(noised_mean([], zero, central, Stream.from_system()))
                * central.clients
                / claimed
                for _ in range(self._enough_rounds(1))
            ]
        )
        ratio = findings.deviation(rows)
        return Finding(
            "noise of the coordinator",
            f"{ratio:.4f} of what is claimed, over {rows.size} numbers",
            too_little(rows, 1.0, levels.COORDINATOR_NOISE),
            {"ratio": ratio},
        )

    def _enough_rounds(self, sites: int) -> int:
        """Return how many rounds of so many sites give `NUMBERS` numbers of noise."""
        size = sum(array.size for array in self._bench.start.values())
        return min(MOST_ROUNDS, max(FEWEST_ROUNDS, math.ceil(NUMBERS / size / sites)))

    # Clipping and divisor where there is next to no noise

    def _clipping(self) -> Iterator[Finding]:
        site = self._sites[0]
        plan = _quiet(self._bench.plan.sites[site])
        clip = plan.clip

        def of(rows: Examples, seed: int = 1) -> Numbers:
            return flat(self._bench.releases({site: rows}, {site: plan}, [seed])[site][0])

        units, unit = self._units(plan, 7), _named(plan)
        each = [of(one) for one in units]
        norms = [float(np.linalg.norm(one)) for one in each]
        if plan.persons is not None:
            many = self._bench.rows(MANY * plan.persons.rows, 8, spread=3.0, each=sys.maxsize)
            norms.append(float(np.linalg.norm(of(many))))
        if max(norms) < clip * (1 - 0.1):
            yield Finding(
                "clipping",
                f"no made-up {unit}'s gradient reaches C = {clip:.3g}: clipping is not tested",
                tested=False,
            )
            return
        tolerance = _ROUNDING * clip * math.sqrt(RECORDS) + _coarseness(plan)
        yield Finding(
            f"clipping of one {unit}",
            f"one {unit} moves a sum by at most {max(norms) / clip:.4f} C",
            max(norms) > clip + tolerance,
            {"largest_norm_over_c": max(norms) / clip},
        )
        yield from self._summed(site)
        if plan.unit is Unit.CLIENT:
            return
        together = of(Examples.together(units))
        apart = float(np.linalg.norm(together - sum(each)))
        yield Finding(
            "clipping by itself",
            f"{RECORDS} {unit}s together are {apart / clip:.4f} C from the sum of each alone",
            apart > tolerance,
            {"distance_over_c": apart / clip},
        )
        yield from self._divisor(of, each[0], units[0], tolerance, clip)

    def _units(self, plan: RoundPlan, seed: int) -> list[Examples]:
        """Make `RECORDS` records; where a person is the unit, as many with several rows each."""
        each = 1 if plan.persons is None else min(ROWS, plan.persons.rows)
        rows = self._bench.rows(RECORDS * each, seed, spread=3.0)
        return [_rows_of_one(rows, slice(k * each, (k + 1) * each)) for k in range(RECORDS)]

    def _summed(self, site: str) -> Iterator[Finding]:
        """Whether a part of a sum stands for what was computed: the modulus may have wrapped."""
        plan = self._bench.plan.sites[site]
        if plan.part is None or plan.sums_gradients:
            return
        loud = replace(_quiet(plan), clipping_norm=plan.clipping_norm, part=plan.part)
        plain = replace(loud, part=None, share=None, noise_multiplier=_QUIET, count_weight=0.0)
        rows = self._bench.rows(RECORDS, 7, spread=3.0)
        found, true = (
            flat(self._bench.releases({site: rows}, {site: each}, [1])[site][0])
            for each in (loud, plain)
        )
        # A client's part is in units of C, and what it sends without a sum is not.
        apart = float(np.abs(found - true).max())
        step = plan.part.spacing * (
            plan.clip
            if plan.unit is Unit.CLIENT
            else plan.divisor / plan.learning_rate / plan.part.weight
        )
        steps = apart / step
        yield Finding(
            "parts of a sum",
            f"a part stands for what was computed within {steps:.2g} steps of its grid"
            + (
                ""
                if steps <= _STEPS
                else ": the sum wraps, or is cut off. A fault of use, not of privacy"
            ),
            steps > _STEPS,
            {"steps": steps},
        )

    def _divisor(
        self, of: _Of, alone: Numbers, record: Examples, tolerance: float, clip: float
    ) -> Iterator[Finding]:
        beside = of(Examples.together([record, self._bench.useless(40)]))
        moved = float(np.linalg.norm(beside - alone))
        yield Finding(
            "divisor",
            f"40 records without a gradient change what leaves by {moved / clip:.4f} C",
            moved > tolerance,
            {"change_over_c": moved / clip},
        )
        spoilt = Examples(record.features * float("nan"), record.targets, record.persons)
        with_nan = of(Examples.together([record, spoilt]))
        wrong = not np.isfinite(with_nan).all() or np.linalg.norm(with_nan - alone) > tolerance
        yield Finding(
            "records that are not numbers",
            "a record of NaN changes what leaves" if wrong else "a record of NaN counts as none",
            bool(wrong),
        )

    # The sampler where every row adds the same

    def _sampler(self) -> Iterator[Finding]:
        plans = {site: self._bench.plan.sites[site] for site in self._sites}
        claims = self._claimed()
        site = min(plans, key=lambda name: plans[name].sampling_rate)
        rate, size = claims[site].sampling_rate, self._stranger.declared_sizes[site]
        plan = replace(_quiet(plans[site]), sampling_rate=plans[site].sampling_rate)
        record = self._units(plan, 11)[0]
        whole = replace(plan, sampling_rate=1.0)
        one = flat(self._bench.releases({site: record}, {site: whole}, [1])[site][0])
        length = float(np.linalg.norm(one))
        if length < 0.5 * plan.clip:
            why = f"a made-up {_named(plan)}'s gradient is too small"
            yield Finding("sampling", why, tested=False)
            return
        copies = Examples.together([record] * size)
        sent = self._bench.releases({site: copies}, {site: plan}, range(1, DRAWS + 1))[site]
        counts = np.array([flat(each) @ one / length**2 for each in sent])
        drawn = np.rint(counts).astype(int).clip(0, None)
        yield findings.rate(drawn, size, rate, "rows" if plan.persons is None else "persons")
        yield findings.spread(drawn, size, rate)


def _one_step(plan: RoundPlan) -> RoundPlan:
    """Return one plain step of a plan; of a client, whose update is one thing, its round."""
    if plan.unit is Unit.CLIENT:
        return plan
    return replace(plan, steps=1, optimizer=LocalOptimizer.SGD, proximal_mu=0.0)


def _quiet(plan: RoundPlan) -> RoundPlan:
    """Return a plan with next to no noise, a smaller C, and every row in."""
    plan = replace(_one_step(plan), sampling_rate=1.0)
    clip = SMALLER_CLIP * (plan.clipping_norm or 1.0)
    if plan.share is not None:
        share = replace(plan.share, variance=_LEAST_SHARE)
        return replace(plan, clipping_norm=clip, share=share)
    # A record's step is private before it is rounded for a sum: what rounds is too coarse here.
    part = plan.part if plan.unit is Unit.CLIENT else None
    return replace(plan, clipping_norm=clip, noise_multiplier=_QUIET, part=part)


def _coarseness(plan: RoundPlan) -> float:
    """Bound what rounding `RECORDS` records, and the least noise, may add to a release's norm."""
    if plan.part is None:
        return 0.0
    step = plan.part.spacing
    step *= plan.clip if plan.unit is Unit.CLIENT else plan.divisor / plan.part.weight
    return 2 * RECORDS * math.sqrt(plan.part.dimension) * step


def _scaled(release: Release, claimed: SiteSpending) -> Release:
    deviation = claimed.noise_multiplier * claimed.clipping_norm
    return {name: array / deviation for name, array in release.items()}


def _rows_of_one(rows: Examples, part: slice) -> Examples:
    """Return some rows as those of one person, which is nothing where a record is the unit."""
    targets = rows.targets[part]
    return Examples(rows.features[part], targets, torch.zeros(len(targets), dtype=torch.int64))


def _named(plan: RoundPlan) -> str:
    return "record" if plan.persons is None else "person"

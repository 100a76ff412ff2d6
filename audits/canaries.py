"""Canary records in a run: dealt out before it, heard in it, held against its claim after it.

See `tacit.learning.canaries` for what a canary is, and why the run does not change by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from audits import levels
from audits.claims import Seen, judge
from audits.curve import Curve
from audits.findings import deviation
from audits.gaussian_canaries import DEFICIT, Group, Steps, power, scores, thresholds
from audits.ledgers import audit_ledgers, charged_events
from audits.noise import Numbers, most_alike, too_little, visible_deficit
from audits.stranger import Stranger, read_stranger
from tacit.errors import ConfigurationError
from tacit.learning.canaries import CanaryRound
from tacit.learning.plan import RoundPlan
from tacit.privacy.events import Event, NoisedSteps, noised
from tacit.privacy.profile import largest_profile
from tacit.privacy.randomness import Stream, Streams
from tacit.runs.audited import FILE, Audit, Finding, Stage, StageName
from tacit.runs.results import SiteSpending

COUNT: Final = 1000
MOST_SITES: Final = 10
"""Sites that canaries are dealt out to: of more, those that train first."""
FEWEST: Final = 20
"""Canaries of a kind without which nothing is said."""
_COMPARED: Final = 100
"""Coordinates, and releases, of which each pair is compared."""
AFTER: Final = "tacit-audit run=RUN does this stage"

Heard = NDArray[np.float32]


class InRun:
    """Canaries of a run.

    Parameters
    ----------
    count
        How many there are; of each pair of them one takes part, by a coin.
    """

    def __init__(self, count: int = COUNT) -> None:
        if count < 2 * FEWEST:
            raise ConfigurationError(f"audit.count={count}: take at least {2 * FEWEST} canaries")
        self._count = count
        self._plans: Mapping[str, RoundPlan] = {}
        self._present: dict[str, torch.Tensor] = {}
        self._heard: dict[str, dict[int, list[torch.Tensor]]] = {}

    def begin(self, plans: Mapping[str, RoundPlan]) -> None:
        """Deal the canaries out by the plans of a run that begins or goes on.

        Where only the sum of all sites is seen, every site has all coordinates, for its share of
        the noise, and canaries of its own on some.
        """
        self._plans = plans
        self._present, self._heard = {}, {}
        if self.summed:
            coins = _of_each_pair(self._count)
            self._present = {site: coins & self._own(site) for site in plans}

    @property
    def summed(self) -> bool:
        """Whether only the sum of what is heard at all sites would be seen."""
        return any(plan.sums_gradients for plan in self._plans.values())

    def at(self, site: str, round_number: int, streams: Streams) -> CanaryRound | None:
        """Return what a site takes along in a round; None where it has no canary."""
        if site not in self._present:
            sites = min(MOST_SITES, len(self._plans))
            if len(self._present) >= sites:
                return None
            self._present[site] = _of_each_pair(-(-self._count // sites))
        heard: list[torch.Tensor] = []

        def hear(sums: torch.Tensor) -> None:
            # A round that is tried again is heard again, and counts once.
            self._heard.setdefault(site, {})[round_number] = heard
            heard.append(sums)

        return CanaryRound(self._present[site], streams(round_number, "canaries"), hear)

    def conclude(self, path: Path) -> None:
        """Write what a run with canaries says of its claim: audit.json, with what the files say."""
        stranger = read_stranger(path)
        stages = {StageName.LEDGER: audit_ledgers(stranger)}
        stages[StageName.MECHANISM] = Stage(StageName.MECHANISM, tuple(self.findings(stranger)))
        audit = Audit(
            str(path),
            tuple(stages.get(name) or Stage(name, why=AFTER) for name in StageName),
            stranger.results.weights_sha256,
        )
        audit.write(path / FILE)

    def findings(self, stranger: Stranger) -> list[Finding]:
        """Hold what was heard against what a run claims.

        Parameters
        ----------
        stranger
            The run, as its files tell it.
        """
        privacy = stranger.results.privacy
        claimed = privacy.guarantees[0] if privacy else None
        if claimed is None:
            return [Finding("canaries in the run", "the run claims no privacy", tested=False)]
        spent = {
            site: events
            for site, charged in charged_events(stranger, self._heard).items()
            if (events := _accounted(charged))
        }
        told = [
            own
            for site in sorted(spent)
            if (own := self._told(site, claimed.sites.get(site))) is not None
        ]
        if not told:
            return [Finding("canaries in the run", "no site with canaries trained", tested=False)]
        kinds = {spent[own.site] for own in told}
        return [_claim(told, kinds, claimed.delta), *_noise(told)]

    def _own(self, site: str) -> torch.Tensor:
        """Return which of the coordinates that all sites have are a site's own: bool [K]."""
        pairs = torch.arange(2 * -(-self._count // 2)) // 2
        return pairs % len(self._plans) == sorted(self._plans).index(site)

    def _told(self, site: str, claimed: SiteSpending | None) -> "Told | None":
        """Bring what was heard of a site's canaries to units of what each adds."""
        if claimed is None:
            return None
        rounds = self._heard[site]
        plan, present = self._plans[site], self._present[site]
        if not self.summed:
            heard = torch.stack([step for number in sorted(rounds) for step in rounds[number]])
            scale = claimed.clipping_norm
        else:
            # Who attacks may be all sites but those that are counted on: their noise is known.
            share = plan.share
            others = [each for each in sorted(self._heard) if each != site]
            trusted = [site, *others][: share.honest if share else 1]
            common = sorted(set.intersection(*(set(self._heard[each]) for each in trusted)))
            if not common:
                return None
            heard = torch.stack(
                [
                    torch.stack([self._heard[each][number][0] for each in trusted]).sum(0)
                    for number in common
                ]
            )
            scale = plan.unit_norm
            own = self._own(site)
            heard, present = heard[:, own], present[own]
        return Told(site, present.numpy(), heard.numpy().astype(np.float32) / scale, claimed)


def _of_each_pair(count: int) -> torch.Tensor:
    """Let a coin say which canary of each pair takes part: bool [count], one more where it is odd.

    So as many take part as do not, at every site: rates over sites are then means of the sites'
    rates with the same weights on both sides.
    """
    coins = Stream.from_system().coins(-(-count // 2), 0.5)
    return torch.stack([coins, ~coins], 1).flatten()


@dataclass(frozen=True, slots=True)
class Told:
    """What was heard of one site's canaries.

    Parameters
    ----------
    site
        Whose.
    present
        bool [K]: which take part.
    heard
        [steps, K], in units of what one canary adds.
    claimed
        What the run says of the site.
    """

    site: str
    present: NDArray[np.bool_]
    heard: Heard
    claimed: SiteSpending

    @property
    def steps(self) -> Steps:
        """What each canary went through, by the claim."""
        return Steps(self.claimed.noise_multiplier, self.claimed.sampling_rate, len(self.heard))

    @property
    def noise(self) -> Numbers:
        """What was heard where no canary takes part [steps, absent], in units of its deviation."""
        return self.heard[:, ~self.present].astype(np.float64) / self.claimed.noise_multiplier

    def seen(self) -> Seen:
        """Return the scores of this site's canaries."""
        each = scores(self.heard, self.steps)
        return Seen(each[self.present], each[~self.present])


def _accounted(events: Sequence[Event]) -> tuple[NoisedSteps, ...]:
    """Return what a site was charged, or nothing where any of it was released exactly."""
    found = noised(events)
    return found if len(found) == len(events) else ()


def _claim(told: Sequence[Told], spent: set[tuple[NoisedSteps, ...]], delta: float) -> Finding:
    """Hold the canaries of all sites together against the largest profile of any.

    Rates over all sites are means of each site's, so that a bound which holds at every site with
    the largest δ holds for them too.
    """
    seen = [own.seen() for own in told]
    both = Seen(
        np.concatenate([each.present for each in seen]),
        np.concatenate([each.absent for each in seen]),
    )
    few = min(len(both.present), len(both.absent))
    if few < FEWEST:
        return Finding(
            "claim, by canaries in the run", f"{few} canaries of a kind are too few", tested=False
        )
    coins = np.repeat([True, False], [len(both.present), len(both.absent)])
    groups = [Group(own.steps, int(own.present.sum())) for own in told]
    largest = partial(largest_profile, spent)
    verdict = judge(both, thresholds(groups), largest, delta, levels.CANARY_PROFILE)
    found, tries = power(groups, largest, levels.CANARY_PROFILE)
    confidence = 100 * (1 - levels.CANARY_PROFILE)
    where = f"{len(both.present) + len(both.absent)} canaries at {len(told)} sites"
    at = f"at δ = {delta:g}"
    below = f"a claim below {verdict.proved:.2f} {at}" if verdict.proved else f"no claim {at}"
    said = (
        f"{where} contradict it: at ε = {verdict.broken[0]:.2f} of its profile they are told apart "
        f"better than it allows, by {verdict.broken[1]:.3f}"
        if verdict.broken
        else f"{where}: not contradicted at 95 %; {below} would have been. Were "
        f"{100 * DEFICIT:.0f} % of the noise missing, this test would have seen it in {found} of "
        f"{tries} made-up runs"
    )
    return Finding(
        "claim, by canaries in the run",
        said,
        verdict.broken is not None,
        {
            "epsilon_claimed": max(own.claimed.epsilon for own in told),
            "delta": delta,
            "epsilon_proved": verdict.proved,
            "epsilon_ceiling": verdict.ceiling,
            "confidence": confidence,
            "power": found / tries,
        },
        Curve.of(np.concatenate([both.present, both.absent]), coins).series(),
    )


def _amount(told: Sequence[Told]) -> Finding:
    """Look at how much noise each site has, which shares the level with the others."""
    level, wrong, ratios, missing = levels.CANARY_NOISE / len(told), [], {}, 0.0
    for own in told:
        values = own.noise
        ratios[own.site] = deviation(values)
        missing = max(missing, visible_deficit(values.size, level))
        if too_little(values, 1.0, level):
            wrong.append(f"{own.site} ({ratios[own.site]:.3f})")
    return Finding(
        "noise on canaries in the run",
        f"too little at {', '.join(wrong[:3])} of what is claimed"
        if wrong
        else f"enough at each of {len(told)} sites; a lack of {100 * missing:.2g} % or more at any "
        "would be found in 99 of 100 tries",
        bool(wrong),
        {"ratio": min(ratios.values()), "visible_deficit": missing},
    )


def _noise(told: Sequence[Told]) -> list[Finding]:
    """Look at the coordinates whose canary takes no part: on them is noise and nothing else."""
    noise = [own.noise for own in told]
    width = min(each.shape[1] for each in noise)
    if width < 2:
        return []
    rows = np.concatenate([each[:, :width] for each in noise])
    amount = _amount(told)
    some = rows[np.unique(np.linspace(0, len(rows) - 1, _COMPARED).astype(int))]
    if len(some) < 2:
        return [amount]
    pairs = [most_alike(some), most_alike(some[:, :_COMPARED].T)]
    chance = min(1.0, len(pairs) * min(chance for _, chance in pairs))
    return [
        amount,
        Finding(
            "likeness of noise on canaries in the run",
            f"of {len(some)} releases, and of {min(width, _COMPARED)} coordinates, two have a "
            f"correlation of {pairs[0][0]:.3f} and {pairs[1][0]:.3f} at most; by chance as far "
            f"with a probability of {chance:.2g}",
            chance < levels.CANARY_LIKENESS,
            {"chance": chance},
        ),
    ]

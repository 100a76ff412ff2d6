"""Stage 4: what the server sees, attacked: how far records can be rebuilt from it.

Records are made up. Each is trained on by one site of the run as it is, and the attack gets what
the server would see of the round: the site's own update, or the sum of all. Of everything else at
the site it is spared the trouble: it is assumed to know the site's other records, as the adversary
of differential privacy does, so that the record is the only one. Beside it stands what the same
configuration would show without privacy and without a sum.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from audits.bench import Bench
from audits.inversion import Layer, divided, first_moved, searched
from audits.likeness import MOST, correlation, psnr, ssim
from audits.made_up import Guessed, records
from audits.stranger import Stranger
from tacit.domains.domain import Examples
from tacit.learning.parts import unflattened
from tacit.learning.plan import RoundPlan
from tacit.learning.update import Update
from tacit.messages import SUM
from tacit.models.trainable import Weights
from tacit.privacy.events import Unit
from tacit.runs.audited import Finding

RECORDS: Final = 6
UNRELATED: Final = 20
"""Records that luck may choose from: more than a division finds."""

Records = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """What somebody sees of each record's round.

    Parameters
    ----------
    what
        In words.
    changes
        One for each record, in the direction of the loss's gradient.
    alone
        Whether it is one site's own update.
    """

    what: str
    changes: Sequence[Update]
    alone: bool = True


class ServerView:
    """The attacks on one run.

    Parameters
    ----------
    stranger
        The run.
    bench
        Its way of training.
    """

    def __init__(self, stranger: Stranger, bench: Bench) -> None:
        self._stranger = stranger
        self._bench = bench
        self._targets = records(bench, RECORDS, 11)
        self._unrelated = records(bench, UNRELATED, 12)
        self._site, *self._others = bench.plan.sites

    def findings(self) -> Iterator[Finding]:
        """Attack what is seen, and for comparison what would be seen without protection."""
        seen, plain = self._seen(), self._unprotected()
        layer = first_moved(self._bench.module, plain.changes[0])
        views = (seen,) if seen.what == plain.what else (seen, plain)
        if layer is None:
            yield Finding(
                "records by division",
                "no linear layer with a bias trains in a site's first step",
                tested=False,
            )
        else:
            for view in views:
                yield self._by_division(view, layer)
        for view in views:
            if view.alone:
                yield self._by_search(view)

    # What is seen

    def _unprotected(self) -> View:
        plan = _exact(self._plan)
        return View("a site's exact update", [self._change(*each) for each in self._sent(plan)])

    def _seen(self) -> View:
        plan, claimed = self._plan, self._stranger.results.secure_sum
        sent = self._sent(plan)
        if plan.part is None:
            what = {
                (True, False): "a site's noised update",
                (False, True): "a client's clipped update, with which the coordinator is trusted",
            }.get((plan.clips_gradients, plan.clips_update), "a site's exact update")
            return View(what, [self._change(*each) for each in sent])
        count = claimed.fewest if claimed else self._bench.plan.min_replies
        what = f"the sum over {count} sites"
        if not claimed:
            what += ", as a deployment would show it"
        rest = self._rest(count - 1)
        # Residues: the sum is taken modulo their type, as by the coordinator.
        sums: list[Any] = [sum([alone[SUM], *rest]) for _, alone in sent]
        return View(what, [self._change(plan, {SUM: each}) for each in sums], alone=False)

    @property
    def _plan(self) -> RoundPlan:
        """Return the first site's plan, with the record in every step."""
        return replace(self._bench.plan.sites[self._site], sampling_rate=1.0)

    def _sent(self, plan: RoundPlan) -> list[tuple[RoundPlan, Weights]]:
        """Return what the site sends for each record alone; noise is another round's each time."""
        return [
            (plan, sent)
            for number in range(RECORDS)
            for _, sent in self._bench.sent(
                {self._site: _row(self._targets, number)}, {self._site: plan}, [number + 1]
            )
        ]

    def _rest(self, count: int) -> list[NDArray[Any]]:
        """Return what so many other sites send, of rows of their declared number."""
        sites, sizes = self._others[:count], self._stranger.declared_sizes
        data = {site: records(self._bench, sizes[site], 13 + n) for n, site in enumerate(sites)}
        plans = {site: self._bench.plan.sites[site] for site in sites}
        return [sent[SUM] for _, sent in self._bench.sent(data, plans, [RECORDS + 1])]

    def _change(self, plan: RoundPlan, sent: Weights) -> Update:
        """Return what was sent as numbers by weight, in the direction of gradients."""
        start = self._bench.start
        if plan.part is None:
            return {name: -(sent[name].astype(np.float64) - start[name]) for name in start}
        residues: NDArray[Any] = sent[SUM]
        flat = plan.part.grid().values(residues).numpy()
        return unflattened(flat if plan.sums_gradients else -flat, self._bench.shapes)

    # Attacks

    def _by_division(self, view: View, layer: Layer) -> Finding:
        model = self._bench.module
        originals = layer.inputs(model, self._targets.features)
        whole = _laid_flat(self._targets.features)
        itself = originals.shape == whole.shape and np.allclose(originals, whole, atol=1e-6)
        guessed = Guessed(layer.inputs(model, self._unrelated.features), originals)
        low, high = guessed.reach
        rebuilt = []
        for change, original in zip(view.changes, originals, strict=True):
            # The attack is given the best of what it finds, as luck is of what it draws.
            tries = [np.clip(found, low, high) for found in divided(change, layer)]
            tries = tries or [guessed.mean]
            rebuilt.append(min(tries, key=lambda each: float(np.square(each - original).sum())))
        what = "records" if itself else f"what enters {layer.name!r}"
        return self._scored(
            f"{what} by division, from {view.what}", rebuilt, originals, guessed, whole=itself
        )

    def _by_search(self, view: View) -> Finding:
        shape = self._targets.features.shape
        originals = _laid_flat(self._targets.features)
        guessed = Guessed(_laid_flat(self._unrelated.features), originals)
        changes = {
            name: torch.from_numpy(np.stack([change[name] for change in view.changes])).float()
            for name in self._bench.start
        }
        mean = torch.from_numpy(guessed.mean).float().expand(len(self._targets), -1)
        found = searched(
            self._bench.module,
            changes,
            self._targets.targets,
            mean.reshape(shape),
            guessed.reach,
        )
        return self._scored(
            f"records by search, from {view.what}",
            list(_laid_flat(found)),
            originals,
            guessed,
            whole=True,
        )

    def _scored(
        self,
        test: str,
        rebuilt: Sequence[Records],
        originals: Records,
        guessed: Guessed,
        *,
        whole: bool,
    ) -> Finding:
        """Say how like the records are what was rebuilt and what luck gives."""
        low, high = guessed.reach
        chance = [guessed.nearest(original) for original in originals]
        found = [psnr(r, o, high - low) for r, o in zip(rebuilt, originals, strict=True)]
        lucky = [psnr(c, o, high - low) for c, o in zip(chance, originals, strict=True)]
        better = sum(f > c for f, c in zip(found, lucky, strict=True))
        shown = int(np.argsort(found)[len(found) // 2])
        image = self._targets.features.shape[1:] if whole else ()
        height, width = image[-2:] if len(image) == 3 and image[0] == 1 else (1, originals.shape[1])
        figures = {
            "records": float(len(originals)),
            "better_than_chance": float(better),
            "psnr": float(np.median(found)),
            "psnr_chance": float(np.median(lucky)),
            "correlation": _median(correlation, rebuilt, originals),
            "correlation_chance": _median(correlation, chance, originals),
            "height": float(height),
            "width": float(width),
        }
        said = (
            f"{better} of {len(originals)} made-up records rebuilt better than by chance; PSNR "
            f"{_decibels(figures['psnr'])}, by chance {_decibels(figures['psnr_chance'])}; "
            f"correlation {figures['correlation']:.2f}, by chance "
            f"{figures['correlation_chance']:.2f}"
        )
        if height > 1:

            def likeness(x: Records, y: Records) -> float:
                return ssim(x.reshape(height, width), y.reshape(height, width), high - low)

            figures["ssim"] = _median(likeness, rebuilt, originals)
            figures["ssim_chance"] = _median(likeness, chance, originals)
            said += f"; SSIM {figures['ssim']:.2f}, by chance {figures['ssim_chance']:.2f}"
        series = {
            "original": tuple(map(float, originals[shown])),
            "rebuilt": tuple(map(float, rebuilt[shown])),
            "chance": tuple(map(float, chance[shown])),
        }
        return Finding(test, said, False, figures, series)


def _exact(plan: RoundPlan) -> RoundPlan:
    """Return the same steps without privacy and without a sum."""
    return replace(
        plan,
        clipping_norm=None,
        noise_multiplier=None,
        part=None,
        share=None,
        clip_factor=1.0,
        count_weight=0.0,
        unit=Unit.RECORD,
        persons=None,
    )


def _row(rows: Examples, number: int) -> Examples:
    one = slice(number, number + 1)
    # Its person has this row and no other.
    return Examples(rows.features[one], rows.targets[one], torch.zeros(1, dtype=torch.int64))


def _laid_flat(features: torch.Tensor) -> Records:
    found: Records = features.flatten(1).double().numpy()
    return found


def _median(
    measure: Callable[[Records, Records], float], found: Sequence[Records], originals: Records
) -> float:
    return float(np.median([measure(f, o) for f, o in zip(found, originals, strict=True)]))


def _decibels(value: float) -> str:
    return "exact" if value >= MOST else f"{value:.1f} dB"

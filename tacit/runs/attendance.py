"""Which sites replied in how many rounds, as the history of a run tells it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from tacit.runs.many import LISTED, WORST
from tacit.runs.results import Results, Round


@dataclass(frozen=True, slots=True)
class Attendance:
    """Rounds of one site.

    Parameters
    ----------
    site
        Its name.
    replied
        Rounds that its reply is part of.
    reasons
        {reason: rounds} in which it was asked and no reply counts.
    not_asked
        Rounds that it was not there for: it had not joined, or not come back.
    """

    site: str
    replied: int
    reasons: Mapping[str, int]
    not_asked: int

    @property
    def missing(self) -> int:
        """Rounds in which it was asked and no reply counts."""
        return sum(self.reasons.values())


def attendance(results: Results, history: Sequence[Round]) -> tuple[Attendance, ...]:
    """Count the rounds of each site: those of the results, and all others that were ever asked."""
    rounds = [line for line in history if line.round > 0]
    replied = Counter(chain.from_iterable(line.replied for line in rounds))
    reasons: dict[str, Counter[str]] = {}
    for line in rounds:
        for site, reason in line.failed.items():
            reasons.setdefault(site, Counter())[reason] += 1
    asked = chain.from_iterable((*line.replied, *line.failed) for line in rounds)
    found = []
    for site in dict.fromkeys((*results.evaluation.sites, *asked)):
        why = reasons.get(site, Counter())
        missed = len(rounds) - replied[site] - why.total()
        found.append(Attendance(site, replied[site], why, missed))
    return tuple(found)


def attendance_rows(found: Sequence[Attendance]) -> tuple[Attendance, ...]:
    """Return a row for each site or, of very many, those that missed most and one for the rest.

    The row for the rest has the sums of their rounds.
    """
    if len(found) <= LISTED:
        return tuple(found)
    ordered = sorted(found, key=lambda each: (-each.missing, -each.not_asked))
    rest = ordered[WORST:]
    reasons: Counter[str] = Counter()
    for each in rest:
        reasons.update(each.reasons)
    together = Attendance(
        f"{len(rest):,} other sites, together",
        sum(each.replied for each in rest),
        reasons,
        sum(each.not_asked for each in rest),
    )
    return (*ordered[:WORST], together)

"""Which sites replied in how many rounds, as the history of a run tells it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

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
    asked = chain.from_iterable((*line.replied, *line.failed) for line in rounds)
    found = []
    for site in dict.fromkeys((*results.evaluation.sites, *asked)):
        replied = sum(site in line.replied for line in rounds)
        reasons = Counter(line.failed[site] for line in rounds if site in line.failed)
        found.append(Attendance(site, replied, reasons, len(rounds) - replied - reasons.total()))
    return tuple(found)

"""Runs of many sites, made up: with test sets of their own, or with one for all."""

import math
from dataclasses import replace

from example_run import GUARANTEE, PRIVACY, RESULTS, history

from tacit.runs.evaluation import Direction, Evaluation, evaluation, unlisted
from tacit.runs.results import Calibrations, Results, Round, SiteSpending


def names(count: int) -> list[str]:
    return [f"user-{number:06d}" for number in range(count)]


def values(count: int, base: float) -> Evaluation:
    """The fifth of every seven sites does worse, and the last one worst."""
    found = {
        site: base + 0.1 * math.sin(number) - 0.1 * (number % 7 == 4) - 0.2 * (number == count - 1)
        for number, site in enumerate(names(count))
    }
    return evaluation("accuracy", Direction.MAXIMIZE, found, pooled=base)


def shared(count: int, value: float) -> Evaluation:
    return unlisted("accuracy", Direction.MAXIMIZE, [(value, names(count))], pooled=value)


def spending(count: int, kinds: int) -> dict[str, SiteSpending]:
    return {
        site: SiteSpending(1 - 0.01 * (number % kinds), 1.0, 20, 0.5, 9.3 + number % kinds, 1.0)
        for number, site in enumerate(names(count))
    }


def many(count: int, *, kinds: int = 25, one_test_set: bool = False) -> Results:
    """A run of `count` sites that spent `kinds` different sums."""
    made = shared if one_test_set else values
    guarantee = replace(GUARANTEE, sites=spending(count, kinds))
    overall = {"all": RESULTS.calibration.sites["all"]}
    return replace(
        RESULTS,
        evaluation=made(count, 0.75),
        baselines={"majority_class": made(count, 0.6)},
        comparison=tuple(
            replace(row, evaluation=made(count, base))
            for row, base in zip(RESULTS.comparison, (0.7, 0.77, 0.8), strict=True)
        ),
        calibration=Calibrations(overall),
        test_records={"all": 360} if one_test_set else dict.fromkeys(names(count), 9),
        privacy=replace(PRIVACY, guarantees=(guarantee,)),
        site_count=count,
        notes=tuple(f"note {number}" for number in range(count)),
    )


def lines(results: Results, failed: int = 0) -> tuple[Round, ...]:
    """Its history; in round 7 so many sites fail."""
    lost = names(failed)
    return tuple(
        replace(line, failed=dict.fromkeys(lost, "timeout")) if line.round == 7 else line
        for line in history(results=results)
    )

"""The figures of a run in words: the headline strip, the comparison, who wins and who loses."""

import math
from dataclasses import dataclass
from typing import Any, Final

from tacit.runs.evaluation import Direction, Evaluation
from tacit.runs.guarantee import format_epsilon
from tacit.runs.page import format_duration, format_figure, metric_title
from tacit.runs.results import Results

MAJORITY: Final = "majority_class"
SHARES: Final = frozenset({"accuracy", "auc"})


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell of the strip below the title."""

    label: str
    value: str
    detail: str


def facts(results: Results) -> list[Fact]:
    """The headline: result, baseline, worst site, ε, rounds and time."""
    found = results.evaluation
    majority = results.baselines.get(MAJORITY)
    strip = [
        Fact(
            metric_title(found.metric),
            format_figure(found.mean_of_sites),
            f"mean of sites, {where(results)}",
        )
    ]
    if majority is not None:
        strip.append(
            Fact(
                "Majority class",
                format_figure(majority.mean_of_sites),
                f"the baseline; {_gain(found, majority.mean_of_sites)}",
            )
        )
    if found.worst_site is not None:
        worst = found.worst_site
        strip.append(Fact("Worst site", format_figure(worst.value), worst.site))
    strip.append(_epsilon_fact(results))
    strip.append(_rounds_fact(results))
    per_round = results.timing.seconds_per_round
    strip.append(
        Fact(
            "Time",
            format_duration(results.timing.seconds),
            "in all" if per_round is None else f"{format_duration(per_round)} a round",
        )
    )
    return strip


def where(results: Results) -> str:
    """On what a run was measured, with the mark that a held-out measurement must carry."""
    return "on held-out records (simulation only)" if results.simulation else "on public data"


def _better_by(found: Evaluation, value: float, other: float) -> float:
    return value - other if found.direction is Direction.MAXIMIZE else other - value


def _gain(found: Evaluation, base: float | None) -> str:
    if found.mean_of_sites is None or base is None:
        return "cannot be compared"
    better = _better_by(found, found.mean_of_sites, base)
    amount = f"{abs(100 * better):.1f} points" if found.metric in SHARES else f"{abs(better):.3g}"
    return f"this run is {amount} {'better' if better >= 0 else 'worse'}"


def verdicts(results: Results) -> list[str]:
    """A sentence for each other way to get a model; the sites where this run loses are named."""
    found, sentences = results.evaluation, []
    for row in results.comparison:
        loses = [
            f"{site} ({format_figure(value)} against {format_figure(other)})"
            for site in found.sites
            if (value := found.value(site)) is not None
            and (other := row.evaluation.value(site)) is not None
            and _better_by(found, value, other) < 0
        ]
        where = f"worse at {', '.join(loses)}" if loses else "at no site worse"
        gain = _gain(found, row.evaluation.mean_of_sites)
        sentences.append(f"Against “{row.title}”, {gain} in the mean of sites; {where}.")
    return sentences


def _epsilon_fact(results: Results) -> Fact:
    if results.privacy is None:
        return Fact("Privacy", "none", "no privacy guarantee")
    headline = results.privacy.guarantees[0]
    return Fact(
        "Largest ε",
        format_epsilon(headline.largest_epsilon),
        f"of a site, per {headline.unit}, at δ = {headline.delta:g}"
        + (", were this deployed" if results.privacy.simulated_noise else ""),
    )


def _rounds_fact(results: Results) -> Fact:
    ended_early = results.rounds < results.planned_rounds
    return Fact(
        "Rounds",
        str(results.rounds),
        f"of {results.planned_rounds}" + (" planned: ended early" if ended_early else ""),
    )


def models(results: Results) -> list[dict[str, Any]]:
    """Rows of the comparison: this run first, then the others, then the majority class."""
    privacy = results.privacy
    epsilon = privacy.guarantees[0].largest_epsilon if privacy else None
    rows: list[dict[str, Any]] = [
        {"title": "This run", "evaluation": results.evaluation, "epsilon": epsilon, "note": ""}
    ]
    rows += [
        {"title": row.title, "evaluation": row.evaluation, "epsilon": row.epsilon, "note": row.note}
        for row in results.comparison
    ]
    majority = results.baselines.get(MAJORITY)
    if majority is not None and all(row.key != MAJORITY for row in results.comparison):
        rows.append(
            {
                "title": "Majority class of each site",
                "evaluation": majority,
                "epsilon": None,
                "note": "learns nothing",
            }
        )
    for row in rows:
        row["private"] = row["epsilon"] is not None and math.isfinite(row["epsilon"])
    return rows

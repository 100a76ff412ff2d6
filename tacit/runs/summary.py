"""The figures of a run in words: the headline strip, the comparison, who wins and who loses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tacit.runs.attendance import attendance
from tacit.runs.evaluation import Direction, Evaluation
from tacit.runs.guarantee import format_epsilon
from tacit.runs.many import LISTED
from tacit.runs.page import format_duration, format_figure, metric_title
from tacit.runs.results import Comparison, Results, Round

LEARNS_NOTHING: Final = {"majority_class": "majority class", "mean_target": "mean target"}
"""Names of the baselines that learn nothing, by their key in `Results.baselines`."""
SHARES: Final = frozenset({"accuracy", "auc"})
LOSS_ON: Final = {"held_out (simulation only)": "held-out rows (simulation only)"}
"""What people are told of `Round.loss_on`."""


NAMED: Final = 8
"""Sites that a sentence names at most."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell of the strip below the title."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What learns nothing: its name, and what it is worth."""

    name: str
    evaluation: Evaluation


def learns_nothing(results: Results) -> Baseline | None:
    """Return the baseline that learns nothing, where the run measured one."""
    for key, name in LEARNS_NOTHING.items():
        if key in results.baselines:
            return Baseline(name, results.baselines[key])
    return None


def useless_at(results: Results) -> list[str]:
    """Return the sites at which the model is no better than what learns nothing, in their order."""
    found, nothing = results.evaluation, learns_nothing(results)
    if nothing is None:
        return []
    return [
        site
        for site in found.sites
        if (value := found.value(site)) is not None
        and (other := nothing.evaluation.value(site)) is not None
        and not found.better(value, other)
    ]


def useless_in_words(results: Results) -> str | None:
    """Say at which sites the model is useless; None where at none."""
    sites, nothing = useless_at(results), learns_nothing(results)
    if not sites or nothing is None:
        return None
    named = ", ".join(sites[:NAMED]) + (f" and {len(sites) - NAMED} more" if sites[NAMED:] else "")
    return (
        f"At {len(sites)} of {len(results.evaluation.sites)} sites the model is no better than the "
        f"{nothing.name}, which learns nothing: {named}."
    )


def out_of_scope_in_words(results: Results) -> str | None:
    """Say how well confidence tells what is of no class; None where that was not measured."""
    measured = results.out_of_scope
    if measured is None:
        return None
    return (
        f"{measured.records:,} examples are of no class: one of them has less confidence than one "
        f"in scope with a chance of {100 * measured.auroc:.1f} % (area under the ROC curve); where "
        f"95 % of those in scope pass, {100 * measured.accepted_at_95:.1f} % of them do too."
    )


def why_unmeasured(results: Results) -> str | None:
    """Say why nobody knows what the model of a deployed run is worth; None where somebody does."""
    found = results.evaluation
    known = (found.pooled, *(found.value(site) for site in found.sites))
    if results.simulation or any(value is not None for value in known):
        return None
    return "; ".join(dict.fromkeys(found.reasons.values())) or "nobody measured it"


def facts(results: Results, history: Sequence[Round]) -> list[Fact]:
    """The headline: what the model is worth or else who took part, then ε, rounds and time."""
    unmeasured = why_unmeasured(results) is not None
    strip = _turnout_facts(results, history) if unmeasured else _worth_facts(results)
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


def start_of(results: Results) -> str:
    """What the model was pretrained on, or from which weights it starts without."""
    model = results.model
    if model.pretraining is not None:
        return model.pretraining
    if model.parameters_head == model.parameters_total:
        return "none: the model starts from zero weights"
    return (
        "none: the head starts from zero weights, all else from random ones that follow from the "
        "seed"
    )


def _better_by(found: Evaluation, value: float, other: float) -> float:
    return value - other if found.direction is Direction.MAXIMIZE else other - value


def _gain(found: Evaluation, base: float | None) -> str:
    if found.mean_of_sites is None or base is None:
        return "cannot be compared"
    better = _better_by(found, found.mean_of_sites, base)
    amount = f"{abs(100 * better):.1f} points" if found.metric in SHARES else f"{abs(better):.3g}"
    return f"this run is {amount} {'better' if better >= 0 else 'worse'}"


def verdicts(results: Results) -> list[str]:
    """A sentence for each other way to get a model; the sites where this run loses are named.

    Of two rows that are one model by construction, the second says only that.
    """
    found, sentences = results.evaluation, []
    rows = {row.key: row for row in results.comparison}
    for row in results.comparison:
        twin = rows.get(row.same_as or "")
        if twin is not None and twin.evaluation == row.evaluation:
            sentences.append(
                f"“{row.title}” equals “{twin.title}” by construction: a round is one step on all "
                "records of a site, and the mean of these steps, weighted by declared size, is one "
                "step on all records together."
            )
            continue
        loses = [
            f"{site} ({format_figure(value)} against {format_figure(other)})"
            for site in found.sites
            if (value := found.value(site)) is not None
            and (other := row.evaluation.value(site)) is not None
            and _better_by(found, value, other) < 0
        ]
        where = f"; worse at {_named(loses, found)}" if loses else "; at no site worse"
        gain = _gain(found, row.evaluation.mean_of_sites)
        known = where if found.sites else ""  # very many sites are not listed
        sentences.append(f"Against “{row.title}”, {gain} in the mean of sites{known}.")
    return sentences


def _named(sites: Sequence[str], found: Evaluation) -> str:
    if len(found.sites) <= LISTED:
        return ", ".join(sites)
    return f"{len(sites):,} of {len(found.sites):,} sites"


def _worth_facts(results: Results) -> list[Fact]:
    """Result, baseline and worst site."""
    found = results.evaluation
    strip = [
        Fact(
            metric_title(found.metric),
            format_figure(found.mean_of_sites),
            f"mean of sites, {where(results)}",
        )
    ]
    if (nothing := learns_nothing(results)) is not None:
        mean = nothing.evaluation.mean_of_sites
        detail = f"the baseline; {_gain(found, mean)}"
        strip.append(Fact(nothing.name.capitalize(), format_figure(mean), detail))
    if found.worst_site is not None:
        worst = found.worst_site
        strip.append(Fact("Worst site", format_figure(worst.value), worst.site))
    return strip


def _turnout_facts(results: Results, history: Sequence[Round]) -> list[Fact]:
    """Sites, and replies that are missing."""
    found = attendance(results, history)
    always = sum(not (each.missing or each.not_asked) for each in found)
    missing = sum(each.missing for each in found)
    asked = missing + sum(each.replied for each in found)
    return [
        Fact("Sites", str(len(found)), f"{always} replied in every round"),
        Fact("Replies missing", str(missing), f"of {asked} asked for"),
    ]


def _epsilon_fact(results: Results) -> Fact:
    if results.privacy is None:
        return Fact("Privacy", "none", "no privacy guarantee")
    headline = results.privacy.guarantees[0]
    otherwise = "were this deployed" if results.simulation else "on paper only"
    return Fact(
        "Largest ε",
        format_epsilon(headline.largest_epsilon),
        f"of a site, per {results.domain.named(headline.unit)}, at δ = {headline.delta:g}"
        + (f", {otherwise}" if results.privacy.simulated_noise else ""),
    )


def _rounds_fact(results: Results) -> Fact:
    ended_early = results.rounds < results.planned_rounds
    return Fact(
        "Rounds",
        str(results.rounds),
        f"of {results.planned_rounds}" + (" planned: ended early" if ended_early else ""),
    )


def models(results: Results) -> list[dict[str, Any]]:
    """Rows of the comparison: this run first, then the others, last what learns nothing.

    A figure has room for the `label` of a row, a table also for its `title` and `note`.
    """
    privacy = results.privacy
    epsilon = privacy.guarantees[0].largest_epsilon if privacy else None
    rows: list[dict[str, Any]] = [
        {
            "title": "This run",
            "label": "This run",
            "evaluation": results.evaluation,
            "epsilon": epsilon,
            "note": "",
        }
    ]
    rows += [
        {
            "title": row.title,
            "label": _label(row, results.single_models),
            "evaluation": row.evaluation,
            "epsilon": row.epsilon,
            "note": row.note,
        }
        for row in results.comparison
    ]
    if (nothing := learns_nothing(results)) is not None:
        title = f"{nothing.name.capitalize()} of each site"
        rows.append(
            {
                "title": title,
                "label": title,
                "evaluation": nothing.evaluation,
                "epsilon": None,
                "note": "learns nothing",
            }
        )
    for row in rows:
        row["private"] = row["epsilon"] is not None and math.isfinite(row["epsilon"])
    return rows


def _label(row: Comparison, single_models: Mapping[str, Evaluation]) -> str:
    if row.key != "best_single":
        return row.title
    sites = [site for site, found in single_models.items() if found == row.evaluation]
    return f"Best single site: {sites[0]}" if sites else row.title

"""The card that goes with an exported model: README.md, as people and hubs read it."""

from typing import Final

import jinja2
import yaml

from tacit.domains.domain import Card, Task
from tacit.finished.model import RunModel
from tacit.finished.onnx import Onnx
from tacit.finished.whole import TOLERANCE, Whole
from tacit.runs.audited import FILE as AUDIT
from tacit.runs.audited import read_audit
from tacit.runs.evaluation import ALL
from tacit.runs.guarantee import (
    NO_GUARANTEE,
    SIMULATED_NOISE,
    TEST_DATA,
    format_epsilon,
    guarantees_in_words,
)
from tacit.runs.many import LISTED as MANY
from tacit.runs.many import over_sites, rows_of, spending_left_out, spending_rows, took_part
from tacit.runs.page import format_figure, metric_title
from tacit.runs.summary import (
    learns_nothing,
    out_of_scope_in_words,
    start_of,
    useless_in_words,
    where,
    why_unmeasured,
)

NAMED: Final = 30
"""Classes that a card names at most."""
NOTES: Final = 20
"""Notes of a run that a card repeats."""


def render(run: RunModel, whole: Whole, onnx: Onnx | None) -> str:
    """Return the card in Markdown; `onnx` is None where none was asked for."""
    results = run.results
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tacit", "finished"),
        autoescape=False,  # what comes of it is Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        cell=_cell, figure=format_figure, epsilon=format_epsilon, metric=metric_title
    )
    found = results.evaluation
    calibration = results.calibration.sites if results.calibration else {}
    audit = read_audit(run.path / AUDIT)
    return environment.get_template("card.md.j2").render(
        front=_front_matter(run, whole),
        results=results,
        card=run.card,
        settings=run.settings,
        predicts=predicts(run.card),
        meaning=meaning(run.card),
        whole=whole,
        weights=sum(each.numel() for each in whole.module.parameters()),
        tolerance=TOLERANCE,
        onnx=onnx,
        shapes=_shapes(whole),
        sizes=_sizes(run),
        many=MANY,
        taking_part=took_part(results),
        start=start_of(results),
        unmeasured=why_unmeasured(results),
        where=where(results),
        rows=rows_of(found),
        over=over_sites(results),
        nothing=learns_nothing(results),
        calibration=calibration,
        everywhere=ALL,
        useless=useless_in_words(results),
        out_of_scope=out_of_scope_in_words(results),
        words=guarantees_in_words(results),
        spending_rows=spending_rows,
        spending_left_out=spending_left_out,
        no_guarantee=NO_GUARANTEE,
        simulated_noise=SIMULATED_NOISE,
        test_data=TEST_DATA,
        audit=audit.outcome.value if audit else None,
        notes=results.notes[:NOTES],
    )


def predicts(card: Card) -> str:
    """Say what the model tells of an example."""
    if card.target is not None:
        unit = f" in {card.target.unit}" if card.target.unit else ""
        return (
            f"A number: {card.target.name}{unit}, from {card.target.low:g} to {card.target.high:g}."
        )
    named = ", ".join(f"`{name}`" for name in card.classes[:NAMED])
    if len(card.classes) > NAMED:
        named += f" and {len(card.classes) - NAMED} more (export.json names all)"
    kind = {
        Task.LABELS: f"Which of {len(card.classes)} labels, any number of them",
        Task.ORDINAL: f"One of {len(card.classes)} classes in order",
    }.get(card.task, f"One of {len(card.classes)} classes")
    return f"{kind}: {named}."


def meaning(card: Card) -> str:
    """Say how scores become what is predicted."""
    if card.target is not None:
        middle, half = (
            (card.target.high + card.target.low) / 2,
            (card.target.high - card.target.low) / 2,
        )
        return f"The number is {middle:g} + {half:g} × score."
    match card.task:
        case Task.LABELS:
            return "`scores.sigmoid()` is the probability of each label."
        case Task.ORDINAL:
            return (
                "`scores.sigmoid()` is, for each class but the highest, the probability of a class "
                "above it."
            )
        case _:
            return "`scores.softmax(-1)` is the probability of each class, in the order above."


def _front_matter(run: RunModel, whole: Whole) -> str:
    tags = ["federated-learning", "tacit"]
    if run.results.privacy is not None:
        tags.insert(1, "differential-privacy")
    told: dict[str, object] = {"library_name": whole.library}
    if (task := _pipeline(run)) is not None:
        told["pipeline_tag"] = task
    return yaml.safe_dump({**told, "tags": tags}, sort_keys=False, allow_unicode=True)


def _pipeline(run: RunModel) -> str | None:
    """Name the task as hubs do; None where they have no name for it."""
    number = run.card.target is not None
    if run.card.texts:
        return None if number else "text-classification"
    speech = run.settings.model.architecture.options.get("views") == "speech"
    if speech or (run.reading is not None and len(run.domain.inputs) == 1):
        return None if number else "audio-classification"
    if len(run.domain.inputs) == 3:
        return None if number else "image-classification"
    if len(run.domain.inputs) == 1:
        return "tabular-regression" if number else "tabular-classification"
    return None


def _shapes(whole: Whole) -> dict[str, str]:
    """Say what the model is given, by name: type and shape, n and m standing for any length."""
    said = {}
    for (name, free), example in zip(whole.free.items(), whole.given, strict=True):
        letters = iter("nmkl")
        sizes = [next(letters) if d in free else str(s) for d, s in enumerate(example.shape)]
        said[name] = f"{str(example.dtype).removeprefix('torch.')} [{', '.join(sizes)}]"
    return said


def _sizes(run: RunModel) -> dict[str, int]:
    """Return the declared size of each site of the run, where they are known; not of others."""
    sites = run.results.evaluation.sites
    return {s: n for s, n in run.domain.declared_sizes.items() if not sites or s in sites}


def _cell(value: object) -> str:
    """Write a value so that it stays within a cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")

"""What tacit-pretrain leaves for people: one HTML file that loads nothing."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from tacit import __version__
from tacit.domains.domain import Card
from tacit.models.masked_features import kind_of
from tacit.models.masked_tokens import KIND as OF_TOKENS
from tacit.models.pretraining import Pretraining
from tacit.models.reconstruction import Pictures, Recovery
from tacit.models.token_recovery import Piece, TokenRecovery
from tacit.runs.drawing import INK, MUTED, SERIES, axis_of_steps, columns, draw
from tacit.runs.page import figure, template
from tacit.settings import Component

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS: Final = 1000
"""Most points of a line."""
WINDOWS: Final = 25
"""A smoothed point is the mean over this part of all steps."""
GAP: Final = 2
"""Pixels between two images of a strip."""


@dataclass(frozen=True, slots=True)
class Story:
    """A pretraining, as its report tells it.

    Parameters
    ----------
    file, sha256
        Name of the weights' file, and its hash.
    card
        The domain.
    architecture, pretraining, seed
        What it was made with.
    pool
        Shape of the public pool; of texts their number and the most tokens of one.
    losses
        Loss of every step.
    seconds
        How long the steps took, in all sittings.
    went_on
        Number of steps done at the start of each sitting after the first.
    recovery
        How well the model predicts what is hidden.
    columns
        Names of a table's columns; others are numbered.
    pictures
        A few images, None for a table and for texts.
    then
        What to type next.
    texts
        A few texts, with what was hidden in each.
    source
        What a model of texts starts from, in words.
    """

    file: str
    sha256: str
    card: Card
    architecture: Component
    pretraining: Pretraining
    seed: int
    pool: tuple[int, ...]
    losses: Sequence[float]
    seconds: float
    went_on: tuple[int, ...]
    recovery: Recovery | TokenRecovery
    columns: tuple[str, ...]
    pictures: Pictures | None
    then: str
    texts: Sequence[Sequence[Piece]] = ()
    source: str = ""

    @property
    def examples(self) -> str:
        """What the pool holds, in words."""
        number, *shape = self.pool
        if isinstance(self.recovery, TokenRecovery):
            return f"{number:,} texts of {self.recovery.tokens:,} tokens"
        if len(shape) == 1:
            return f"{number:,} rows of {len(self.recovery.blocks)} columns"
        return f"{number:,} images of {' × '.join(str(side) for side in shape[-2:])} pixels"


@dataclass(frozen=True, slots=True)
class Words:
    """What is called how in a report of one kind of modelling.

    Parameters
    ----------
    kind
        Of modelling.
    things
        Examples.
    feature
        What is predicted.
    loss
        What the loss of a step is.
    knowing
        What who learns nothing does know.
    line
        The same, as short as a legend has it.
    """

    kind: str
    things: str
    feature: str
    loss: str
    knowing: str
    line: str


def words_of(story: Story) -> Words:
    """Return the words of a story's kind."""
    if isinstance(story.recovery, TokenRecovery):
        return Words(
            OF_TOKENS,
            "texts",
            "token",
            "Mean cross-entropy of the tokens that were hidden in the step, in nats.",
            "knowing how frequent each token is, and nothing else of a text",
            "knowing frequencies",
        )
    things, feature = ("rows", "feature") if len(story.pool) == 2 else ("images", "pixel")
    return Words(
        kind_of(story.pool[1:]),
        things,
        feature,
        f"Mean squared error of what was hidden in the step, on standardised {feature}s.",
        f"predicting each {feature}'s mean",
        "predicting the mean",
    )


def render(story: Story) -> str:
    """Return the report as HTML."""
    words = words_of(story)
    return template("pretraining.html.j2").render(
        story=story,
        words=words,
        of_texts=isinstance(story.recovery, TokenRecovery),
        curve=figure(
            "Loss by step",
            loss_figure(story.losses, story.recovery.baseline, words.line),
            f"{words.loss} The dashed line is the loss of {words.knowing}, over the pool: whoever "
            "learns nothing stays there.",
        ),
        strips=[] if story.pictures is None else _strips(story.pictures),
        rows=_rows(story.recovery, story.columns) if words.things == "rows" else [],
        version=__version__,
    )


def loss_figure(losses: Sequence[float], baseline: float, name_of_baseline: str) -> str:
    """Draw the loss of every step, smoothed too, and the baseline's."""
    steps = np.arange(1, len(losses) + 1)
    values = np.array(losses)
    window = max(1, len(losses) // WINDOWS)
    smooth = np.convolve(values, np.full(window, 1 / window), mode="valid")
    every = -(-len(losses) // POINTS)

    def plot(axes: "Axes") -> None:
        name = f"mean of {window} steps" if window > 1 else "each step"
        if window > 1:
            axes.plot(
                steps[::every],
                values[::every],
                color=SERIES[0],
                alpha=0.35,
                linewidth=0.8,
                label="each step",
            )
        line = list(zip(steps[window - 1 :: every], smooth[::every], strict=True))
        axes.plot(*columns(line), color=SERIES[0], linewidth=2, label=name)
        axes.axhline(
            baseline, color=INK, linestyle=(0, (4, 3)), linewidth=1, label=name_of_baseline
        )
        axis_of_steps(axes)
        axes.set_ylim(bottom=0)
        axes.legend(labelcolor=MUTED)

    return draw("loss", f"Loss over {len(losses)} steps of pretraining", plot)


def _rows(
    recovery: Recovery | TokenRecovery, columns: Sequence[str]
) -> list[tuple[str, float | None]]:
    """Name and R² of each column, the best first."""
    found = () if isinstance(recovery, TokenRecovery) else recovery.blocks
    named = columns if len(columns) == len(found) else ()
    names = named or [f"column {number}" for number in range(1, len(found) + 1)]
    return sorted(
        zip(names, found, strict=True), key=lambda row: (row[1] is None, -(row[1] or 0.0))
    )


def _strips(shown: Pictures) -> list[tuple[str, str]]:
    """Label and base64 of a PNG for each row of images."""
    low, high = float(shown.original.min()), float(shown.original.max())

    def png(images: torch.Tensor, hidden: torch.Tensor) -> str:
        # Half a second to import, and only a report needs it.
        from matplotlib.image import imsave

        levels = ((images - low) / max(high - low, 1e-6)).clamp(0, 1)
        opaque = torch.where(hidden, 0.0, 1.0)
        pixels = torch.stack([levels, levels, levels, opaque], -1)
        side = torch.nn.functional.pad(pixels, (0, 0, 0, GAP))
        strip = torch.cat(list(side), 1)[:, :-GAP]
        buffer = io.BytesIO()
        imsave(buffer, (strip * 255).round().byte().numpy(), format="png")
        return base64.b64encode(buffer.getvalue()).decode()

    nowhere = torch.zeros_like(shown.hidden)
    return [
        ("As they are", png(shown.original, nowhere)),
        ("What the model sees", png(shown.original, shown.hidden)),
        ("What it makes of it", png(shown.restored, nowhere)),
    ]

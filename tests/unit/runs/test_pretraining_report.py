"""The report of a pretraining: whole, self-contained, harmless, and true to what it is given."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from html_page import Page, check
from matplotlib.figure import Figure
from matplotlib.image import imread

from tacit.domains.domain import Card, Metric
from tacit.models.pretraining import Pretraining
from tacit.models.reconstruction import Pictures, Recovery
from tacit.models.token_recovery import Piece, TokenRecovery
from tacit.runs import pretraining
from tacit.runs.pretraining import POINTS, Story, loss_figure, render
from tacit.settings import Component

HOSTILE = "<script>alert('$x_{$')</script>"

STORY = Story(
    file="m.safetensors",
    sha256="ab" * 32,
    card=Card(
        "wards", "Two wards", "Well or ill.", ("no", "yes"), Metric.AUC, "one row",
        public_pool="40 rows, public by assumption",
    ),
    architecture=Component("tabular", "x.Y", {"hidden": 64}),
    pretraining=Pretraining(steps=100, learning_rate=0.003, masked_share=0.3),
    seed=7,
    pool=(40, 4),
    losses=[1 / (1 + n / 20) for n in range(100)],
    seconds=75.0,
    went_on=(),
    recovery=Recovery(0.2, 0.8, (0.5, 0.9, None)),
    columns=("age", "height", "constant"),
    pictures=None,
    then="tacit-simulate domain=wards model.weights=m.safetensors",
)  # fmt: skip

IMAGES = torch.linspace(-2, 2, 3 * 8 * 8).reshape(3, 8, 8)
HIDDEN = torch.zeros(3, 8, 8, dtype=torch.bool)
HIDDEN[:, :4, :4] = True
OF_IMAGES = replace(
    STORY,
    pool=(40, 1, 8, 8),
    pretraining=replace(STORY.pretraining, batch_size=16, patch=4),
    pictures=Pictures(IMAGES, HIDDEN, torch.where(HIDDEN, -IMAGES, IMAGES)),
)


def test_a_table():
    page = Page(render(STORY))
    check(page)
    for text in (
        "Two wards: the shared model",
        "40 rows of 3 columns",
        "0.750 R² = 1 - error ÷ variance, on the rows it learned from",
        "0.200 0.800 for predicting each feature's mean",
        "measured on the rows that the model learned from",
        "not how well it will do on others",
        "no privacy was spent",
        "public by assumption",
        "tacit-simulate domain=wards model.weights=m.safetensors",
        "100 steps of Adam at a learning rate of 0.003, all rows a step, 30 % of the columns",
        "tabular, hidden 64",
        "1 min 15 s",
        "ab" * 32,
        "Seed7",
    ):
        assert text.replace(" ", "") in page.words.replace(" ", ""), text
    assert page.tags.count("svg") == 1
    assert re.findall(r'<tr><th scope="row">(\w+)</th><td class="n">([\d.–]+)', page.html) == [
        ("height", "0.900"),
        ("age", "0.500"),
        ("constant", "–"),
    ]
    assert "stopped" not in page.words
    assert "Synthetic" not in page.words
    assert "Nothing was learned" not in page.words
    assert "img-src" not in page.html.replace("; img-src data:", "")


OF_TEXTS = replace(
    STORY,
    pool=(40, 64),
    recovery=TokenRecovery(1.25, 2.5, 0.625, 0.125, hidden=2016, tokens=12345),
    columns=(),
    texts=[
        [Piece("my "), Piece("card", "card", True), Piece(" is "), Piece("lost", "<b>", False)],
        [Piece("help", "help", True)],
    ],
    source="all-MiniLM-L6-v2 (SHA-256 cd)",
)


def test_texts():
    page = Page(render(OF_TEXTS))
    check(page, pictures=1)
    for text in (
        "40 texts of 12,345 tokens",
        "masked-token modelling",
        "Hidden tokens told right 62.5 % 12.5 % for always saying the most frequent one",
        "1.250 2.500 for knowing how frequent each token is, and nothing else of a text",
        "2,016 tokens were hidden for it, by masks that no step has seen",
        "Mean cross-entropy of the tokens",
        "my card is lost (<b>)",
        "all texts a step",
        "30 % of the tokens hidden at random",
        "Starts from all-MiniLM-L6-v2 (SHA-256 cd)",
        "At most 64 of a text",
    ):
        assert text.replace(" ", "") in page.words.replace(" ", ""), text
    assert page.html.count('<mark class="wrong">') == 1
    assert page.html.count("<mark>") == 2
    for word in ("R²", "mean over", "pixel", "columns", "Nothing was learned"):
        assert word not in page.words, word
    lost = replace(OF_TEXTS, recovery=replace(OF_TEXTS.recovery, loss=2.5), texts=())
    page = Page(render(lost))
    assert "no better than knowing how frequent each token is" in page.words
    assert "the model says it is" not in page.words


def test_a_column_without_a_name_is_numbered():
    assert "column 2" in Page(render(replace(STORY, columns=()))).words
    assert "column 3" in Page(render(replace(STORY, columns=("age",)))).words


def test_images():
    page = Page(render(OF_IMAGES))
    check(page, pictures=1)
    assert "40 images of 8 × 8 pixels" in page.words
    assert "16 images a step, 30 % of patches of 4 × 4 pixels hidden" in page.words
    assert "0.800 for predicting each pixel's mean" in page.words
    assert "<table>" not in page.html
    original, hidden, restored = (
        imread(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        for source in page.values("src")
    )
    # Three images of 8 pixels and two gaps of 2, through which the page is seen.
    assert original.shape == hidden.shape == restored.shape == (8, 28, 4)
    assert (original[:, 8:10, 3] == 0).all()
    images = ((IMAGES + 2) / 4).numpy()
    for number in range(3):
        part = slice(10 * number, 10 * number + 8)
        assert np.abs(original[:, part, 0] - images[number]).max() <= 1 / 255
        assert (original[:, part, 3] == 1).all()
        assert ((hidden[:, part, 3] == 0) == HIDDEN[number].numpy()).all()
        assert np.abs(restored[:4, part][:, :4, 0] - (1 - images[number])[:4, :4]).max() <= 1 / 255
        assert (restored[4:, part] == original[4:, part]).all()


def test_images_that_are_all_one_grey():
    flat = torch.zeros(2, 8, 8)
    story = replace(OF_IMAGES, pictures=Pictures(flat, HIDDEN[:2], flat))
    check(Page(render(story)), pictures=1)


def test_a_stop_is_told():
    words = Page(render(replace(STORY, went_on=(20, 60)))).words
    assert "stopped and gone on with after step 20, 60" in words


def test_synthetic_rows_are_called_so():
    story = replace(STORY, card=replace(STORY.card, synthetic=True))
    assert "Synthetic data. These records describe nobody." in Page(render(story)).words


@pytest.mark.parametrize(
    "recovery", [Recovery(0.9, 0.8, (None, 0.1, -0.2)), Recovery(0.1, 0.0, (None, None, None))]
)
def test_a_model_that_learned_nothing_is_called_so(recovery):
    page = Page(render(replace(STORY, recovery=recovery)))
    check(page)
    assert "Nothing was learned." in page.words


def test_a_pretraining_of_one_step_and_one_that_ran_away():
    for losses in ([1.0], [1.0, float("inf"), float("nan")]):
        page = Page(render(replace(STORY, losses=losses)))
        check(page)


def test_names_can_do_nothing():
    card = replace(STORY.card, title=HOSTILE, description=HOSTILE, public_pool=HOSTILE)
    story = replace(STORY, card=card, columns=(HOSTILE,) * 3, file=HOSTILE, then=HOSTILE)
    page = Page(render(story))
    check(page)
    assert page.words.count(HOSTILE) >= 7


def test_equal_stories_give_equal_bytes():
    assert render(OF_IMAGES) == render(OF_IMAGES)
    assert render(STORY) != render(replace(STORY, losses=[*STORY.losses[:-1], 2.0]))


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch):
    drawn = Figure().add_subplot()
    monkeypatch.setattr(pretraining, "draw", lambda name, about, plot: plot(drawn))
    return drawn


def test_curves(axes):
    losses = list(np.random.default_rng(0).random(100))
    loss_figure(losses, 0.75, "the mean")
    each, smooth, baseline = axes.lines
    assert each.get_xydata().tolist() == [[n + 1, loss] for n, loss in enumerate(losses)]
    assert smooth.get_label() == "mean of 4 steps"
    xs, ys = smooth.get_xdata(), smooth.get_ydata()
    assert list(xs) == list(range(4, 101))
    assert ys[0] == pytest.approx(sum(losses[:4]) / 4)
    assert ys[-1] == pytest.approx(sum(losses[-4:]) / 4)
    assert set(baseline.get_ydata()) == {0.75}
    assert baseline.get_label() == "the mean"


def test_long_curves_are_thinned(axes):
    loss_figure([1.0] * (5 * POINTS + 1), 0.75, "the mean")
    assert all(len(line.get_xdata()) <= POINTS for line in axes.lines)

"""Masked modelling of texts: what is hidden, what the loss is of, and that it is learnt."""

import math
from collections import Counter
from pathlib import Path

import pytest
import small_models
import torch

from tacit.domains.domain import Card, Metric
from tacit.domains.texts import texts_to_bytes
from tacit.errors import ConfigurationError, ModelError
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.token_recovery import filled, token_recovery
from tacit.models.transformer import Transformers
from tacit.models.transformer_export import load_model, save_model

CARD = Card("desks", "Desks", "", ("a", "b"), Metric.ACCURACY, "one row", texts=True)
TEXTS = ["my card is lost", "the cat sat", "a zebra [MASK] ran on the mat please help", "dog"] * 5
KINDS = ["masking_bert", "masking_modernbert", "masking_distilbert"]
SETTINGS = Pretraining(steps=8, learning_rate=1e-3, masked_share=0.3, batch_size=6)
MASK, UNKNOWN = 4, 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: getattr(small_models, kind)(folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def make(folders):
    def made(kind="masking_bert", texts=TEXTS, seed=0, length=8):
        architecture = Transformers(str(folders[kind]), length=length)
        return architecture.masked_tokens(CARD, texts_to_bytes(texts), seed)

    return made


def bits(objective):
    return {name: t.numpy().tobytes() for name, t in objective.model.state_dict().items()}


def seen_by(objective, rows, hidden):
    """Return the token numbers that the model is given."""
    given = []
    model = objective.model["model"]
    hook = model.register_forward_pre_hook(
        lambda _, unnamed, named: given.append(named["input_ids"]), with_kwargs=True
    )
    objective.loss(rows, hidden)
    hook.remove()
    return given[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_surprise_at_hidden_tokens(make, kind):
    objective = make(kind)
    rows = torch.tensor([0, 2, 3])
    hidden = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    surprises = []
    for row, places in zip(rows, hidden, strict=True):
        # Each text by itself, without padding, and the whole vocabulary at every place.
        tokens = objective.tokens[row][objective.tokens[row] >= 0]
        given = tokens.clone()
        wanted = [n for n, token in enumerate(tokens) if places[n] and token >= 5]
        given[wanted] = MASK
        with torch.no_grad():
            scores = objective.model["model"](input_ids=given[None]).logits[0]
        surprises += [-scores[n].log_softmax(0)[tokens[n]].item() for n in wanted]
    assert 4 < len(surprises) < 14
    mean = sum(surprises) / len(surprises)
    assert objective.loss(rows, hidden).item() == pytest.approx(mean, rel=1e-5)


def test_special_tokens_and_padding_are_never_hidden(make):
    objective = make()
    everything = torch.ones(20, 8, dtype=torch.bool)
    given = seen_by(objective, slice(None), everything)
    tokens = objective.tokens
    assert given.shape == tokens.shape
    for number in (2, 3, UNKNOWN):
        assert (tokens == number).any()
        assert (given[tokens == number] == number).all()
    assert (given[tokens >= 5] == MASK).all()
    _, wanted = objective.scores(slice(None), everything)
    assert (wanted >= 5).all()
    assert len(wanted) == (tokens >= 5).sum()


def test_only_what_the_coins_say_is_hidden(make):
    objective = make()
    hidden = torch.zeros(2, 8, dtype=torch.bool)
    hidden[1, 2] = True
    tokens = objective.tokens[:2]
    given = seen_by(objective, torch.tensor([0, 1]), hidden)
    # Cut to the longer of the two: [CLS] my card is lost [SEP].
    assert given.shape == (2, 6)
    assert (given != tokens[:, :6].clamp(min=0)).nonzero().tolist() == [[1, 2]]


def test_a_step_that_hides_nothing_learns_nothing(make):
    objective = make()
    loss = objective.loss(slice(None), torch.zeros(20, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in objective.model.parameters())


def test_a_text_without_tokens_does_no_harm(make):
    objective = make(texts=["", "the cat sat"])
    objective.tokens[0] = -1  # of a tokenizer that puts nothing around a text
    loss = objective.loss(slice(None), torch.ones(2, 8, dtype=torch.bool))
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.model.parameters())


def test_the_seed_fixes_what_the_files_do_not_have_and_nothing_else(make):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = bits(make(seed=1))
    assert torch.random.get_rng_state().equal(before)
    torch.manual_seed(6)
    assert bits(make(seed=1)) == first
    other = bits(make(seed=2))
    assert {name.split(".")[1] for name in first if other[name] != first[name]} == {"cls"}


def test_what_predicts_starts_from_frequencies_and_keeps_its_embedding(make):
    objective = make()
    model = objective.model["model"]
    last = model.get_output_embeddings()
    shares = objective.tokens[objective.maskable].bincount(minlength=20) / objective.maskable.sum()
    assert last.bias.softmax(0).tolist() == pytest.approx((0.99 * shares + 0.01 / 20).tolist())
    pretrain(objective, SETTINGS, 0)
    assert last.weight is model.get_input_embeddings().weight


def test_what_predicts_already_is_left_alone(make, tmp_path):
    objective = make()
    model = objective.model["model"]
    with torch.no_grad():
        model.get_output_embeddings().bias.copy_(torch.arange(20.0))
    model.save_pretrained(tmp_path)
    small_models.masking_tokenizer(tmp_path)
    again = Transformers(str(tmp_path), length=8)
    again = again.masked_tokens(CARD, texts_to_bytes(TEXTS), 1)
    assert bits(again) == bits(objective)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_to_the_same_bits(make, kind):
    whole = make(kind)
    kept = []
    losses = pretrain(whole, SETTINGS, 3, on_state=kept.append)
    rest = make(kind)
    assert bits(rest) != bits(whole)
    assert pretrain(rest, SETTINGS, 3, start=kept[2]) == losses
    assert bits(rest) == bits(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_it_trains(make, kind):
    objective = make(kind)
    before = bits(objective)
    pretrain(objective, SETTINGS, 0)
    after = bits(objective)
    assert not [name for name in before if after[name] == before[name]]


@pytest.mark.parametrize("kind", KINDS)
def test_others_load_the_encoder_that_was_trained(make, kind, tmp_path):
    objective = make(kind)
    pretrain(objective, SETTINGS, 0)
    save_model(objective.encoder, tmp_path)
    loaded = load_model(tmp_path).state_dict()
    trained = objective.encoder.state_dict()
    assert set(trained) <= set(loaded)
    assert all(loaded[name].equal(tensor) for name, tensor in trained.items())


PAIRS = ["the cat sat", "the dog ran", "my card is lost", "please help"]
"""Of each text every word follows from any other."""


def test_structure_is_learnt_and_measured(make):
    objective = make(texts=PAIRS * 10)
    before = token_recovery(objective, 0.3, 0)
    settings = Pretraining(steps=80, learning_rate=1e-2, masked_share=0.3, batch_size=16)
    losses = pretrain(objective, settings, 0)
    found = token_recovery(objective, 0.3, 0)
    counts = Counter(word for text in PAIRS for word in text.split())
    shares = [count / 12 for count in counts.values()]
    assert found.baseline == pytest.approx(-sum(p * math.log(p) for p in shares))
    assert found.frequent == pytest.approx(2 / 12)  # "the"
    assert found.tokens == 120
    assert 2000 <= found.hidden < 2100
    assert before.right < 0.4
    # Where all of a text is hidden, or all but "the", nobody can tell.
    assert found.right > 0.75
    assert found.loss < 0.5 * found.baseline
    assert sum(losses[-10:]) / 10 < 0.5 * found.baseline
    assert token_recovery(objective, 0.3, 0) == found

    shown = filled(objective, 0.5, 0, 5)
    assert len(shown) == 5
    hidden = [piece for pieces in shown for piece in pieces if piece.said is not None]
    assert len(hidden) >= 5
    for pieces in shown:
        assert "".join(piece.text for piece in pieces) in PAIRS
        assert any(piece.said is not None for piece in pieces)
    assert all((piece.said == piece.text) == piece.right for piece in hidden)
    assert any(piece.right for piece in hidden)


def masked_tokens(folder, card=CARD, texts=TEXTS, length=8):
    architecture = Transformers(str(folder), length=length)
    return architecture.masked_tokens(card, texts_to_bytes(texts), 0)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("gpt2", "no hidden tokens can be predicted by a model of the kind gpt2: choose one"),
        ("vit", "no hidden tokens can be predicted by a model of the kind vit"),
        ("bert", "its tokenizer has no mask token to hide others behind: choose a model"),
    ],
)
def test_a_model_that_cannot_be_asked_is_named(kind, says, tmp_path):
    with pytest.raises(ModelError, match=says):
        masked_tokens(getattr(small_models, kind)(tmp_path))


def test_texts_that_do_not_fit_are_named(folders, tmp_path):
    bert: Path = folders["masking_bert"]
    images = Card("scans", "Scans", "", ("a", "b"), Metric.ACCURACY, "one scan")
    with pytest.raises(ConfigurationError, match="examples of scans are no texts: choose model="):
        masked_tokens(bert, images)
    with pytest.raises(ConfigurationError, match=r"length=33: .* takes at most 32 tokens"):
        masked_tokens(bert, length=33)
    with pytest.raises(ModelError, match="no token in the 2 texts of the public pool"):
        masked_tokens(bert, texts=["", "zebra"])
    small_models.masking_tokenizer(tmp_path)
    config = small_models.t.BertConfig(vocab_size=10, intermediate_size=32, **small_models.PARTS)
    with pytest.raises(ModelError, match="a token of number 16, and the model knows 10"):
        masked_tokens(small_models.written(tmp_path, config))

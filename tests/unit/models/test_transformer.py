"""Models of transformers as backbones: read once or trained, and what does not fit is refused."""

import shutil
from dataclasses import replace

import pytest

pytest.importorskip("transformers", reason="the extra `text` is not installed")
pytest.importorskip("peft", reason="the extra `lora` is not installed")

import small_models
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from tacit.domains.domain import Card, Examples, Metric
from tacit.domains.texts import texts_to_bytes
from tacit.errors import ConfigurationError, ModelError
from tacit.learning.local import Compute
from tacit.learning.stacked.trial import Means, choose
from tacit.models import hub
from tacit.models.adapters import Lora, add_adapters
from tacit.models.compatibility import check_private, check_scores
from tacit.models.reading import ReadDomain, read_domain
from tacit.models.trainable import Train, choose_trainable, trainable_weights
from tacit.models.transformer import Transformers

CPU = torch.device("cpu")
TEXTS = ["the cat sat", "my card is lost please help", "dog", "a dog ran on the mat", ""]
CARD = Card("desk", "Desk", "", ("lost card", "the cat"), Metric.ACCURACY, "one text", texts=True)
PIXELS = replace(CARD, texts=False)


class Rows:
    """A domain with nothing but a card, a shape and, of a table, columns."""

    def __init__(self, card: Card, inputs: tuple[int, ...], groups=()) -> None:
        self.card, self.inputs, self.groups = card, inputs, groups
        self.declared_sizes = {"only": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def made(folder):
    kinds = ("bert", "gpt2", "vit", "resnet", "waves")
    return {kind: str(getattr(small_models, kind)(folder / kind)) for kind in kinds}


def read(architecture, train=Train.HEAD, card=CARD, inputs=(64,)):
    found = read_domain(Rows(card, inputs), architecture, train, CPU)
    assert isinstance(found, ReadDomain)
    return found


def model_of(found, train, pattern=None):
    torch.manual_seed(0)
    module = found.reading.architecture.build(found.inputs, found.card.outputs)
    if train.adapts:
        add_adapters(module, Lora(rank=2))
    choose_trainable(module, train, pattern)
    return module


def rows(texts=TEXTS):
    return Examples(texts_to_bytes(texts, 64), torch.zeros(len(texts), dtype=torch.int64))


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_what_is_read_is_what_the_model_makes_of_each_text_alone(made, kind, pooling):
    found = read(Transformers(made[kind], pooling=pooling, length=8))
    embeddings = found.read(rows()).features
    model = transformers.AutoModel.from_pretrained(made[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made[kind])
    for text, embedding in zip(TEXTS[:-1], embeddings, strict=False):
        numbers = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = model(numbers).last_hidden_state[0]
        pooled = {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}[pooling]
        torch.testing.assert_close(embedding, pooled / pooled.norm(), atol=1e-6, rtol=1e-5)
    assert torch.isfinite(embeddings).all()


@pytest.mark.parametrize(("kind", "bias"), [("bert", False), ("bert", True), ("gpt2", True)])
def test_tokens_with_padding_score_as_what_was_read(made, kind, bias):
    """The whole model, on padded tokens, is the head on what the frozen one reads."""
    architecture = Transformers(made[kind], length=8, head="names", head_bias=bias)
    head = model_of(read(architecture), Train.HEAD)
    whole = model_of(read(architecture, Train.ALL), Train.ALL).eval()
    tokens = read(architecture, Train.ALL).read(rows()).features
    with torch.no_grad():
        scores = head(read(architecture).read(rows()).features)
        torch.testing.assert_close(whole(tokens)[:-1], scores[:-1], atol=1e-5, rtol=1e-4)
    assert scores.abs().max() > 0.1


def test_the_head_starts_from_the_names(made):
    architecture = Transformers(made["bert"], length=8, head="names", head_scale=3.0)
    names = read(architecture).read(rows(list(CARD.classes))).features
    start = trainable_weights(model_of(read(architecture), Train.HEAD))
    assert (start["head.bias"] == 0).all()
    torch.testing.assert_close(torch.from_numpy(start["head.weight"]), 3 * names)


def test_a_head_without_a_bias_has_the_whole_gradient(made):
    """On embeddings of length 1 the bias has half of the squared norm that clipping bounds."""
    for bias in (False, True):
        model = model_of(read(Transformers(made["bert"], length=8, head_bias=bias)), Train.HEAD)
        assert ("head.bias" in trainable_weights(model)) == bias
        seen = read(Transformers(made["bert"], length=8)).read(rows(TEXTS[:1]))
        torch.nn.functional.cross_entropy(model(seen.features), seen.targets).backward()
        weight = model.head.weight.grad.norm().item()
        every = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
        assert every.norm().item() == pytest.approx(weight * (2**0.5 if bias else 1), rel=1e-5)


@pytest.mark.parametrize("train", [Train.LORA, Train.FFA_LORA, Train.REGEX])
def test_engines_agree_where_a_part_of_a_backbone_trains(made, train):
    found = read(Transformers(made["bert"], length=8), train)
    module = model_of(found, train, r"layer\.1\." if train is Train.REGEX else None)
    check_scores(module, found.inputs, 2)
    check_private(module, found.inputs)
    chosen = choose(module, found.inputs, Compute(CPU), private=True)
    assert chosen.means is Means.STACKED, chosen.reasons


def test_only_what_trains_travels(made):
    lora = model_of(read(Transformers(made["bert"], length=8), Train.LORA), Train.LORA)
    ffa = model_of(read(Transformers(made["bert"], length=8), Train.FFA_LORA), Train.FFA_LORA)
    both = {"lora_A", "lora_B", "head"}
    assert all(any(part in name for part in both) for name in trainable_weights(lora))
    assert {n for n in trainable_weights(lora) if "lora_A" not in n} == {*trainable_weights(ffa)}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_positions_are_looked_up_for_each_example(made, kind):
    found = read(Transformers(made[kind], length=8), Train.ALL)
    check_private(model_of(found, Train.ALL), found.inputs)


def test_without_that_a_model_is_refused(made, monkeypatch):
    monkeypatch.setattr("tacit.models.backbone.expand_positions", lambda model: [])
    found = read(Transformers(made["gpt2"], length=8), Train.ALL)
    with pytest.raises(ModelError, match="Opacus"):
        check_private(model_of(found, Train.ALL), found.inputs)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_brought_to_the_models_size(made, kind, channels):
    card, shape = PIXELS, (channels, 20, 20)
    images = torch.rand(3, *shape)
    found = read(Transformers(made[kind]), card=card, inputs=shape)
    features = found.read(Examples(images, torch.zeros(3, dtype=torch.int64))).features
    assert features.shape == (3, 16)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    whole = read(Transformers(made[kind]), Train.REGEX, card, shape)
    module = model_of(whole, Train.REGEX, r"layers?\.1\.|stages\.1")
    check_private(module, whole.inputs)
    prepared = whole.read(Examples(images, torch.zeros(3, dtype=torch.int64))).features
    module.train()  # BatchNorm would now mix the images
    torch.testing.assert_close(module.backbone(prepared), features, atol=1e-5, rtol=1e-4)


def test_sounds_are_read(made):
    sounds = torch.randn(2, 400)
    found = read(Transformers(made["waves"]), card=PIXELS, inputs=(400,))
    features = found.read(Examples(sounds, torch.zeros(2, dtype=torch.int64))).features
    assert features.shape == (2, 16)
    louder = found.read(Examples(3 * sounds + 1, torch.zeros(2, dtype=torch.int64))).features
    torch.testing.assert_close(louder, features, atol=1e-4, rtol=1e-3)


def test_there_is_no_dropout_left(made):
    module = read(Transformers(made["bert"], length=8), Train.ALL).reading.architecture.build(
        (8,), 2
    )
    assert not [m for m in module.modules() if isinstance(m, nn.Dropout) and m.p > 0]


@pytest.mark.parametrize(
    ("kind", "card", "inputs", "told"),
    [
        ("bert", PIXELS, (3, 8, 8), "takes texts"),
        ("vit", CARD, (64,), "are texts"),
        ("vit", PIXELS, (64,), "takes images"),
        ("waves", PIXELS, (1, 8, 8), "takes sounds"),
    ],
)
def test_a_model_that_does_not_take_the_examples_is_refused(made, kind, card, inputs, told):
    with pytest.raises(ModelError, match=told):
        read(Transformers(made[kind]), card=card, inputs=inputs)


@pytest.mark.parametrize("kind", ["bert", "waves"])
def test_columns_of_a_table_are_for_other_models(made, kind):
    table = Rows(PIXELS, (400,), groups=(slice(0, 3), *(slice(n, n + 1) for n in range(3, 400))))
    with pytest.raises(ModelError, match=r"columns of a table .*: use model=tabular or model=lin"):
        read_domain(table, Transformers(made[kind]), Train.HEAD, CPU)


def test_columns_of_numbers_alone_may_be_the_samples_of_a_sound(made):
    samples = Rows(PIXELS, (400,), groups=tuple(slice(n, n + 1) for n in range(400)))
    assert isinstance(
        read_domain(samples, Transformers(made["waves"]), Train.HEAD, CPU), ReadDomain
    )


def test_a_model_that_begins_to_count_places_later_takes_fewer_tokens(folder):
    """RoBERTa's kin: the place of the first token is that of padding and one."""
    path = str(small_models.roberta(folder / "roberta"))
    with pytest.raises(ConfigurationError, match=r"length=31: .* at most 30"):
        read(Transformers(path, length=31))
    found = read(Transformers(path, length=30)).read(rows(["red " * 40]))
    assert torch.isfinite(found.features).all()


def test_a_text_is_no_longer_than_the_model_takes(made):
    with pytest.raises(ConfigurationError, match="at most 32"):
        read(Transformers(made["bert"], length=33))


def test_texts_need_a_model_that_reads():
    from tacit.models.linear import Linear

    with pytest.raises(ModelError, match="model=transformers"):
        read_domain(Rows(CARD, (64,)), Linear(), Train.HEAD, CPU)


def test_a_revision_is_of_the_hub(made):
    for name in (made["bert"], "all-MiniLM-L6-v2"):
        with pytest.raises(ConfigurationError, match=r"revision=main: is of the hub, and .* here"):
            hub.model_files(name, revision="main")


def test_weights_are_pinned(made):
    files = hub.model_files(made["bert"])
    assert hub.model_files(made["bert"], files.sha256) == files
    with pytest.raises(ModelError, match=rf"{files.sha256}.*pins 00"):
        read(Transformers(made["bert"], sha256="0" * 64))


def test_anything_that_changes_what_is_read_changes_the_identity(made, tmp_path):
    before = hub.model_files(str(small_models.bert(tmp_path / "a")))
    weights = load_file(tmp_path / "a" / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1e-3
    save_file(weights, tmp_path / "a" / "model.safetensors", {"format": "pt"})
    changed = hub.model_files(str(tmp_path / "a"))
    assert changed.sha256 != before.sha256
    assert changed.identity != before.identity
    words = tmp_path / "a" / "tokenizer.json"
    words.write_text(words.read_text().replace('"cat"', '"cats"'))
    assert hub.model_files(str(tmp_path / "a")).identity != changed.identity


def test_the_path_of_a_model_is_no_part_of_its_identity(made, tmp_path):
    assert hub.model_files(str(small_models.bert(tmp_path / "other"))) == replace(
        hub.model_files(made["bert"]), folder=tmp_path / "other"
    )


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ModelError, match="pickled"):
        hub.model_files(str(tmp_path))


def test_what_is_nowhere_is_said(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="no such folder or file here"):
        hub.model_files("nobody/has-this")


@pytest.mark.parametrize(
    "options", [{"pooling": "max"}, {"head": "random"}, {"length": 1}, {"length": "many"}]
)
def test_odd_options_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Transformers("anything", **options)


def test_a_tokenizer_that_knows_few_of_the_models_tokens_is_refused(made, tmp_path):
    """transformers makes an empty one where there is none, and all words are then alike."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(f"{made['bert']}/{name}", folder)
    with pytest.raises(ModelError, match=r"its tokenizer knows \d+ tokens, and the model 20"):
        read(Transformers(str(folder), length=8))


@pytest.mark.parametrize("bad", [{"rank": 0}, {"alpha": 0}, {"alpha": float("inf")}])
def test_adapters_of_no_size_are_refused(bad):
    with pytest.raises(ConfigurationError, match=r"model\.lora: rank="):
        Lora(**bad)


def test_half_the_alpha_moves_a_model_half_as_far(made):
    moved = []
    for alpha in (0.5, 0.25):
        module = read(Transformers(made["bert"], length=8), Train.LORA).reading.architecture.build(
            (8,), 2
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            add_adapters(module, Lora(rank=2, alpha=alpha))
        layer = module.backbone.model.encoder.layer[0].attention.self.query
        rows = torch.ones(1, layer.in_features)
        before = layer(rows)
        with torch.no_grad():
            layer.lora_B["default"].weight.fill_(0.1)
        moved.append(layer(rows) - before)
    torch.testing.assert_close(moved[0], 2 * moved[1])

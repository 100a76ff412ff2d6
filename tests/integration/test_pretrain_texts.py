"""tacit-pretrain of texts: a folder that a run starts from, complete or not there at all."""

import hashlib
import json
import re
import shlex
from html import unescape

import pytest

pytest.importorskip("transformers", reason="the extra `text` is not installed")

import small_models
from text_desks import SCHEMA, write_desks

from simulations import pretrain_texts
from simulations.pretrain import _main as pretrain
from simulations.progress import LiveProgress
from tacit.models.hub import model_files

STEPS = 12


class Cut(BaseException):
    """The power is cut."""


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Two desks with public texts, a small model, and what a person types about them."""
    folder = tmp_path_factory.mktemp("desks")
    schema = write_desks(folder)
    schema.write_text(SCHEMA + "public_pool: public.csv\n")
    return {
        "domain": "text",
        "domain.schema": schema,
        "model.name": small_models.masking_bert(folder / "bert"),
        "model.architecture.length": 8,
        "model.pretraining.steps": STEPS,
        "model.pretraining.learning_rate": 0.001,
    }


def typed(words):
    return [f"{key}={value}" for key, value in words.items()]


@pytest.fixture(scope="module")
def made(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("made here") / "our-encoder"
    assert pretrain([f"out={out}", *typed(words)]) == 0
    return out


def sha256(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_it_writes_a_model_and_what_it_is(made, words):
    assert {path.name for path in made.iterdir()} == {
        "config.json",
        "model.safetensors",
        "pretraining.html",
        "pretraining.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [path.name for path in made.parent.iterdir()] == ["our-encoder"]
    about = json.loads((made / "pretraining.json").read_text())
    source = model_files(str(words["model.name"]))
    assert about["from"] == {"name": "bert", "sha256": source.sha256, "identity": source.identity}
    assert about["sha256"] == sha256(made) == model_files(str(made)).sha256 != source.sha256
    assert about["pretraining"]["steps"] == STEPS
    assert about["seed"] == 0
    assert about["pool"] == "the examples of public.csv, public by assumption"
    assert about["loss"] > 0
    report = (made / "pretraining.html").read_text()
    assert about["sha256"] in report
    assert "40 texts of" in report
    # Nothing that goes with the model says where this machine has it.
    assert not [path for path in made.glob("*.json") if "pytest" in path.read_text()]


def test_what_is_told_of_a_model_does_not_change_what_it_is(made, tmp_path):
    for path in made.iterdir():
        if not path.name.startswith("pretraining."):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert model_files(str(tmp_path)).identity == model_files(str(made)).identity


def test_what_to_type_next_is_a_run_of_this_model(made, command, tmp_path):
    (then,) = re.findall("<pre>(.*?)</pre>", (made / "pretraining.html").read_text())
    name, *run = shlex.split(unescape(then))
    assert name == "tacit-simulate"
    assert f"model.sha256={sha256(made)}" in run
    assert not [word for word in run if word.startswith("model.pretraining")]
    ended = command(*run, f"run.dir={tmp_path / 'run'}", "training.rounds=2")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["model"]["pretraining"] == f"{made} (SHA-256 {sha256(made)})"


def test_a_run_is_the_same_whatever_pretraining_says(words, command, tmp_path):
    found = set()
    for steps in (1, 10_000):
        run = tmp_path / str(steps)
        chosen = {**words, "model.pretraining.steps": steps, "run.dir": run, "training.rounds": 2}
        ended = command(*typed(chosen))
        assert (ended.code, ended.err) == (0, "")
        assert "pretraining" not in ended.out
        found.add(json.loads((run / "results.json").read_text())["weights_sha256"])
    assert len(found) == 1


def test_stopped_the_same_command_goes_on_to_the_same_model(made, words, command, tmp_path):
    out, checkpoint = tmp_path / "v1.2", tmp_path / "v1.2.checkpoint"
    honest = LiveProgress.step

    def stop(self, title, done, total, shown=""):
        honest(self, title, done, total, shown)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LiveProgress, "step", stop)
        ended = command(f"out={out}", *typed(words), main=pretrain)
    assert (ended.code, ended.err) == (130, "interrupted\n")
    assert f"kept: {checkpoint}: the same command goes on from there\n" in ended.out
    assert list(tmp_path.iterdir()) == [checkpoint]

    ended = command(f"out={out}", *typed(words), "seed=1", main=pretrain)
    assert ended.code == 2
    assert "is the checkpoint of another pretraining (seed was 0 and is 1)" in ended.err

    def cut(*given):
        raise Cut

    # All steps are done, and half of the folder is written.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain_texts, "save_tokenizer", cut)
        with pytest.raises(Cut):
            pretrain([f"out={out}", *typed(words)])
    assert list(tmp_path.iterdir()) == [checkpoint]

    ended = command(f"out={out}", *typed(words), main=pretrain)
    assert (ended.code, ended.err) == (0, "")
    assert "pretraining " not in ended.out, "it began anew"
    assert list(tmp_path.iterdir()) == [out]
    assert sha256(out) == sha256(made)
    assert "gone on with after step 5, 12" in (out / "pretraining.html").read_text()


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Paths of a schema file without a pool, and of a model that cannot be asked."""
    folder = tmp_path_factory.mktemp("others")
    return {"bare": write_desks(folder), "gpt2": small_models.gpt2(folder / "gpt2")}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "a model of transformers is written as a folder: say where: out=FOLDER"),
        ("out=m.safetensors", "out=m.safetensors: a model of transformers is written as a folder"),
        ("out={tmp}", "is there already: choose another, or remove it"),
        ("out={tmp}/m domain.schema={bare}", "public_pool: FILE"),
        ("out={tmp}/m model.pretraining.batch_size=0", "model.pretraining.batch_size=0 is out of"),
        ("out={tmp}/m +model.pretraining.patch=4", "model=transformers has no such key"),
        ("out={tmp}/m model.sha256=00", "model.sha256 pins 00"),
        ("out={tmp}/m model.name={gpt2}", "of the kind gpt2"),
    ],
)
def test_bad_input_is_named_before_any_work(more, says, words, others, command, tmp_path):
    more = dict(word.split("=", 1) for word in more.format(tmp=tmp_path, **others).split())
    refused(command(*typed({**words, **more}), main=pretrain), says, tmp_path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("out={tmp}/m domain=digits model=transformers model.name=x", "digits has no public pool"),
        (
            "out={tmp}/m domain=hospitals model=transformers model.name=x",
            "examples of hospitals are no texts: choose model=tabular or model=vision",
        ),
        ("out={tmp}/m domain=hospitals model=timm model.name=x", "timm: is pretrained already"),
        (
            "out={tmp}/m domain=text domain.schema={schema} model=transformers "
            "model.name=x model.pretraining=null",
            "model.pretraining is null: how many steps",
        ),
        (
            "out={tmp}/m.safetensors domain=text domain.schema={schema} model=tabular",
            "are texts: use model=transformers",
        ),
    ],
)
def test_what_does_not_go_together_is_named(given, says, words, command, tmp_path):
    given = given.format(tmp=tmp_path, schema=words["domain.schema"]).split()
    refused(command(*given, main=pretrain), says, tmp_path)


def refused(ended, says, folder):
    assert ended.code == 2, ended
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not any(folder.iterdir())

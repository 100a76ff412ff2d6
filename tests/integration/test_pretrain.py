"""tacit-pretrain, and that a run takes its model the same from a file, the cache or the pool."""

import json
import re
import shlex
from html import unescape
from pathlib import Path

import pytest

from simulations.pretrain import _main as pretrain
from tacit.models.weights import load_weights

QUICK = ("model.pretraining.steps=20", "training.rounds=2", "compare=false")


@pytest.fixture
def made(command, tmp_path: Path) -> Path:
    out = tmp_path / "made here" / "shared.safetensors"
    ended = command(f"out={out}", *QUICK, main=pretrain)
    assert (ended.code, ended.err) == (0, "")
    assert f"written: {out}" in ended.out
    assert f"report: {out.with_suffix('.html')}" in ended.out
    return out


def test_it_writes_weights_and_what_they_are(made: Path):
    about = json.loads(made.with_suffix(".json").read_text())
    assert about["pretraining"]["steps"] == 20
    assert about["architecture"]["name"] == "tabular"
    assert "public by assumption" in about["pool"]
    assert load_weights(made)
    assert sorted(path.name for path in made.parent.iterdir()) == [
        "shared.html",
        "shared.json",
        "shared.safetensors",
    ]


def test_its_report_is_of_these_weights_and_says_what_to_type_next(made: Path, command, tmp_path):
    report = made.with_suffix(".html").read_text()
    assert json.loads(made.with_suffix(".json").read_text())["sha256"] in report
    assert "20 steps of Adam" in report
    assert "mean texture" in report
    (then,) = re.findall("<pre>(.*?)</pre>", report)
    name, *words = shlex.split(unescape(then))
    assert name == "tacit-simulate"
    ended = command(*words, f"run.dir={tmp_path / 'run'}", f"cache={tmp_path / 'kept'}")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["model"]["pretraining"] == "the weights of shared.safetensors"


def test_a_run_is_the_same_from_the_file_the_pool_and_the_cache(
    made: Path, command, tmp_path: Path
):
    cache = tmp_path / "kept"
    ways = {
        "file": (f"model.weights='{made}'", f"cache={tmp_path / 'other'}"),
        "pool": (f"cache={cache}",),
        "cache": (f"cache={cache}",),
    }
    found = {}
    for way, words in ways.items():
        ended = command(*QUICK, *words, f"run.dir={tmp_path / way}")
        assert (ended.code, ended.err) == (0, "")
        # The last is not pretrained again.
        assert ("pretraining" in ended.out) == (way == "pool")
        found[way] = json.loads((tmp_path / way / "results.json").read_text())["weights_sha256"]
    assert len(set(found.values())) == 1, found
    # No report and no checkpoint is left there.
    assert sorted(path.suffix for path in (cache / "models").iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("name", ["shared.safetensors", "shared.json", "shared.html"])
def test_what_is_there_is_never_overwritten(name: str, command, tmp_path: Path):
    (tmp_path / name).write_text("mine")
    ended = command(f"out={tmp_path / 'shared.safetensors'}", *QUICK, main=pretrain)
    assert ended.code == 2
    assert (
        ended.err == f"error: {tmp_path / name}: is there already: choose another, or remove it\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "say where to write: out=PATH.safetensors"),
        ("out=model.pt", "out=model.pt: say where to write: out=PATH.safetensors"),
        ("out={tmp}/m.safetensors domain=heart_disease domain.root=x", "no public pool"),
        ("out={tmp}/m.safetensors model.pretraining.steps=0", "model.pretraining.steps=0"),
        ("out={tmp}/m.safetensors model=linear", "nothing to pretrain"),
        ("out={tmp}/m.safetensors --multirun seed=1,2", "no other option"),
        ("out={tmp}/m.safetensors domain=hart", "'heart_disease'"),
    ],
)
def test_bad_input_is_named(words: str, says: str, command, tmp_path: Path):
    ended = command(*words.format(tmp=tmp_path).split(), main=pretrain)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not any(tmp_path.iterdir())


def test_help_and_version_come_without_a_model(command):
    assert command("--help", main=pretrain).out.startswith("tacit-pretrain: ")
    assert command("--version", main=pretrain).out.startswith("tacit ")

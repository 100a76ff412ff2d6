"""Whatever a person gets wrong: one line that says what, the right exit code, nothing spent."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from heart_files import path as heart_file
from heart_files import set_cell, write_heart_files
from whole_run import ROUNDS, SITES, SYSTEM

from commands.compose import composed
from simulations.experiment import prepare
from tacit.configuration import read_settings
from tacit.errors import ExitCode
from tacit.models.weights import save_weights, state_arrays
from tacit.runs.directory import claim

Prepare = Callable[[Path, ExitStack], object]


@dataclass(frozen=True)
class Row:
    """A row of the table: what is typed, what must be said, and what stands ready before it."""

    name: str
    words: str
    says: tuple[str, ...]
    prepare: Prepare = lambda tmp, stack: None
    code: int = 2
    base: str = "domain=heart_disease domain.root={tmp}/heart"


def cell(site: str, row: int, column: int, value: str) -> Prepare:
    return lambda tmp, stack: set_cell(tmp / "heart", site, row, column, value)


def content(site: str, text: str) -> Prepare:
    return lambda tmp, stack: heart_file(tmp / "heart", site).write_text(text)


def without(site: str) -> Prepare:
    return lambda tmp, stack: heart_file(tmp / "heart", site).unlink()


def foreign_model(tmp: Path, stack: ExitStack) -> None:
    """A package of somebody's own, and the YAML that names its class."""
    (tmp / "their_models.py").write_text(
        "from torch import nn\n"
        "class Normed:\n"
        "    name = 'normed'\n"
        "    def build(self, inputs, classes):\n"
        "        model = nn.Sequential(nn.Linear(*inputs, 8), nn.BatchNorm1d(8))\n"
        "        model.add_module('head', nn.Linear(8, classes))\n"
        "        return model\n"
    )
    (tmp / "own" / "model").mkdir(parents=True)
    (tmp / "own" / "model" / "normed.yaml").write_text(
        "# With BatchNorm.\ntrain: all\nweights: null\npretraining: null\n"
        "architecture: {name: normed, _target_: their_models.Normed}\n"
    )
    stack.enter_context(pytest.MonkeyPatch.context()).syspath_prepend(tmp)


def weights(shape: tuple[int, ...], *, damaged: bool = False) -> Prepare:
    def write(tmp: Path, stack: ExitStack) -> None:
        file = tmp / "weights.safetensors"
        save_weights(file, {"encoder.0.weight": np.zeros(shape, np.float32)}, {})
        if damaged:
            file.write_bytes(file.read_bytes()[:-1] + b"\x01")

    return write


def images(**arrays: np.ndarray) -> Prepare:
    """A small PneumoniaMNIST with some of its arrays exchanged."""

    def write(tmp: Path, stack: ExitStack) -> None:
        whole: dict[str, np.ndarray] = {}
        for part, n in (("train", 40), ("val", 20), ("test", 10)):
            whole[f"{part}_images"] = np.zeros((n, 28, 28), np.uint8)
            whole[f"{part}_labels"] = np.arange(n)[:, None] % 2
        np.savez(tmp / "xray.npz", **(whole | arrays))

    return write


def no_archive(tmp: Path, stack: ExitStack) -> None:
    (tmp / "xray.npz").write_bytes(b"PK and nothing more")


XRAY = "domain=pneumonia domain.root={tmp}/xray.npz"


def occupied(tmp: Path, stack: ExitStack) -> None:
    stack.enter_context(claim(tmp / "run", resume=False))


def not_empty(tmp: Path, stack: ExitStack) -> None:
    (tmp / "run").mkdir()
    (tmp / "run" / "letter.txt").write_text("")


def full_disk(tmp: Path, stack: ExitStack) -> None:
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 20))


def stopped(tmp: Path, stack: ExitStack) -> None:
    """Ctrl-C before the first round; tests/integration/test_resume.py has it in mid-run."""

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr("simulations.simulate.prepare", interrupt)


TABLE = [
    Row("unknown domain", "domain=hart", ("domain=hart", "'heart_disease'")),
    Row("unknown model", "model=tabluar", ("model=tabluar", "'tabular'")),
    Row("unknown strategy", "strategy=fedadm", ("strategy=fedadm", "'fedadam'")),
    Row("unknown key", "privcy.epsilon=1", ("privcy.epsilon", "'privacy.epsilon'")),
    Row("unknown key of a group", "training.round=3", ("'training.rounds'",)),
    Row("key of another option", "privacy=none privacy.epsilon=1", ("privacy=none has no such",)),
    Row("unknown option", "--multirum", ("--multirum", "'--multirun'")),
    Row("no value", "model", ("'model' is not KEY=VALUE",)),
    Row("a class that is not there", "strategy._target_=flwr.None", ("cannot be imported",)),
    Row("an option its class lacks", "+strategy.foo=1", ("FedAvg", "foo")),
    Row("missing root", "domain.root=null", ("HeartDisease", "NoneType")),
    Row("missing folder", "domain.root={tmp}/none", ("none/processed", "there is no such file")),
    Row("missing file", "", ("processed.va.data", "no such file"), without("va")),
    Row("empty file", "", ("processed.va.data", "not a table"), content("va", "")),
    Row("too few columns", "", ("processed.va.data", "2 columns"), content("va", "1,2\n")),
    Row(
        "no number",
        "",
        ("processed.hungarian.data", "row 7", "column 'chol'", "'12x'"),
        cell("hungarian", 7, 4, "12x"),
    ),
    Row(
        "a value outside the schema",
        "",
        ("processed.cleveland.data", "row 40", "column 'age'", "'200'", "18 to 110"),
        cell("cleveland", 40, 0, "200"),
    ),
    Row(
        "a label outside the classes",
        "",
        ("processed.va.data", "row 1", "column 'num'", "'7'"),
        cell("va", 1, 13, "7"),
    ),
    Row("no rows", "", ("'va'", "0 complete rows"), content("va", ",".join("?" * 14) + "\n")),
    Row("ε of 0", "privacy.epsilon=0", ("privacy.epsilon=0", "more than 0")),
    Row("negative ε", "privacy.epsilon=-1", ("privacy.epsilon=-1", "more than 0")),
    Row("endless ε", "privacy.epsilon=inf", ("privacy.epsilon=inf", "finite")),
    Row("ε that is no number", "privacy.epsilon=nan", ("privacy.epsilon=nan", "finite")),
    Row("δ of 0", "privacy.delta=0", ("privacy.delta=0", "more than 0")),
    Row("δ of 1", "privacy.delta=1", ("privacy.delta=1", "less than 1")),
    Row("δ over one over n", "privacy.delta=0.02", ("privacy.delta=0.02", "cleveland (200)")),
    Row("a word for a number", "training.batch_size=half", ("a whole number or 'full'",)),
    Row("a size that is no size", "domain.declared_sizes.va=0", ("declared_sizes.va=0",)),
    Row("more replies than sites", "training.min_replies=9", ("only 4 sites",)),
    Row("no model named", "model=transformers", ("model.name must be set: add model.name=VALUE",)),
    Row("no such device", "engine.device=gpu", ("engine.device='gpu'", "auto or cpu")),
    Row(
        "layers that Opacus cannot do",
        "--config-dir {tmp}/own model=normed",
        ("1 (BatchNorm1d)", "GroupNorm"),
        foreign_model,
    ),
    Row(
        "weights with another hash",
        "model=tabular model.weights={tmp}/weights.safetensors",
        ("weights.safetensors", "SHA-256"),
        weights((2, 2), damaged=True),
    ),
    Row(
        "weights of another shape",
        "model=tabular model.weights={tmp}/weights.safetensors",
        ("weights.safetensors", "does not fit"),
        weights((2, 2)),
    ),
    Row("missing weights", "model.weights={tmp}/no.safetensors", ("no.safetensors", "no such")),
    Row("an unreadable image file", "", ("xray.npz", "cannot be read"), no_archive, base=XRAY),
    Row(
        "images of another shape",
        "",
        ("xray.npz", "train_images", "[40, 64, 64]", "[n, 28, 28]"),
        images(train_images=np.zeros((40, 64, 64), np.uint8)),
        base=XRAY,
    ),
    Row(
        "pixels that are no bytes",
        "",
        ("xray.npz", "test_images", "float64", "uint8"),
        images(test_images=np.zeros((10, 28, 28))),
        base=XRAY,
    ),
    Row(
        "an unknown class of image",
        "",
        ("xray.npz", "train_labels row 3 is 7", "0 (normal) or 1 (pneumonia)"),
        images(train_labels=np.array([0, 1, 7, *[1] * 37])),
        base=XRAY,
    ),
    Row("no images", "", ("xray.npz", "no such file"), base=XRAY),
    Row("a split that is none", "domain.alpha=0", ("domain.alpha=0",), images(), base=XRAY),
    Row("no vehicles", "domain.vehicles.taxi=0", ("domain.vehicles", "taxi"), base="domain=fleets"),
    Row("neither view", "domain.sites=roads", ("domain.sites", "roads"), base="domain=fleets"),
    Row("a seed below 0", "domain.seed=-1", ("domain.seed=-1",), base="domain=fleets"),
    Row("a run directory in use", "", ("run.dir", "another process"), occupied),
    Row("a run directory not empty", "", ("run.dir", "letter.txt"), not_empty),
    Row("a full disk", "", ("run.dir", "1 MiB left"), full_disk),
    Row("nothing to resume", "run.resume={tmp}/none", ("none", "no such file")),
    Row("Ctrl-C", "", ("interrupted",), stopped, code=130),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_bad_input_is_named_and_costs_nothing(row: Row, command, tmp_path: Path):
    write_heart_files(tmp_path / "heart")
    base = [*row.base.format(tmp=tmp_path).split(), f"run.dir={tmp_path / 'run'}"]
    with ExitStack() as stack:
        row.prepare(tmp_path, stack)
        words = row.words.format(tmp=tmp_path).split()
        if any("run.resume" in word for word in words):
            base = []
        ended = command(*base, *words)
    assert ended.code == row.code
    assert ended.err.count("\n") == 1, ended.err
    for words in row.says:
        assert words in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert charges(tmp_path) == 0
    assert not (tmp_path / "run" / "config.yaml").exists()


def charges(folder: Path) -> int:
    """Charges of sites in any ledger below a folder."""
    found = 0
    for ledger in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(ledger)) as database:
            for (body,) in database.execute("SELECT body FROM rows"):
                row = json.loads(body)
                if row["kind"].startswith("charged"):
                    found += len(row.get("sites", [1]))
    return found


def state_of(run: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file and folder of a run: when it was written, and what it says."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in run.rglob("*")
    }


def test_the_count_of_charges_sees_a_run(whole: Path):
    assert charges(whole) == ROUNDS * len(SITES)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=5", ("seed=5", "seed=0")),
        ("privacy.epsilon=2", ("privacy.epsilon=2", "privacy.epsilon=1.0")),
        (SYSTEM, (SYSTEM, "privacy.noise_seed=None")),
        ("privacy=none", ("privacy.kind=none", "privacy.kind=record")),
        ("model=tabular", ("architecture.name=tabular", "architecture.name=linear")),
        ("strategy=fedadam", ("strategy.name=fedadam", "strategy.name=fedavg")),
        ("training.rounds=5", ("training.rounds=5", "training.rounds=4")),
        ("training.round=5", ("training.round", "'rounds'")),
    ],
)
def test_a_resume_with_another_configuration_is_refused(whole: Path, word, says, command):
    before = state_of(whole)
    ended = command(f"run.resume={whole}", word)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    for words in says:
        assert words in ended.err
    assert state_of(whole) == before


def test_a_resume_finds_a_damaged_configuration_and_checkpoint(whole: Path, command, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(whole, run)
    (run / "config.yaml").write_text("[")
    assert "config.yaml" in command(f"run.resume={run}").err
    shutil.copy(whole / "config.yaml", run / "config.yaml")
    (run / "checkpoint" / "state.safetensors").write_bytes(b"none")
    ended = command(f"run.resume={run}")
    assert ended.code == 2
    assert "state.safetensors" in ended.err
    assert ended.err.count("\n") == 1


def write_encoder(file: Path, seed: int) -> None:
    """Write the weights of a tabular model that was not pretrained."""
    settings = read_settings(composed(["model=tabular", "model.pretraining=null", f"seed={seed}"]))
    save_weights(file, state_arrays(prepare(settings).shared.module), {})


def test_a_resume_with_exchanged_weights_is_refused(command, resume, tmp_path: Path):
    file, path = tmp_path / "encoder.safetensors", tmp_path / "run"
    write_encoder(file, seed=1)
    words = ["model=tabular", f"model.weights={file}", "training.rounds=2", "compare=false"]
    assert command(*words, f"run.dir={path}").code == 0
    before = state_of(path)
    write_encoder(file, seed=2)
    code, said = resume(path)
    assert code == ExitCode.BAD_INPUT == 2
    assert said.count("\n") == 1
    assert "were its pretrained weights exchanged" in said
    # The run was claimed, to look at it.
    assert {changed for changed, _ in before.items() ^ state_of(path).items()} <= {path / ".lock"}
    # With its own weights it goes on.
    write_encoder(file, seed=1)
    assert resume(path) == (ExitCode.DONE, "")


@pytest.mark.parametrize("words", ["domain=hart", "domain=heart_disease domain.root=nowhere"])
def test_a_process_says_the_same(words: str, process, tmp_path: Path):
    ended = process("tacit-simulate", *words.split())
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert not any(tmp_path.iterdir())

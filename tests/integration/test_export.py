"""A run, its export and its predictions: what comes out is what the run had, and can be used."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.datasets import load_breast_cancer
from whole_run import uninterrupted

import commands.export
import commands.predict
from tacit.domains.hospitals import Hospitals, _rows, divide
from tacit.finished.model import load_run
from tacit.finished.onnx import FP32, INT8, INT8_SHARE
from tacit.finished.whole import TOLERANCE
from tacit.runs.results import read

MAINS = {"export": commands.export._main, "predict": commands.predict._main}


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """A run of the demo's model, most of which did not train."""
    return uninterrupted(
        tmp_path_factory.mktemp("hospitals") / "run",
        3,
        "model=tabular",
        "model.pretraining.steps=20",
    )


@pytest.fixture(scope="module")
def desks(tmp_path_factory):
    """A run of a small BERT with LoRA at two support desks."""
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    from text_desks import run_of_desks

    return run_of_desks(tmp_path_factory.mktemp("desks"))


def scores_of_card(folder, monkeypatch):
    """Run the Python of an exported card as a person would, and return its `scores`."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(compile(code[1], "README.md", "exec"), names)  # noqa: S102 - the card that was just made
    return names["scores"]


def onnx_scores(file, **given):
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["scores"], given)[0]


def answers(ended):
    assert ended.code == 0, ended.err
    return list(csv.DictReader(io.StringIO(ended.out)))


def test_an_exported_table_model_is_the_runs(hospitals, command, monkeypatch, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    ended = command(hospitals, "--out", tmp_path / "out", main=MAINS["export"])
    assert ended.code == 0, ended.err
    held_out = Hospitals().load()["university"].test.features
    with torch.no_grad():
        own = load_run(hospitals).module(held_out).numpy()
    scores = scores_of_card(tmp_path / "out", monkeypatch)
    assert np.array_equal(scores(held_out).numpy(), own)
    found = onnx_scores(tmp_path / "out" / FP32, features=held_out.numpy())
    assert np.abs(found - own).max() <= TOLERANCE * max(1, np.abs(own).max())
    rounded = onnx_scores(tmp_path / "out" / INT8, features=held_out.numpy())
    assert np.abs(rounded - own).max() <= INT8_SHARE * np.ptp(own)
    assert (rounded.argmax(1) == own.argmax(1)).mean() > 0.95
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["classes"] == ["benign", "malignant"]
    assert about["weights_sha256"] == read(hospitals / "results.json").weights_sha256
    assert {each["file"] for each in about["onnx"]["files"]} == {FP32, INT8}
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "tabular-classification"
    assert "these weights are not private" in card
    assert command(hospitals, "--out", tmp_path / "out", main=MAINS["export"]).code == 2


def test_predictions_of_held_out_rows_are_as_good_as_the_run_said(hospitals, command, tmp_path):
    rows = divide(*_rows()).test["county"]
    frame = load_breast_cancer(as_frame=True).frame.iloc[rows]
    frame.drop(columns="target").to_csv(tmp_path / "asked.csv", index=False)
    found = answers(command(hospitals, tmp_path / "asked.csv", main=MAINS["predict"]))
    assert [each["row"] for each in found] == [str(n) for n in range(2, len(rows) + 2)]
    right = [
        (each["prediction"] == "malignant") == (own == 0)
        for each, own in zip(found, frame["target"], strict=True)
    ]
    said = read(hospitals / "results.json").evaluation.value("county")
    assert np.mean(right) == pytest.approx(said)
    assert all(
        float(each["p_benign"]) + float(each["p_malignant"]) == pytest.approx(1) for each in found
    )


def test_answers_go_to_a_file_that_is_not_there(hospitals, command, tmp_path):
    frame = load_breast_cancer(as_frame=True).frame.head(4)
    frame.to_json(tmp_path / "asked.jsonl", orient="records", lines=True)
    given = (hospitals, tmp_path / "asked.jsonl", "--out", tmp_path / "answers.csv")
    assert "4 rows" in command(*given, main=MAINS["predict"]).out
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 4
    assert command(*given, main=MAINS["predict"]).code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.csv"], "no such file"),
        (["short.csv"], "column 'mean radius' is missing"),
        (["wrong.csv"], "row 3, column 'mean area': value '-4'"),
        (["wrong.csv", "--at", "domain.rood=x"], "no such key"),
        (["wrong.csv", "--at", "domain"], "KEY=PATH"),
        (["wrong.csv", "--column", "mean area"], "leave it out"),
        (["wrong.csv", "--top", "0"], "--top"),
        ([], "FILE"),
    ],
)
def test_what_cannot_be_asked_is_said(hospitals, command, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    frame = load_breast_cancer(as_frame=True).frame.head(4).astype(str)
    frame.drop(columns="mean radius").to_csv("short.csv", index=False)
    frame.loc[1, "mean area"] = "-4"
    frame.to_csv("wrong.csv", index=False)
    ended = command(hospitals, *words, main=MAINS["predict"])
    assert ended.code == 2
    assert told in ended.err


def test_a_plain_transformer_scores_as_the_runs_model(desks, command, monkeypatch, tmp_path):
    from safetensors.torch import load_file
    from text_desks import TEXTS
    from transformers import AutoModel

    ended = command(desks, "--no-onnx", "--out", tmp_path / "out", main=MAINS["export"])
    assert ended.code == 0, ended.err
    scores = scores_of_card(tmp_path / "out", monkeypatch)
    run = load_run(desks)
    with torch.no_grad():
        own = run.module(run.reading.reader.of(TEXTS))
    plain = torch.stack([scores(text) for text in TEXTS])
    torch.testing.assert_close(plain, own, atol=1e-5, rtol=1e-5)
    names = load_file(tmp_path / "out" / "model.safetensors")
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    before = run.module.backbone.model.encoder.layer[0].attention.self.query.base_layer.weight
    merged = AutoModel.from_pretrained(tmp_path / "out")
    after = merged.encoder.layer[0].attention.self.query.weight
    assert (after - before).abs().max() > 1e-3  # it did train
    assert "ONNX files were not asked for" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "train"), [("bert", "lora"), ("gpt2", "all")])
def test_a_transformer_as_onnx_scores_as_the_runs_model(kind, train, command, tmp_path):
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    from text_desks import TEXTS, run_of_desks

    desks = run_of_desks(tmp_path, kind, train)
    ended = command(desks, main=MAINS["export"])
    assert ended.code == 0, ended.err
    run = load_run(desks)
    tokens = run.reading.reader.of(TEXTS)
    with torch.no_grad():
        own = run.module(tokens).numpy()
    # Of another length than the examples that it was made with.
    shown = tokens[:, : int((tokens >= 0).sum(1).max())]
    given = {"input_ids": shown.long().clamp(0), "attention_mask": (shown >= 0).long()}
    found = {
        file: onnx_scores(desks / "export" / file, **{k: v.numpy() for k, v in given.items()})
        for file in (FP32, INT8)
    }
    assert np.abs(found[FP32] - own).max() <= TOLERANCE * max(1, np.abs(own).max())
    assert np.abs(found[INT8] - own).max() <= INT8_SHARE * np.ptp(own)


def test_texts_are_asked_by_line_or_column(desks, command, tmp_path):
    from text_desks import TEXTS

    (tmp_path / "asked.txt").write_text("\n\n".join(TEXTS) + "\n")
    lines = answers(command(desks, tmp_path / "asked.txt", main=MAINS["predict"]))
    assert [each["row"] for each in lines] == [str(2 * n + 1) for n in range(len(TEXTS))]
    pd.DataFrame({"said": TEXTS}).to_csv(tmp_path / "asked.csv", index=False)
    given = (desks, tmp_path / "asked.csv", "--column", "said")
    table = answers(command(*given, main=MAINS["predict"]))
    assert [each["p_card"] for each in table] == [each["p_card"] for each in lines]
    run = load_run(desks)
    with torch.no_grad():
        own = run.module(run.reading.reader.of(TEXTS)).softmax(1)[:, 0]
    assert [float(each["p_card"]) for each in lines] == pytest.approx(own.tolist(), abs=1e-6)


def test_neither_needs_the_rows(desks, command, tmp_path):
    """The data are gone, and the schema file lies elsewhere."""
    from text_desks import TEXTS

    (desks.parent / "rows.csv").rename(tmp_path / "rows.csv")
    (desks.parent / "desks.yaml").rename(tmp_path / "desks.yaml")
    try:
        given = (desks, "--no-onnx", "--out", tmp_path / "out")
        assert command(*given, main=MAINS["export"]).code == 0
        (tmp_path / "asked.txt").write_text(TEXTS[0])
        asked = command(desks, tmp_path / "asked.txt", main=MAINS["predict"])
        assert asked.code == 2
        assert "--at domain.root=PATH, or domain.schema" in asked.err
        at = ("--at", f"domain.schema={tmp_path / 'desks.yaml'}")
        assert len(answers(command(desks, tmp_path / "asked.txt", *at, main=MAINS["predict"]))) == 1
    finally:
        (tmp_path / "rows.csv").rename(desks.parent / "rows.csv")
        (tmp_path / "desks.yaml").rename(desks.parent / "desks.yaml")

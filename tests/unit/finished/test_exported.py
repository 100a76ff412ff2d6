"""An export is complete or not there, and says what is missing by its exit code."""

import json

import pytest
from finished_run import write_run

import commands.export
from tacit.errors import RunDirectoryError
from tacit.finished import export as exporting
from tacit.finished.export import export
from tacit.finished.model import load_run
from tacit.finished.onnx import Onnx


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("exported") / "run")


def test_it_is_all_there_for_others_to_read(run, tmp_path):
    out = tmp_path / "deep" / "out"
    export(load_run(run), out, onnx=False)
    names = {path.name for path in out.iterdir()}
    assert names == {"README.md", "export.json", "model.safetensors"}
    assert {oct(path.stat().st_mode & 0o777) for path in out.iterdir()} == {"0o644"}
    about = json.loads((out / "export.json").read_text())
    assert about["files"].keys() == names - {"export.json"}
    assert about["given"] == {"features": [0]}


def test_what_fails_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "render", lambda *given: (_ for _ in ()).throw(KeyError("no")))
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyError):
        export(load_run(run), tmp_path / "out", onnx=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_written_over(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"not empty \(it holds notes\.txt\)"):
        export(load_run(run), tmp_path / "out", onnx=False)
    with pytest.raises(RunDirectoryError, match="is a file"):
        export(load_run(run), tmp_path / "out" / "notes.txt", onnx=False)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_onnx_that_cannot_be_is_said_at_the_end(run, command, tmp_path, monkeypatch):
    refused = Onnx((), ("model.onnx: cannot be made of this model: why",))
    monkeypatch.setattr(exporting, "write_onnx", lambda *given: refused)
    for place in ("tacit.finished.export", "tacit.finished.onnx"):
        monkeypatch.setattr(f"{place}.check_onnx_there", lambda: None)
    ended = command(run, "--out", tmp_path / "out", main=commands.export._main)
    assert ended.code == 4
    assert ended.err == "model.onnx: cannot be made of this model: why\n"
    assert (
        "**model.onnx: cannot be made of this model: why.**"
        in (tmp_path / "out" / "README.md").read_text()
    )

"""Weights on disk, and files that are complete or absent."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save, save_file
from torch import nn

from tacit.errors import ModelError
from tacit.files import replace_file
from tacit.models.tabular import Tabular
from tacit.models.weights import file_parts, load_state, load_weights, save_weights, state_arrays

WEIGHTS = {
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "scalar": np.array(2.5, dtype=np.float32),
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    return path, save_weights(path, WEIGHTS, {"architecture": "linear"})


def test_weights_come_back(saved):
    path, digest = saved
    found = load_weights(path)
    assert found.keys() == WEIGHTS.keys()
    assert all(np.array_equal(found[name], WEIGHTS[name]) for name in WEIGHTS)
    assert all(found[name].shape == WEIGHTS[name].shape for name in WEIGHTS)
    about = json.loads(path.with_suffix(".json").read_text())
    assert about == {"architecture": "linear", "file": "model.safetensors", "sha256": digest}


def test_the_same_weights_have_the_same_bytes(saved, tmp_path):
    path, digest = saved
    other = tmp_path / "other.safetensors"
    assert save_weights(other, WEIGHTS, {}) == digest
    assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_missing_file_is_named(saved, suffix):
    path, _ = saved
    path.with_suffix(suffix).unlink()
    with pytest.raises(ModelError, match=f"model{suffix}: there is no such file"):
        load_weights(path)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_changed_byte_is_found(saved, place):
    path, digest = saved
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"says {digest}: the file was damaged or exchanged"):
        load_weights(path)


def test_exchanged_weights_are_found(saved):
    path, _ = saved
    save_file({"head.weight": np.zeros((2, 3), np.float32)}, path)
    with pytest.raises(ModelError, match="damaged or exchanged"):
        load_weights(path)


@pytest.mark.parametrize("about", ["", "{", "[]", "{}", "null", '"text"', "\xff"])
def test_a_description_that_says_nothing_is_refused(saved, about):
    path, _ = saved
    path.with_suffix(".json").write_bytes(about.encode("latin-1"))
    with pytest.raises(ModelError, match=r"model\.json: cannot be read"):
        load_weights(path)


def test_what_is_no_safetensors_file_is_refused_though_its_hash_is_right(saved):
    import hashlib

    path, _ = saved
    path.write_bytes(b"not tensors")
    digest = hashlib.sha256(b"not tensors").hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_weights(path)


# State of a whole model


def tabular(seed, classes=2):
    torch.manual_seed(seed)
    model = Tabular(hidden=6, embedding=4).build((5,), classes)
    model.standardise(torch.randn(9, 5))
    nn.init.normal_(model.head.weight)
    return model


def test_state_comes_back_without_the_head():
    """The head belongs to the task: another number of classes is no obstacle."""
    one, other = tabular(0), tabular(1, classes=3)
    head = other.head.weight.clone()
    load_state(other, state_arrays(one), "x.safetensors")
    for name, tensor in one.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(tensor, other.state_dict()[name])
    assert torch.equal(other.head.weight, head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.bias": None}, r"x\.safetensors: does not fit the model: encoder\.bias on one"),
        ({"extra": np.zeros(1, np.float32)}, "does not fit the model: extra on one side only"),
        ({"encoder.bias": np.zeros(7, np.float32)}, r"encoder.bias has shape \(7,\).*needs \(4,\)"),
    ],
)
def test_state_that_does_not_fit_is_refused(change, message):
    state = {**state_arrays(tabular(0)), **change}
    with pytest.raises(ModelError, match=message):
        load_state(tabular(1), {k: v for k, v in state.items() if v is not None}, "x.safetensors")


# Files that are complete or absent


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


class PowerCutError(Exception):
    pass


def cut(*_):
    raise PowerCutError


@pytest.mark.parametrize("where", ["fsync", "write", "rename"])
def test_a_crash_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, where):
    path = tmp_path / "file"
    replace_file(path, b"old")
    content = b"new"
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", cut)
    elif where == "rename":
        monkeypatch.setattr(Path, "replace", cut)
    else:
        content = memoryview(b"new")
        content.release()
    with pytest.raises((PowerCutError, ValueError)):
        replace_file(path, content)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(file):
        done.append(f"fsync {os.readlink(f'/proc/self/fd/{file}')}")
        fsync(file)

    def watched_replace(self, target):
        assert self.read_bytes() == b"whole"
        assert self.parent == target.parent  # a rename is atomic within a file system
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    path = tmp_path / "file"
    replace_file(path, b"whole")
    partial = path.with_name(f".file.{os.getpid()}")
    assert done == [f"fsync {partial}", "rename", f"fsync {tmp_path}"]


def test_a_crash_while_weights_are_written_is_found_when_they_are_read(saved, monkeypatch):
    """New weights beside the old description: neither the old nor the new, so refused."""
    path, _ = saved
    replace = Path.replace

    def cut_at_the_description(self, target):
        if target.suffix == ".json":
            raise PowerCutError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_at_the_description)
    with pytest.raises(PowerCutError):
        save_weights(path, {"other": np.zeros(1, np.float32)}, {})
    with pytest.raises(ModelError, match="damaged or exchanged"):
        load_weights(path)


@pytest.mark.parametrize("metadata", [None, {"format": "ε", "quote": '"'}, {}])
def test_a_file_is_what_the_library_writes(metadata):
    arrays = {
        "ε/b": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "a": np.array(2.5, np.float32),
        "wide": np.arange(3, dtype=np.float64),
        "count": np.array([7], np.int64),
        "none": np.zeros((0, 4), np.float32),
    }
    content = b"".join(file_parts(arrays, metadata))
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    theirs = save(ordered, metadata=metadata)
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    # The order of the metadata is chance in the library; the rest is the same to the byte.
    assert json.loads(content[8 : 8 + length]) == json.loads(theirs[8 : 8 + length])
    assert content[8 + length :] == theirs[8 + length :]
    assert {n: a.tolist() for n, a in load(content).items()} == {
        n: a.tolist() for n, a in arrays.items()
    }


def test_what_is_no_number_is_not_kept():
    with pytest.raises(ValueError, match="only real and whole numbers"):
        list(file_parts({"x": np.array(["text"])}))

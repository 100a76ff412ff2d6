"""A checkpoint is complete or absent, holds all that the next round needs, and no generator."""

import errno
import os

import numpy as np
import pytest
from rounds_example import FEDADAM, Sites, run, run_plan

from server.checkpoint import FILE, load_checkpoint, save_checkpoint
from server.run_plan import State
from tacit.errors import RunDirectoryError
from tacit.privacy.chain import Receipt


@pytest.fixture
def state():
    return State(
        3,
        {"w": np.array([[1.5, -0.0]], np.float32), "b": np.array([2.0**-149], np.float32)},
        {"m_t/w": np.array([[0.1, 0.2]]), "m_t/b": np.array([1e-300])},
        {"east": Receipt(7, "a" * 64), "north": Receipt(9, "b" * 64)},
    )


def test_what_was_saved_comes_back_bit_for_bit(tmp_path, state):
    save_checkpoint(tmp_path, "run-1", state)
    run_name, back = load_checkpoint(tmp_path)
    assert (run_name, back.round, back.receipts) == ("run-1", 3, state.receipts)
    assert list(back.weights) == ["w", "b"]
    for one, two in ((state.weights, back.weights), (state.memory, back.memory)):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].dtype == two[name].dtype
            assert one[name].tobytes() == two[name].tobytes()


def test_a_resume_through_a_file_gives_the_same_bits(tmp_path):
    """FedAdam's moments survive the round trip through the disk."""
    whole, seen = run(Sites(), FEDADAM, run_plan(rounds=5))
    for stop in range(4):
        state, _ = seen[stop]
        save_checkpoint(tmp_path, "run-1", state)
        _, loaded = load_checkpoint(tmp_path)
        resumed, _ = run(Sites(), FEDADAM, run_plan(rounds=5), loaded)
        for name, array in whole.weights.items():
            assert resumed.weights[name].tobytes() == array.tobytes()


def test_there_is_none(tmp_path):
    with pytest.raises(RunDirectoryError, match="no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content.replace(b"tacit/checkpoint/2", b"tacit/checkpoint/9"),
        lambda content: content.replace(b"weights/w", b"weights/v"),
        lambda content: content.replace(b'"receipts"', b'"receipt_"'),
        lambda content: content.replace(b'"round":"3"', b'"round":"x"'),
        lambda content: b"\x80\x04K*." + content[5:],
    ],
    ids=[
        "empty",
        "length cut",
        "header cut",
        "data cut",
        "length huge",
        "format",
        "weight missing",
        "key missing",
        "round no number",
        "a pickle",
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, state, damage):
    save_checkpoint(tmp_path, "run-1", state)
    path = tmp_path / FILE
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    with pytest.raises(RunDirectoryError, match=FILE):
        load_checkpoint(tmp_path)


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_leaves_the_checkpoint_before(tmp_path, state, monkeypatch, where):
    save_checkpoint(tmp_path, "run-1", state)
    with monkeypatch.context() as patched:
        patched.setattr(os, where, full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path, "run-1", State(4, state.weights))
    assert load_checkpoint(tmp_path)[1].round == 3
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_part_is_never_seen_under_the_name(tmp_path, state, monkeypatch):
    """The new content is whole and synced before it takes the name."""
    save_checkpoint(tmp_path, "run-1", state)
    before = (tmp_path / FILE).read_bytes()
    seen = []
    honest = os.fsync

    def look(descriptor):
        seen.append((tmp_path / FILE).read_bytes() == before)
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    save_checkpoint(tmp_path, "run-1", State(4, state.weights))
    # The file is synced while the old one has the name; then the folder, with the new one.
    assert seen == [True, False]

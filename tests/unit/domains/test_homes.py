"""Spoken digits at six homes: which takes train, and what is refused in the recordings."""

import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.homes import CLASSES, SPEAKERS, Homes
from tacit.domains.spectrogram import picture, power
from tacit.errors import ConfigurationError, DataError

ROOT = Path(os.environ.get("TACIT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "fsdd"
needs_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no data in {ROOT}: set TACIT_DATA to the folder of data sets"
)
TAKES = 7
"""Of each digit by each speaker in the made-up files: five are held out, two train."""


def said(speaker, digit, take):
    """A made-up sound: a pitch for each digit and a loudness for each take."""
    time = np.arange(900 + 100 * take) / 8000
    pitch = 300 + 150 * digit + 20 * SPEAKERS.index(speaker)
    return (4000 * (1 + take) * np.sin(2 * np.pi * pitch * time)).astype(np.int16)


def recordings(takes=TAKES):
    return [
        (speaker, digit, take)
        for speaker in SPEAKERS
        for digit in range(len(CLASSES))
        for take in range(takes)
    ]


def pack(path, **changed):
    sounds = [said(*recording) for recording in recordings()]
    speakers, digits, takes = map(np.array, zip(*recordings(), strict=True))
    arrays = {
        "audio": np.concatenate(sounds),
        "offsets": np.cumsum([0, *map(len, sounds)]),
        "digit": digits,
        "speaker": speakers,
        "index": takes,
    }
    kept = {name: array for name, array in {**arrays, **changed}.items() if array is not None}
    np.savez(path, **kept)
    return path


def write_wave(path, samples, rate=8000, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("packed") / "fsdd.npz")


@pytest.fixture
def waves(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for speaker, digit, take in recordings():
        write_wave(folder / f"{digit}_{speaker}_{take}.wav", said(speaker, digit, take))
    return tmp_path


def homes_of(path, takes=2):
    return Homes(str(path), takes=takes)


def test_the_first_takes_are_held_out_and_the_next_train(packed):
    domain = homes_of(packed)
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    assert domain.declared_sizes == dict.fromkeys(SPEAKERS, 20)
    for speaker, held in data.items():
        for examples, takes in ((held.train, range(5, 7)), (held.test, range(5))):
            wanted = [(take, digit) for take in takes for digit in range(10)]
            assert examples.targets.tolist() == [digit for _, digit in wanted]
            for row, (take, digit) in zip(examples.features, wanted, strict=True):
                assert np.array_equal(row[0], picture(power(said(speaker, digit, take))))


def test_files_of_sound_and_a_packed_copy_are_the_same(packed, waves):
    one, other = homes_of(packed.parent).load(), homes_of(waves).load()
    inside = homes_of(waves / "recordings").load()
    for speaker in SPEAKERS:
        for part in ("train", "test"):
            a, b, c = (getattr(data[speaker], part) for data in (one, other, inside))
            assert torch.equal(a.features, b.features)
            assert torch.equal(a.features, c.features)
            assert torch.equal(a.targets, b.targets)


def test_one_home_is_read_alone(waves):
    whole = homes_of(waves).load()["theo"]
    for path in (waves / "recordings").glob("*_lucas_*.wav"):
        path.write_bytes(b"broken")
    alone = homes_of(waves).load_site("theo")
    assert torch.equal(alone.train.features, whole.train.features)
    with pytest.raises(DataError, match=r"_lucas_.*cannot be read"):
        homes_of(waves).load_site("lucas")


def test_the_pool_is_made_up_and_needs_no_file():
    pool = Homes("nowhere").public_pool()
    assert pool.shape == (1000, 1, 32, 32)
    assert 0.1 < pool.std((0, 1)).mean() < 0.4


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"digit": None}, "no array 'digit'"),
        ({"audio": np.zeros(4)}, r"audio is float64 \[4\], int16 \[n\]"),
        ({"index": np.arange(3)}, "420, 420 and 3 rows, and offsets 421"),
        ({"digit": np.full(420, 12)}, "row 1, column 'digit': value 12"),
        ({"speaker": np.full(420, "hal")}, "row 1, column 'speaker': value 'hal'"),
        ({"offsets": np.arange(421) * 10**6}, "row 1, column 'offsets': 0 to 1000000"),
        ({"index": np.zeros(420, int)}, "has take 0 of digit 0 by george twice"),
        ({"index": np.array([t for *_, t in recordings()]) + 1}, "take 0 of digit 0 by george"),
        ({"digit": np.array([{}] * 420)}, "cannot be read as an .npz"),
    ],
)
def test_bad_arrays_are_named(tmp_path, changed, says):
    with pytest.raises(DataError, match=says):
        homes_of(pack(tmp_path / "bad.npz", **changed), takes=1).load()


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "1_theo_6.wav").unlink(), "take 6 of digit 1 by theo is missing"),
        (lambda f: (f / "1_theo_6.wav").write_bytes(b"RIFF"), "1_theo_6.wav: cannot be read"),
        (lambda f: (f / "1_theo_6.wav").rename(f / "one.wav"), "one.wav: is not named"),
        (lambda f: (f / "1_theo_6.wav").rename(f / "1_hal_6.wav"), "1_hal_6.wav: is not named"),
        (
            lambda f: write_wave(f / "1_theo_6.wav", np.zeros(8, "<i2"), rate=16000),
            "1 channels of 16 bits at 16000 Hz",
        ),
        (
            lambda f: write_wave(f / "1_theo_6.wav", np.zeros(8, "<i2"), channels=2),
            "2 channels of 16 bits",
        ),
    ],
)
def test_bad_files_of_sound_are_named(waves, break_it, says):
    break_it(waves / "recordings")
    with pytest.raises(DataError, match=says):
        homes_of(waves).load()


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.npz and no \.wav"):
        homes_of(tmp_path).load()
    with pytest.raises(DataError, match=r"nowhere: holds no"):
        homes_of(tmp_path / "nowhere").load()


@pytest.mark.parametrize("takes", [0, 46, 2.0, True])
def test_takes_out_of_range_are_named(takes):
    with pytest.raises(ConfigurationError, match=rf"domain\.takes={takes}"):
        Homes("x", takes=takes)


def test_a_run_says_that_the_speaker_is_not_protected(packed, command, tmp_path):
    run = tmp_path / "run"
    ended = command(
        *("domain=homes", f"domain.root={packed}", "domain.takes=2", "training.rounds=2"),
        *("privacy=record", "compare=false", "model=linear", f"run.dir={run}"),
    )
    assert ended.code == 0, ended.err
    results = json.loads((run / "results.json").read_text())
    assert list(results["evaluation"]["sites"]) == list(SPEAKERS)
    assert results["domain"]["not_protected"][0].startswith("the speaker")
    assert results["privacy"]["guarantees"][0]["unit"] == "record"


@needs_data
def test_the_real_recordings_are_read_whole():
    domain = Homes(str(ROOT), takes=45)
    data = domain.load()
    check_sites(data, domain.card)
    for held in data.values():
        assert held.train.targets.bincount().tolist() == [45] * 10
        assert held.test.targets.bincount().tolist() == [5] * 10
        assert 0.1 < held.train.features.std((0, 1)).mean() < 0.4

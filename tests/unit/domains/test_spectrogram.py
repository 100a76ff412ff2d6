"""Pictures of sounds: where a pitch lies, what is silence, and that nothing is too short."""

import numpy as np
import pytest

from tacit.domains.spectrogram import BANDS, BINS, FRAMES, picture, power
from tacit.domains.voices import spoken


def tone(pitch, seconds=0.3, loud=8000.0):
    time = np.arange(int(8000 * seconds)) / 8000
    return (loud * np.sin(2 * np.pi * pitch * time)).astype(np.int16)


def test_a_higher_pitch_lies_in_a_higher_band():
    bands = [picture(power(tone(pitch)))[FRAMES // 2].argmax() for pitch in (200, 700, 1500, 3500)]
    assert bands == sorted(set(bands))


def test_neither_loudness_nor_silence_around_it_changes_a_word():
    plain = picture(power(tone(500)))
    assert np.abs(picture(power(tone(500, loud=16000))) - plain).max() < 0.02
    # Whole hops, so that frames lie where they did.
    quiet = np.zeros(80 * 20, np.int16)
    padded = picture(power(np.concatenate([quiet, tone(500), quiet])))
    assert np.abs(padded[4:-4] - plain[4:-4]).max() < 0.02


def test_a_longer_word_has_the_same_picture():
    short, long = (picture(power(tone(900, seconds))) for seconds in (0.2, 0.6))
    assert np.abs(short - long).max() < 0.05


@pytest.mark.parametrize("samples", [0, 1, 199, 200, 279])
def test_any_length_makes_a_picture(samples):
    made = picture(power(np.full(samples, 1000, np.int16)))
    assert made.shape == (FRAMES, BANDS)
    assert np.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_silence_is_dark():
    assert not picture(power(np.zeros(4000, np.int16))).any()


def test_a_full_scale_square_stays_in_range():
    square = np.where(np.arange(4000) // 20 % 2 == 0, 32767, -32768).astype(np.int16)
    made = picture(power(square))
    assert made.max() <= 1
    assert made.dtype == np.float32


def test_made_up_words_differ_and_follow_from_the_seed():
    words = [spoken(np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert np.array_equal(words[0], words[2])
    assert words[0].shape[1] == BINS
    assert (words[0] > 0).all()
    assert np.isfinite(words[1]).all()
    assert np.abs(picture(words[0]) - picture(words[1])).mean() > 0.05


def test_made_up_voices_have_the_pitch_of_people():
    """Within the first 400 Hz something is voiced in nearly every word."""
    low = [spoken(np.random.default_rng(seed))[:, 2:13].max() for seed in range(30)]
    assert np.median(low) > 1e-2

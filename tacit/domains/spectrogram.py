"""Pictures of short sounds: which pitch is how loud at which part of a word, whatever its length.

A word is cut out of the silence around it and stretched to a fixed number of frames, and loudness
is counted from its own loudest frame. All other numbers are fixed and public.
"""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RATE: Final = 8000
"""Samples a second."""
FRAME, HOP, FOURIER = 200, 80, 256
"""Samples of a frame (25 ms), from one frame to the next (10 ms), and of its Fourier transform."""
BINS: Final = FOURIER // 2 + 1
BANDS: Final = 32
FRAMES: Final = 32
LOWEST: Final = 60.0
"""Where the lowest band begins, in Hz."""
QUIET: Final = 20.0
"""A word begins and ends where it is so many dB below its loudest frame."""
FLOOR: Final = 1e-5
"""Power of a band, relative to the loudest frame, below which nothing is told apart."""


def power(samples: npt.NDArray[np.int16]) -> Array:
    """Return the power of each frame at each frequency, [frames, `BINS`].

    Less than a frame of samples, even none, counts as one with silence after it.
    """
    sound = samples.astype(np.float64) / 2**15
    sound = np.pad(sound, (0, max(0, FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    spectrum: Array = np.abs(np.fft.rfft(frames * np.hanning(FRAME), FOURIER)) ** 2
    return spectrum


def picture(spectrum: Array) -> npt.NDArray[np.float32]:
    """Return the picture of a word, [`FRAMES`, `BANDS`] from 0 (silent) to 1.

    Parameters
    ----------
    spectrum
        Power [frames, `BINS`].
    """
    bands = spectrum @ _filters().T
    loudness = bands.sum(1)
    loudest = loudness.max()
    if loudest == 0:
        return np.zeros((FRAMES, BANDS), np.float32)
    heard = np.flatnonzero(loudness >= loudest * 10 ** (-QUIET / 10))
    word = bands[heard[0] : heard[-1] + 1] / loudest
    stretched = _stretched(np.log(word + FLOOR))
    scaled: npt.NDArray[np.float32] = (1 - stretched / np.log(FLOOR)).clip(0, 1).astype(np.float32)
    return scaled


def _stretched(frames: Array) -> Array:
    """Interpolate frames [n, bands] to [`FRAMES`, bands]."""
    place = np.linspace(0, len(frames) - 1, FRAMES)
    before = place.astype(np.int64)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (place - before)[:, None]
    stretched: Array = frames[before] * (1 - share) + frames[after] * share
    return stretched


@cache
def _filters() -> Array:
    """Return overlapping triangles [bands, bins], equally wide on the mel scale of pitch.

    m = 2595 log10(1 + f / 700): O'Shaughnessy 1987, "Speech communication", page 150.
    """
    top = RATE / 2
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOWEST, top))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequency = np.linspace(0, top, BINS)
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    filters: Array = np.minimum(rising, falling).clip(0)
    return filters

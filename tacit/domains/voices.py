"""Made-up words by made-up voices: what speech looks like in general, from published averages.

A word is a row of sounds that follow each other at random, a voice a size of the throat, a pitch
and a tempo drawn anew for each word. A sound is told by its resonances (formants), through which a
pitched source goes, and by a band of noise. Nobody's voice is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from tacit.domains.spectrogram import BINS, HOP, RATE, Array


@dataclass(frozen=True, slots=True)
class Phone:
    """A sound: formants in Hz, how loud its pitch is, its noise (Hz, Hz wide, how loud), its s."""

    formants: tuple[float, float, float]
    voiced: float
    noise: tuple[float, float, float]
    seconds: float


_BREATH: Final = (2500.0, 2000.0, 0.01)


def _vowel(first: float, second: float, third: float) -> Phone:
    return Phone((first, second, third), 1.0, _BREATH, 0.13)


def _glide(first: float, second: float, third: float) -> Phone:
    return Phone((first, second, third), 0.5, _BREATH, 0.07)


def _hiss(centre: float, width: float, loud: float, voiced: float) -> Phone:
    return Phone((300, 1500, 2500), voiced, (centre, width, loud), 0.11)


def _burst(centre: float) -> Phone:
    return Phone((300, 1500, 2500), 0.0, (centre, 1200, 0.6), 0.025)


SILENCE: Final = Phone((300, 1500, 2500), 0.0, (2000, 2000, 0.0), 0.05)
# Men's mean formants of Peterson and Barney 1952 ("Control methods used in a study of the vowels",
# J. Acoust. Soc. Am. 24, 175-184, table II).
VOWELS: Final = tuple(
    _vowel(*formants)
    for formants in (
        *((270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410)),
        *((730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240)),
        *((640, 1190, 2390), (490, 1350, 1690)),
    )
)
# Of the order of magnitude of textbooks (Stevens 1998, "Acoustic phonetics"); the numbers are ours.
CONSONANTS: Final[Mapping[str, tuple[Phone, ...]]] = MappingProxyType(
    {
        "glides": (
            *(_glide(300, 650, 2200), _glide(400, 1150, 1500)),
            *(_glide(380, 1000, 2600), _glide(280, 2250, 3000)),
        ),
        "nasals": (_glide(280, 1500, 2500), _glide(280, 1000, 2200)),
        "hisses": (
            *(_hiss(3600, 700, 1.0, 0), _hiss(2800, 2500, 0.25, 0), _hiss(3000, 2000, 0.25, 0)),
            *(_hiss(2500, 700, 1.0, 0), _hiss(3500, 700, 0.6, 0.25), _hiss(2500, 2500, 0.2, 0.25)),
        ),
        "bursts": (_burst(3200), _burst(1800), _burst(900)),
    }
)
BANDWIDTHS: Final = np.array([60.0, 90.0, 130.0])
"""Of the formants, in Hz."""
LOBE: Final = 60.0
"""Spread of a harmonic in a frame of 25 ms, in Hz."""


def spoken(rng: np.random.Generator) -> Array:
    """Return the power spectrum [frames, `BINS`] of a made-up word by a made-up voice."""
    tempo = np.exp(rng.normal(-0.05, 0.2))
    track = _track(_word(rng), tempo, rng)
    count = len(track)
    # Throats differ in length, which moves all formants, and in shape, which moves each.
    formants = track[:, :3] * np.exp(rng.normal(0.03, 0.09) + rng.normal(0, 0.04, 3))
    falling = rng.normal(0, 0.1) * np.linspace(-1, 1, count) - 0.1 * np.linspace(0, 1, count)
    pitch = np.exp(rng.uniform(np.log(85), np.log(230)) + falling)[:, None]
    frequency = np.linspace(0, RATE / 2, BINS)
    squares = formants[:, :, None] ** 2
    # A resonance of second order for each formant.
    resonance = squares**2 / (
        (squares - frequency**2) ** 2 + (BANDWIDTHS[:, None] * frequency) ** 2 + 1
    )
    tilt = (np.maximum(frequency, 200) / 200) ** (rng.uniform(-14, -6) / 3.01)
    from_harmonic = (frequency + pitch / 2) % pitch - pitch / 2
    comb = np.exp(-((from_harmonic / LOBE) ** 2)) * (frequency > pitch / 2)
    voiced = track[:, 3:4] ** 2 * resonance.prod(1) * tilt * comb
    voiced /= voiced.max() + 1e-12
    centre, width, loud = track[:, 4:7].T[:, :, None]
    centre = centre * np.exp(rng.normal(0, 0.05))
    hiss = (loud / 4) ** 2 * (np.exp(-(((frequency - centre) / (width / 2)) ** 2)) + 0.02)
    # The power of noise in a frame is random, exponentially distributed.
    noise = hiss / 4 + 10 ** rng.uniform(-7.5, -4)
    power: Array = voiced + noise * rng.exponential(size=voiced.shape)
    return power


def _word(rng: np.random.Generator) -> list[Phone]:
    """Draw one or two syllables."""

    def consonant() -> Phone:
        kinds = list(CONSONANTS.values())
        kind = kinds[rng.choice(4, p=[0.27, 0.13, 0.4, 0.2])]
        return kind[rng.integers(len(kind))]

    def vowel() -> Phone:
        return VOWELS[rng.integers(len(VOWELS))]

    phones = []
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.85:
            phones.append(consonant())
        if rng.random() < 0.25:
            phones.append(CONSONANTS["glides"][rng.integers(4)])
        phones += [vowel()] if rng.random() < 0.6 else [vowel(), vowel()]
    return [*phones, consonant()] if rng.random() < 0.6 else phones


def _track(phones: list[Phone], tempo: float, rng: np.random.Generator) -> Array:
    """Return formants, pitch and noise of every frame, [frames, 7]; sounds flow into each other."""
    rows: list[tuple[float, ...]] = []
    for phone in phones:
        stop = phone in CONSONANTS["bursts"]
        for part in (SILENCE, phone) if stop else (phone,):
            seconds = part.seconds * tempo * np.exp(rng.normal(0, 0.2))
            row = (*part.formants, part.voiced, *part.noise)
            # At four points a frame, of which one is kept once they are smooth.
            rows += [row] * max(2, round(4 * seconds * RATE / HOP))
    track = np.pad(np.array(rows), ((8, 8), (0, 0)), mode="edge")
    window = np.hanning(19)[1:-1]
    smooth = np.stack(
        [np.convolve(column, window / window.sum(), "valid") for column in track.T], axis=1
    )
    kept: Array = smooth[::4]
    return kept

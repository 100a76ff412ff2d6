"""Homes whose devices are told digits: the six speakers of the Free Spoken Digit Dataset.

Jackson et al., Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA
4.0): six people who say each digit from zero to nine fifty times. Recordings are real; that each
speaker is a home is ours. By the data set's own split the first five takes of a digit are for
testing, and the others train, of which a home has the first few: a device is not told each word
many times before it is of use, and with few takes a home alone has too little. With all 45 it has
enough.
"""

import re
import wave
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.spectrogram import BANDS, FRAMES, RATE, picture, power
from tacit.domains.voices import spoken
from tacit.errors import ConfigurationError, DataError

CLASSES: Final = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
SPEAKERS: Final = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
HELD_OUT: Final = 5
"""Takes 0 to 4 of each digit are the official test set."""
TAKES: Final = 50
WORDS: Final = 1000
"""Made-up words of the public pool."""
SEED: Final = 0
"""Of the program that makes them up; another seed is another pool."""
NAME: Final = re.compile(r"(\d)_([a-z]+)_(\d+)")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Recording:
    """One digit said once: who, which, the how manieth time from 0 on, and samples at 8 kHz."""

    speaker: str
    digit: int
    take: int
    samples: Samples


class Homes:
    """Spoken digits at six homes.

    Parameters
    ----------
    root
        Folder of the recordings, ``DIGIT_SPEAKER_TAKE.wav``, or one that has them in a folder
        ``recordings``; or an ``.npz`` (or the folder that holds it) with arrays ``audio`` (all
        samples end to end, int16), ``offsets`` (where each recording begins, and the end),
        ``digit``, ``speaker`` and ``index`` (the take).
    takes
        How often a home has said each digit to train on, from 1 to 45.

    Raises
    ------
    ConfigurationError
        `takes` is out of range.
    """

    inputs = (1, FRAMES, BANDS)
    groups: tuple[slice, ...] = ()

    def __init__(self, root: str, takes: int = 5) -> None:
        if type(takes) is not int or not 1 <= takes <= TAKES - HELD_OUT:
            raise ConfigurationError(
                f"domain.takes={takes}: must be a whole number from 1 to {TAKES - HELD_OUT}"
            )
        self.root = Path(root)
        self.takes = takes

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Recordings that train at each home, which are public by the data set's design."""
        return dict.fromkeys(SPEAKERS, self.takes * len(CLASSES))

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="homes",
            title="Spoken digits at six homes",
            description=(
                "Which digit a person says to a device at home, from a picture of pitch over time "
                "(Free Spoken Digit Dataset, Jackson et al., CC BY-SA 4.0). Each of its six "
                "speakers, with an accent and a microphone of its own, is a home that has said "
                f"each digit {self.takes} times, and is measured on 50 further recordings."
            ),
            classes=CLASSES,
            metric=Metric.ACCURACY,
            unit_protected="one recording of one spoken digit",
            not_protected=(
                "the speaker: all recordings of a home are of one voice, and each is hidden by "
                f"itself only; of what its {self.takes * len(CLASSES)} recordings have in common, "
                "a voice and an accent, next to nothing is promised",
                "the number of recordings: it is public",
            ),
            public_pool=(
                f"{WORDS} made-up words by made-up voices, from a program and published averages "
                "of speech; none of them is anybody's"
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Read and check every home's recordings."""
        return self._read(SPEAKERS)

    def load_site(self, site: str) -> SiteData:
        """Read and check one home's recordings.

        Raises
        ------
        DataError
            Names file, recording and value; or which recording is missing.
        """
        return self._read((site,))[site]

    def public_pool(self) -> torch.Tensor:
        """Pictures [1000, 1, frames, bands] of made-up words."""
        rng = np.random.default_rng(SEED)
        words = np.stack([picture(spoken(rng)) for _ in range(WORDS)])
        return torch.from_numpy(words[:, None])

    def _read(self, sites: Sequence[str]) -> dict[str, SiteData]:
        found: dict[str, dict[tuple[int, int], Samples]] = {site: {} for site in sites}
        for recording in self._recordings(sites):
            own, key = found[recording.speaker], (recording.take, recording.digit)
            if key in own:
                raise DataError(
                    f"{self.root}: has take {recording.take} of digit {recording.digit} by "
                    f"{recording.speaker} twice: keep one"
                )
            own[key] = recording.samples
        return {
            site: SiteData(
                self._examples(site, own, range(HELD_OUT, HELD_OUT + self.takes)),
                self._examples(site, own, range(HELD_OUT)),
            )
            for site, own in found.items()
        }

    def _examples(
        self, site: str, found: Mapping[tuple[int, int], Samples], takes: range
    ) -> Examples:
        keys = [(take, digit) for take in takes for digit in range(len(CLASSES))]
        for take, digit in keys:
            if (take, digit) not in found:
                raise DataError(
                    f"{self.root}: take {take} of digit {digit} by {site} is missing: fetch the "
                    "whole data set, or set domain.takes lower"
                )
        pictures = np.stack([picture(power(found[key])) for key in keys])
        digits = torch.tensor([digit for _, digit in keys])
        return Examples(torch.from_numpy(pictures[:, None]), digits)

    def _recordings(self, sites: Sequence[str]) -> Iterator[Recording]:
        folder = self.root / "recordings" if (self.root / "recordings").is_dir() else self.root
        if folder.is_dir() and any(folder.glob("*.wav")):
            return _waves(folder, sites)
        packed = [self.root] if self.root.is_file() else sorted(self.root.glob("*.npz"))
        if len(packed) != 1:
            raise DataError(
                f"{self.root}: holds {'several' if packed else 'no'} .npz and no .wav files; "
                "domain.root must be the folder of recordings DIGIT_SPEAKER_TAKE.wav, or one .npz"
            )
        return _packed(packed[0], sites)


def _waves(folder: Path, sites: Sequence[str]) -> Iterator[Recording]:
    """Read speakers' files ``DIGIT_SPEAKER_TAKE.wav``."""
    for path in sorted(folder.glob("*.wav")):
        named = NAME.fullmatch(path.stem)
        if named is None or named[2] not in SPEAKERS:
            raise DataError(
                f"{path}: is not named DIGIT_SPEAKER_TAKE.wav with one of the speakers "
                f"{', '.join(SPEAKERS)}"
            )
        if named[2] not in sites:
            continue
        try:
            with wave.open(str(path), "rb") as file:
                form = file.getnchannels(), file.getsampwidth(), file.getframerate()
                samples = file.readframes(file.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            raise DataError(f"{path}: cannot be read as a .wav file: {error}") from error
        if form != (1, 2, RATE):
            raise DataError(
                f"{path}: has {form[0]} channels of {8 * form[1]} bits at {form[2]} Hz, and must "
                f"have 1 of 16 bits at {RATE} Hz"
            )
        yield Recording(named[2], int(named[1]), int(named[3]), np.frombuffer(samples, "<i2"))


def _packed(path: Path, sites: Sequence[str]) -> Iterator[Recording]:
    """Read speakers' recordings out of arrays of an .npz; nothing in it is ever unpickled."""
    names = ("audio", "offsets", "digit", "speaker", "index")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise DataError(
                    f"{path}: has no array {missing[0]!r}: {', '.join(names)} are needed"
                )
            audio, offsets, digits, speakers, takes = (archive[name] for name in names)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as an .npz of arrays: {error}") from error
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise DataError(f"{path}: audio is {audio.dtype} {list(audio.shape)}, int16 [n] is needed")
    count = len(offsets) - 1
    if not len(digits) == len(speakers) == len(takes) == count:
        raise DataError(
            f"{path}: digit, speaker and index have {len(digits)}, {len(speakers)} and "
            f"{len(takes)} rows, and offsets {count + 1}: one each, and one offset more, are needed"
        )
    for row, speaker in enumerate(map(str, speakers)):
        if speaker not in SPEAKERS:
            raise DataError(
                f"{path}: row {row + 1}, column 'speaker': value {speaker!r} is not one of "
                f"{', '.join(SPEAKERS)}"
            )
        if speaker not in sites:
            continue
        begin, end = int(offsets[row]), int(offsets[row + 1])
        if not 0 <= begin <= end <= len(audio):
            raise DataError(
                f"{path}: row {row + 1}, column 'offsets': {begin} to {end} is no part of the "
                f"{len(audio)} samples"
            )
        if not 0 <= digits[row] < len(CLASSES):
            raise DataError(
                f"{path}: row {row + 1}, column 'digit': value {digits[row]} is not 0 to 9"
            )
        yield Recording(speaker, int(digits[row]), int(takes[row]), audio[begin:end])

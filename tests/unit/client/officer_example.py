"""What the officer of a small hospital wrote, as values; no file is read."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from client.setup import words_of
from client.site_file import SiteFile, SiteLimits
from commands.compose import composed
from tacit.configuration import read_settings

LIMITS = SiteLimits(1.0, 1e-4, 3.0, 1e-4, least_noise_multiplier=1.0, most_rounds=200)


def file_of(*more, folder=Path("nowhere"), limits=LIMITS, **keys):
    """A site file; `more` are words of its experiment beside domain and model."""
    good = SiteFile(
        name="county",
        server="https://localhost:9443",
        experiment=("domain=hospitals", "model=linear", *more),
        data_set="ward 3",
        limits=limits,
        bundle=folder,
        ledger=folder / "ledger",
    )
    return replace(good, **keys)


@cache
def settings_of(file):
    """The settings that the file's experiment comes to."""
    return read_settings(composed(words_of(file)))

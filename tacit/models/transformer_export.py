"""Models of transformers written as transformers writes them: no adapters, nothing mended."""

import shutil
from pathlib import Path
from typing import Any, Final

import torch

from tacit.models.mended import take_weights

PREPROCESSOR: Final = "preprocessor_config.json"


def save_model(model: Any, folder: Path) -> None:
    """Write a model, trained or not, as the one that it came from with other weights.

    Parameters
    ----------
    model
        Of transformers, mended or not, without adapters; it knows where it came from.
    folder
        Gets config.json, model.safetensors and, of images and sounds, the preprocessor's
        configuration. Weights that the first model's files did not have are not written.
    """
    from transformers import AutoModel

    source = Path(model.name_or_path)
    plain, found = AutoModel.from_pretrained(source, output_loading_info=True, **_SAFE)
    take_weights(plain, model)
    absent = set(found["missing_keys"])
    weights = {name: each for name, each in plain.state_dict().items() if name not in absent}
    plain.save_pretrained(folder, state_dict=weights)
    if (source / PREPROCESSOR).is_file():
        shutil.copy(source / PREPROCESSOR, folder)


def load_model(folder: Path) -> Any:
    """Load a model that `save_model` wrote, as anybody would."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, **_SAFE).eval()


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the files of a tokenizer as it was loaded, whatever it has been used for since."""
    from transformers import AutoTokenizer

    source = tokenizer.name_or_path
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)


_SAFE: Final = {
    "local_files_only": True,
    "use_safetensors": True,
    "trust_remote_code": False,
    "dtype": torch.float32,
}

"""Models and tokenizers of transformers from files on this machine, without dropout."""

import os
from typing import Any, Literal

import torch

from tacit.errors import ConfigurationError, ModelError
from tacit.models.hub import ModelFiles
from tacit.models.mended import without_dropout


def needs_library() -> None:
    """Make transformers ready and quiet.

    Raises
    ------
    ConfigurationError
        It is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError as error:
        raise ConfigurationError(
            "model=transformers: the package transformers is not installed: "
            "pip install 'tacit[text]'"
        ) from error
    quiet: Any = transformers.utils.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()


def load_model(
    files: ModelFiles,
    name: str,
    kind: Literal["AutoModel", "AutoModelForMaskedLM"] = "AutoModel",
) -> Any:
    """Load a model in fp32.

    Parameters
    ----------
    files
        Its files.
    name
        What a person calls it.
    kind
        Which class of transformers: the model alone, or with what predicts hidden tokens.

    Raises
    ------
    ModelError
        transformers cannot load them, or has no such class for this kind of model.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(files.folder, local_files_only=True)
        if kind == "AutoModelForMaskedLM" and (
            type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING
            or getattr(config, "is_encoder_decoder", False)
        ):
            raise ModelError(
                f"model.name={name}: no hidden tokens can be predicted by a model of the kind "
                f"{config.model_type}: choose one that reads a text in both directions, as "
                "all-MiniLM-L6-v2 and other models of the BERT family do"
            )
        for key, value in without_dropout(config.to_dict()).items():
            setattr(config, key, value)
        return getattr(transformers, kind).from_pretrained(
            files.folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"model.name={name}: transformers cannot load {files.folder}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def load_tokenizer(files: ModelFiles, model: Any) -> Any:
    """Load a model's tokenizer.

    Raises
    ------
    ModelError
        It has none that transformers can load, or one that knows few of the model's tokens:
        transformers makes an empty one, to which all words are alike, where there is none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{files.folder}: has no tokenizer that transformers can load: "
            f"{str(error).splitlines()[0]}"
        ) from error
    known, wanted = len(tokenizer), int(model.get_input_embeddings().num_embeddings)
    if 2 * known < wanted:
        raise ModelError(
            f"{files.folder}: its tokenizer knows {known} tokens, and the model {wanted}: is a "
            "file of it missing (tokenizer.json, vocab.txt)?"
        )
    return tokenizer

"""tacit-pretrain of texts: a model of transformers in a folder, with its report in it.

::

    FOLDER/
      config.json, model.safetensors   what transformers' AutoModel loads
      tokenizer.json, …                and its AutoTokenizer
      pretraining.json                 from which weights, on what and how; the new weights' SHA-256
      pretraining.html                 the report
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, cast

import torch

from simulations.pretrain_place import REPORT, Done, Place
from simulations.pretrain_report import text_report
from tacit.domains.domain import Card, Domain
from tacit.errors import ConfigurationError, ModelError
from tacit.files import replace_file, whole_folder
from tacit.models.architecture import Architecture
from tacit.models.hub import PRETRAINING, model_files
from tacit.models.masked_tokens import KIND, MaskedTokens
from tacit.models.pretrain_checkpoint import Checkpoint
from tacit.models.shared import Pretrained, pretrain_resumably, question
from tacit.models.token_recovery import token_recovery
from tacit.models.transformer_export import save_model, save_tokenizer
from tacit.settings import Settings

FORMAT: Final = "tacit/pretrained-encoder/1"
_OTHERS: Final = {f"model.architecture.{key}": None for key in ("pretrained", "sha256", "revision")}
"""Keys that would choose another model than `model.name` does."""


class PretrainsTexts(Protocol):
    """An architecture whose model can go on learning from texts: it has this method too."""

    def masked_tokens(self, card: Card, pool: torch.Tensor, seed: int) -> MaskedTokens:
        """Return the model with public texts; InputError says why it cannot learn from them."""
        ...


def pretrain_texts(
    settings: Settings,
    architecture: Architecture,
    domain: Domain,
    pool: torch.Tensor,
    place: Place,
    then: Callable[[Mapping[str, object]], str],
    on_step: Callable[[int, float], None],
) -> Done:
    """Let a model of transformers learn from public texts, and write it with its report.

    The parameters are those of `pretrain_features`.

    Raises
    ------
    InputError
        The model cannot learn from them, or the checkpoint is not of this pretraining.
    """
    chosen = settings.model.pretraining
    if not hasattr(architecture, "masked_tokens"):
        raise ModelError(
            f"model={architecture.name}: is pretrained already, and tacit-pretrain cannot go on "
            "with it: it does so with model=transformers, on texts"
        )
    if chosen is None:
        raise ConfigurationError("model.pretraining is null: how many steps are to be done?")
    if chosen.patch is not None:
        raise ConfigurationError(
            f"model.pretraining.patch={chosen.patch}: texts have no patches: set it to null"
        )
    objective = cast(PretrainsTexts, architecture).masked_tokens(domain.card, pool, settings.seed)
    done = []

    def save(made: Pretrained) -> None:
        found = token_recovery(objective, chosen.masked_share, settings.seed)
        with whole_folder(place.out) as folder:
            save_model(objective.encoder, folder)
            save_tokenizer(objective.tokenizer, folder)
            sha256 = model_files(str(folder)).sha256
            command = then({**_OTHERS, "model.name": place.out, "model.sha256": sha256})
            about = {
                "format": FORMAT,
                "from": {
                    # Where it lies is no matter of whoever gets the folder.
                    "name": Path(objective.name).name,
                    "sha256": objective.files.sha256,
                    "identity": objective.files.identity,
                },
                "length": objective.blocks,
                "pretraining": asdict(chosen),
                "seed": settings.seed,
                "pool": domain.card.public_pool,
                "loss": made.losses[-1],
                "measured": asdict(found),
                "file": "model.safetensors",
                "sha256": sha256,
            }
            file = f"{place.out.name}/model.safetensors"
            page = text_report(settings, domain.card, objective, made, found, sha256, file, command)
            replace_file(folder / REPORT, page.encode())
            replace_file(folder / PRETRAINING, (json.dumps(about, indent=2) + "\n").encode())
        said = (
            f"loss {made.losses[0]:.3f} at first, {made.losses[-1]:.3f} at last",
            f"{100 * found.right:.1f} % of hidden tokens are told right, where it learned; always "
            f"to say the most frequent one would be {100 * found.frequent:.1f} %",
        )
        done.append(Done(KIND, said, command))

    asked = {
        **question(settings.model, domain, pool, settings.seed),
        "model's files": objective.files.identity,
        "transformers": version("transformers"),
    }
    checkpoint = Checkpoint(place.checkpoint, asked)
    pretrain_resumably(objective, chosen, settings.seed, checkpoint, save, on_step)
    return done[0]

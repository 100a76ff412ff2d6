"""The report of a pretraining: measured on the public pool, written as one HTML file."""

from pathlib import Path
from typing import Final

import torch
from torch import nn

from tacit.domains.domain import Card, Domain
from tacit.errors import ConfigurationError
from tacit.files import replace_file
from tacit.models.masked_features import blocks_of
from tacit.models.masked_tokens import MaskedTokens
from tacit.models.reconstruction import Recovery, pictures, recovery
from tacit.models.shared import Pretrained
from tacit.models.token_recovery import TokenRecovery, filled
from tacit.models.weights import file_sha256, state_arrays
from tacit.runs.pretraining import Story, render
from tacit.settings import Settings

SHOWN: Final = 6
"""Images or texts that are shown."""


def write_report(
    page: Path,
    weights: Path,
    settings: Settings,
    module: nn.Module,
    domain: Domain,
    pool: torch.Tensor,
    made: Pretrained,
    then: str,
) -> Recovery:
    """Write the report of a model that `weights` is going to hold, and return what was measured.

    Raises
    ------
    ConfigurationError
        The settings have no pretraining.
    """
    chosen = settings.model.pretraining
    if chosen is None:
        raise ConfigurationError("model.pretraining is null: there is nothing to report")
    blocks = blocks_of(pool.shape[1:], domain.groups, chosen.patch)
    share, seed = chosen.masked_share, settings.seed
    found = recovery(module, pool, blocks, share, seed)
    story = Story(
        file=weights.name,
        sha256=file_sha256(state_arrays(module)),
        card=domain.card,
        architecture=settings.model.architecture,
        pretraining=chosen,
        seed=seed,
        pool=tuple(pool.shape),
        losses=made.losses,
        seconds=made.seconds,
        went_on=made.went_on,
        recovery=found,
        columns=tuple(getattr(domain, "columns", ())),
        pictures=pictures(module, pool, blocks, share, seed, SHOWN) if pool.dim() > 2 else None,
        then=then,
    )
    replace_file(page, render(story).encode())
    return found


def text_report(
    settings: Settings,
    card: Card,
    objective: MaskedTokens,
    made: Pretrained,
    found: TokenRecovery,
    sha256: str,
    file: str,
    then: str,
) -> str:
    """Return the report of a model of texts.

    Raises
    ------
    ConfigurationError
        The settings have no pretraining.
    """
    chosen = settings.model.pretraining
    if chosen is None:
        raise ConfigurationError("model.pretraining is null: there is nothing to report")
    return render(
        Story(
            file=file,
            sha256=sha256,
            card=card,
            architecture=settings.model.architecture,
            pretraining=chosen,
            seed=settings.seed,
            pool=(objective.examples, objective.blocks),
            losses=made.losses,
            seconds=made.seconds,
            went_on=made.went_on,
            recovery=found,
            columns=(),
            pictures=None,
            then=then,
            texts=filled(objective, chosen.masked_share, settings.seed, SHOWN),
            source=f"{objective.name} (SHA-256 {objective.files.sha256})",
        )
    )

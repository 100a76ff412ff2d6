"""The shared model before federation: from a file, from the cache, or pretrained now."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from tacit.domains.domain import Domain
from tacit.errors import ConfigurationError
from tacit.models.architecture import Architecture
from tacit.models.pretraining import blocks_of, kind_of, pretrain
from tacit.models.weights import load_state, load_weights, save_weights, state_arrays
from tacit.settings import ModelSettings

FORMAT = "tacit/pretrained/1"


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model ready for federation, and in words what it was pretrained on (None: nothing)."""

    module: nn.Module
    pretraining: str | None


def shared_model(
    settings: ModelSettings,
    architecture: Architecture,
    domain: Domain,
    inputs: tuple[int, ...],
    seed: int,
    cache: Path,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> SharedModel:
    """Build the model and give it pretrained weights, where there are any.

    Raises
    ------
    ModelError
        Weights are damaged or do not fit, or the model cannot be pretrained.
    """
    module = fresh_model(architecture, domain, inputs, seed)
    if settings.weights is not None:
        path = Path(settings.weights)
        load_state(module, load_weights(path), str(path))
        return SharedModel(module, f"the weights of {path.name}")
    pool = domain.public_pool()
    if settings.pretraining is None or pool is None:
        return SharedModel(module, None)
    path = cached_path(settings, domain, pool, seed, cache)
    if not path.exists():
        pretrain_to(path, settings, module, domain, pool, seed, on_step)
    load_state(module, load_weights(path), str(path))
    return SharedModel(
        module,
        f"{kind_of(inputs)} on {domain.card.public_pool}",
    )


def fresh_model(
    architecture: Architecture, domain: Domain, inputs: tuple[int, ...], seed: int
) -> nn.Module:
    """Build a model whose initial weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(inputs, domain.card.outputs)


def pretrain_to(
    path: Path,
    settings: ModelSettings,
    module: nn.Module,
    domain: Domain,
    pool: torch.Tensor,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Pretrain a model on the public pool, write it, and return the loss of every step."""
    if settings.pretraining is None:
        raise ConfigurationError(
            f"model.pretraining is null: {settings.architecture.name} has nothing to pretrain; "
            f"choose model={'tabular' if pool.dim() == 2 else 'vision'}"
        )
    blocks = blocks_of(pool.shape[1:], domain.groups, settings.pretraining.patch)
    losses = pretrain(module, pool, blocks, settings.pretraining, seed, on_step)
    about = {
        "format": FORMAT,
        "architecture": asdict(settings.architecture),
        "pretraining": asdict(settings.pretraining),
        "seed": seed,
        "pool": domain.card.public_pool,
        "loss": losses[-1],
    }
    save_weights(path, state_arrays(module), about)
    return losses


def cached_path(
    settings: ModelSettings, domain: Domain, pool: torch.Tensor, seed: int, cache: Path
) -> Path:
    """Name a pretrained model by the content of everything it depends on."""
    question = json.dumps(
        {
            "format": FORMAT,
            "architecture": asdict(settings.architecture),
            "pretraining": asdict(settings.pretraining) if settings.pretraining else None,
            "groups": [[g.start, g.stop] for g in domain.groups],
            "seed": seed,
            "torch": str(torch.__version__),
            "pool": hashlib.sha256(pool.contiguous().numpy().tobytes()).hexdigest(),
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(question.encode()).hexdigest()
    return cache / "models" / f"{digest[:32]}.safetensors"

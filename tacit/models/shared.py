"""The shared model before federation: from a file, from the cache, or pretrained now."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from tacit.domains.domain import Domain
from tacit.errors import ConfigurationError
from tacit.models.architecture import Architecture
from tacit.models.masked_features import MaskedFeatures, blocks_of, kind_of
from tacit.models.pretrain_checkpoint import Checkpoint
from tacit.models.pretraining import Objective, Pretraining, pretrain
from tacit.models.weights import load_state, load_weights, save_weights, state_arrays
from tacit.settings import ModelSettings

FORMAT = "tacit/pretrained/1"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What `pretrain_to` made, before it is written.

    Parameters
    ----------
    losses
        Loss of every step.
    seconds
        How long the steps took, in all sittings.
    went_on
        Number of steps done at the start of each sitting after the first.
    """

    losses: list[float]
    seconds: float
    went_on: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model ready for federation.

    Parameters
    ----------
    module
        The model.
    pretraining
        In words, what it was pretrained on; None: nothing.
    inputs
        Shape of one example as the domain has it, before any reader.
    file
        Of the weights that it starts from, where Tacit wrote them.
    """

    module: nn.Module
    pretraining: str | None
    inputs: tuple[int, ...] = ()
    file: Path | None = None


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
        return SharedModel(module, f"the weights of {path.name}", inputs, path)
    pool = domain.public_pool()
    if settings.pretraining is None or pool is None:
        return SharedModel(module, None, inputs)
    path = cached_path(settings, domain, pool, seed, cache)
    if not path.exists():
        checkpoint = path.with_suffix(".checkpoint")
        pretrain_to(path, checkpoint, settings, module, domain, pool, seed, on_step)
    load_state(module, load_weights(path), str(path))
    return SharedModel(module, f"{kind_of(inputs)} on {domain.card.public_pool}", inputs, path)


def fresh_model(
    architecture: Architecture, domain: Domain, inputs: tuple[int, ...], seed: int
) -> nn.Module:
    """Build a model whose initial weights follow from the seed alone."""
    with seeded(seed):
        return architecture.build(inputs, domain.card.outputs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let what draws initial weights from torch's global generator draw what the seed fixes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def pretrain_to(
    path: Path,
    checkpoint: Path,
    settings: ModelSettings,
    module: nn.Module,
    domain: Domain,
    pool: torch.Tensor,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    on_done: Callable[[Pretrained], None] = lambda made: None,
) -> None:
    """Pretrain a model on the public pool and write it; what was stopped goes on.

    Parameters
    ----------
    path
        Of the weights.
    checkpoint
        Where the work is kept while it is not done.
    on_done
        Called with the model pretrained and nothing written: while it fails, nothing is lost.

    Raises
    ------
    ConfigurationError
        There is nothing to pretrain, or the checkpoint belongs to another pretraining.
    ModelError
        The model cannot be pretrained, or the checkpoint is damaged.
    """
    if settings.pretraining is None:
        raise ConfigurationError(
            f"model.pretraining is null: {settings.architecture.name} has nothing to pretrain; "
            f"choose model={'tabular' if pool.dim() == 2 else 'vision'}"
        )
    chosen = settings.pretraining
    blocks = blocks_of(pool.shape[1:], domain.groups, chosen.patch)

    def save(made: Pretrained) -> None:
        on_done(made)
        about = {
            "format": FORMAT,
            "architecture": asdict(settings.architecture),
            "pretraining": asdict(chosen),
            "seed": seed,
            "pool": domain.card.public_pool,
            "loss": made.losses[-1],
        }
        save_weights(path, state_arrays(module), about)

    pretrain_resumably(
        MaskedFeatures(module, pool, blocks),
        chosen,
        seed,
        Checkpoint(checkpoint, question(settings, domain, pool, seed)),
        save,
        on_step,
    )


def pretrain_resumably(
    objective: Objective,
    settings: Pretraining,
    seed: int,
    checkpoint: Checkpoint,
    save: Callable[[Pretrained], None],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Pretrain from where the checkpoint stands; it goes when what was made has been saved.

    Parameters
    ----------
    objective, settings, seed, on_step
        As of `pretrain`.
    checkpoint
        Keeps the work while it is not done.
    save
        Writes the model: while it fails, nothing is lost.
    """
    with _one_thread(), checkpoint as kept:
        losses = pretrain(objective, settings, seed, on_step, kept.start, kept.keep)
        save(Pretrained(losses, kept.seconds, kept.went_on))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: another number gives other bits, and the model must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cached_path(
    settings: ModelSettings, domain: Domain, pool: torch.Tensor, seed: int, cache: Path
) -> Path:
    """Name a pretrained model by the content of everything it depends on."""
    asked = json.dumps(question(settings, domain, pool, seed), sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    return cache / "models" / f"{digest[:32]}.safetensors"


def question(
    settings: ModelSettings, domain: Domain, pool: torch.Tensor, seed: int
) -> dict[str, object]:
    """Everything that a pretrained model depends on, by the names that a person knows it by."""
    chosen = settings.architecture
    return {
        "format": FORMAT,
        "model": {
            "architecture": {"name": chosen.name, "_target_": chosen.target, **chosen.options},
            "pretraining": asdict(settings.pretraining) if settings.pretraining else None,
        },
        "columns": [[g.start, g.stop] for g in domain.groups],
        "seed": seed,
        "torch": str(torch.__version__),
        "public pool": hashlib.sha256(pool.contiguous().numpy().tobytes()).hexdigest(),
    }

"""tacit-pretrain of tables and images: weights in one file, and a report beside it."""

from collections.abc import Callable, Mapping

import torch

from simulations.pretrain_place import Done, Place
from simulations.pretrain_report import write_report
from tacit.domains.domain import Domain
from tacit.errors import ConfigurationError
from tacit.models.architecture import Architecture
from tacit.models.masked_features import kind_of
from tacit.models.shared import Pretrained, fresh_model, pretrain_to
from tacit.settings import Settings


def pretrain_features(
    settings: Settings,
    architecture: Architecture,
    domain: Domain,
    pool: torch.Tensor,
    place: Place,
    then: Callable[[Mapping[str, object]], str],
    on_step: Callable[[int, float], None],
) -> Done:
    """Pretrain a model on public rows or images, and write it with its report.

    Parameters
    ----------
    settings
        The experiment.
    architecture, domain
        Made from it.
    pool
        The domain's public examples.
    place
        Where the model goes.
    then
        Returns what to type next, from the keys of the model in a run.
    on_step
        Called with the number of steps done and the loss of the last one.

    Raises
    ------
    InputError
        The model cannot be pretrained, or the checkpoint is not of this pretraining.
    """
    if domain.card.texts:
        raise ConfigurationError(
            f"model.architecture={architecture.name} takes numbers, and examples of "
            f"{domain.card.name} are texts: use model=transformers"
        )
    module = fresh_model(architecture, domain, tuple(pool.shape[1:]), settings.seed)
    command = then({"model.weights": place.out})
    said = []

    def on_done(made: Pretrained) -> None:
        found = write_report(place.page, place.out, settings, module, domain, pool, made, command)
        said.append(f"loss {made.losses[0]:.3f} at first, {made.losses[-1]:.3f} at last")
        if found.share is not None:
            said.append(f"R² {found.share:.3f} of what is hidden, where it learned")

    pretrain_to(
        place.out,
        place.checkpoint,
        settings.model,
        module,
        domain,
        pool,
        settings.seed,
        on_step,
        on_done,
    )
    return Done(kind_of(pool.shape[1:]), tuple(said), command)

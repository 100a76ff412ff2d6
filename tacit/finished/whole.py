"""A run's model in one piece, from what it is given to scores, as it is written and read again."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tacit.components import make
from tacit.errors import ModelError, TacitError
from tacit.finished.model import RunModel
from tacit.models.adapters import merge_adapters
from tacit.models.architecture import made_up_examples
from tacit.models.backbone import BackboneModel, Embeddings, Exportable
from tacit.models.reading import Reader
from tacit.models.usage import usage

Array = npt.NDArray[np.float32]

WEIGHTS: Final = "model.safetensors"
HEAD: Final = "head.safetensors"
TOLERANCE: Final = 1e-4
"""Most by which a score may differ from the run's own, relative to the largest score or 1."""
EXAMPLES: Final = 64
"""Made-up examples on which that is checked."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A model that was written and read again.

    Parameters
    ----------
    library
        What loads it, as hubs name it.
    usage
        Python that uses it; it defines ``scores``.
    module
        Takes the tensors of `given` in their order, and returns scores [n, outputs].
    free
        What it is given, and which dimensions of each may have any length.
    given
        Made-up examples as it takes them.
    scores
        The run's own scores of these [n, outputs].
    difference
        Most by which its scores differ from them.
    """

    library: str
    usage: str
    module: nn.Module
    free: Mapping[str, tuple[int, ...]]
    given: tuple[torch.Tensor, ...]
    scores: Array
    difference: float


class _Headed(nn.Module):
    """A backbone as its library makes it, and the head."""

    def __init__(self, backbone: Exportable, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs]."""
        scores: torch.Tensor = self.head(self.backbone.embed(*given))
        return scores


def write_whole(run: RunModel, folder: Path) -> Whole:
    """Write all of a run's model, adapters merged, and read it again.

    Parameters
    ----------
    run
        The run.
    folder
        Gets `WEIGHTS` and what its library needs; `HEAD` beside a backbone of others.

    Raises
    ------
    ModelError
        The architecture cannot be written.
    TacitError
        What was read again scores made-up examples otherwise than the run's model does.
    """
    generator = torch.Generator().manual_seed(0)
    if run.reading is None:
        examples = made_up_examples(run.module, EXAMPLES, run.domain.inputs, generator)
        own = _scored(run.module, examples)
        written, text = _write_plain(run, folder)
        return _checked("pytorch", text, written, {"features": (0,)}, (examples,), own)
    prepare, backbone, head = _parts(run)
    examples = backbone.made_up(EXAMPLES, generator)
    own = _scored(lambda rows: head(backbone(rows)), examples)
    merged = copy.deepcopy(backbone)
    merge_adapters(cast(nn.Module, merged))
    text = merged.save(prepare, folder)
    save_file({name: each.clone() for name, each in head.state_dict().items()}, folder / HEAD)
    again = backbone.loaded(folder)
    module = _Headed(again, head).eval()
    return _checked(again.library, text, module, again.free, again.named(examples), own)


def _parts(run: RunModel) -> tuple[Reader, Exportable, nn.Module]:
    """Return what prepares an example, the backbone, which may train or not, and the head."""
    reading = run.reading
    if reading is not None and isinstance(reading.reader, Embeddings):
        prepare, backbone = reading.reader.prepare, reading.reader.backbone
    elif reading is not None and isinstance(run.module, BackboneModel):
        prepare, backbone = reading.reader, run.module.backbone
    else:
        backbone = None
    head = getattr(run.module, "head", None)
    if backbone is None or not hasattr(backbone, "save") or not isinstance(head, nn.Module):
        name = run.settings.model.architecture.name
        raise ModelError(
            f"model.architecture={name}: does not say how it is written: its backbone must be a "
            "tacit.models.backbone.Exportable"
        )
    return prepare, cast(Exportable, backbone), head


def _write_plain(run: RunModel, folder: Path) -> tuple[nn.Module, str]:
    """Write the weights of a model that an architecture makes by itself."""
    chosen = run.settings.model.architecture
    architecture = make("model.architecture", chosen)
    merged = copy.deepcopy(run.module)
    merge_adapters(merged)
    plain: nn.Module = architecture.build(run.domain.inputs, run.card.outputs)
    names = plain.state_dict().keys()
    # What stands beside the architecture's own weights serves training alone.
    state = {name: each.clone() for name, each in merged.state_dict().items() if name in names}
    save_file(state, folder / WEIGHTS)
    plain.load_state_dict(load_file(folder / WEIGHTS))
    module, _, name = chosen.target.rpartition(".")
    options = ", ".join(f"{key}={value!r}" for key, value in chosen.options.items())
    text = usage(
        "use_torch.py.j2",
        module=module,
        name=name,
        options=options,
        inputs=run.domain.inputs,
        outputs=run.card.outputs,
    )
    return plain.eval(), text


def _scored(scores: Callable[[torch.Tensor], torch.Tensor], examples: torch.Tensor) -> Array:
    with torch.no_grad():
        found: Array = scores(examples).float().numpy()
    return found


def _checked(
    library: str,
    text: str,
    module: nn.Module,
    free: Mapping[str, tuple[int, ...]],
    given: tuple[torch.Tensor, ...],
    own: Array,
) -> Whole:
    with torch.no_grad():
        difference = float(np.abs(module(*given).numpy() - own).max())
    if not difference <= allowed(own):
        raise TacitError(
            f"the model that was written scores made-up examples otherwise than the run's: by "
            f"{difference:.2g}, and {allowed(own):.2g} is allowed"
        )
    return Whole(library, text, module, free, given, own, difference)


def allowed(scores: Array) -> float:
    """Most by which scores may differ from these [n, outputs], which are the run's."""
    return TOLERANCE * max(1.0, float(np.abs(scores).max()))

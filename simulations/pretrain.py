"""tacit-pretrain: make the shared model from a domain's public pool."""

import sys
from pathlib import Path
from typing import NoReturn

from commands import entry

USAGE = """\
tacit-pretrain: pretrain a domain's model on its public, unlabelled pool.

  tacit-pretrain out=PATH.safetensors [KEY=VALUE | GROUP=OPTION ...]

Writes PATH.safetensors and PATH.json (what it is, and its SHA-256). A run does the same by itself
and keeps the model in its cache; use this to look at the model, or to hand one model to many runs:

  tacit-pretrain domain=hospitals out=shared.safetensors
  tacit-simulate domain=hospitals model.weights=shared.safetensors

Often set
  model.pretraining.steps=N   model.pretraining.learning_rate=X   model.pretraining.masked_share=P
  seed=N

Options
  -h, --help       this
  --version        the version
  --config-dir DIR add the YAML of DIR/GROUP/OPTION.yaml to the options
"""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return 0 if entry.answered(words, USAGE) else _pretrain(words)


def _pretrain(words: list[str]) -> int:
    import torch
    from rich.console import Console

    from commands.arguments import Arguments, split
    from commands.compose import composed
    from simulations.pretrain_model import fresh_model, pretrain_to
    from simulations.progress import LiveProgress, plainly, say
    from tacit.components import make
    from tacit.configuration import read_settings
    from tacit.errors import ConfigurationError
    from tacit.models.pretraining import kind_of

    arguments = split(words)
    if arguments != Arguments(arguments.words, config_dir=arguments.config_dir):
        raise ConfigurationError("tacit-pretrain takes --config-dir and no other option")
    outs = [word.partition("=")[2] for word in arguments.words if word.startswith("out=")]
    if not outs or not outs[-1].endswith(".safetensors"):
        raise ConfigurationError("say where to write: out=PATH.safetensors")
    path = Path(outs[-1])
    for file in (path, path.with_suffix(".json")):
        if file.exists():
            raise ConfigurationError(f"{file}: is there already: choose another, or remove it")
    rest = [word for word in arguments.words if not word.startswith("out=")]
    settings = read_settings(composed(rest, folder=arguments.config_dir))
    # As in a run: another number of threads gives other bits.
    torch.set_num_threads(settings.engine.threads)
    domain = make("domain", settings.domain)
    pool = domain.public_pool()
    if pool is None:
        raise ConfigurationError(
            f"domain={settings.domain.name} has no public pool, so there is nothing to pretrain on"
        )
    architecture = make("model.architecture", settings.model.architecture)
    module = fresh_model(architecture, domain, tuple(pool.shape[1:]), settings.seed)
    console = Console()
    steps = settings.model.pretraining.steps if settings.model.pretraining else 0
    with LiveProgress(console) as progress:
        losses = pretrain_to(
            path,
            settings.model,
            module,
            domain,
            pool,
            settings.seed,
            lambda step, loss: progress.step("pretraining", step, steps, f"loss {loss:.3f}"),
        )
    say(console, f"{kind_of(pool.shape[1:])} on {domain.card.public_pool}")
    say(console, f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last")
    plainly(console, f"written: {path.resolve()}")
    return 0


if __name__ == "__main__":
    main()

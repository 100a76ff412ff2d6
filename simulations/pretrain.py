"""tacit-pretrain: make the shared model from a domain's public pool."""

import sys
from typing import NoReturn

from commands import entry

USAGE = """\
tacit-pretrain: pretrain a domain's model on its public, unlabelled pool.

  tacit-pretrain out=PATH.safetensors [KEY=VALUE | GROUP=OPTION ...]
  tacit-pretrain model=transformers out=FOLDER [KEY=VALUE | GROUP=OPTION ...]

Parts of each example are hidden, and the model learns to predict them: columns of a table, patches
of an image. Writes PATH.safetensors, PATH.json (what it is, and its SHA-256) and PATH.html, a
report: learning curves, and how well the model predicts what is hidden from it. A run does the same
by itself and keeps the model in its cache; use this to look at the model, or to hand one model to
many runs:

  tacit-pretrain domain=hospitals out=shared.safetensors
  tacit-simulate domain=hospitals model.weights=shared.safetensors

Of texts, tokens are hidden from a model of transformers. It goes on learning, from the public texts
that a schema file names (public_pool: FILE), and is written as a folder for transformers, with
pretraining.json and pretraining.html in it. No run does this by itself:

  tacit-pretrain domain=text domain.schema=tickets.yaml model.name=all-MiniLM-L6-v2 out=our-encoder
  tacit-simulate domain=text domain.schema=tickets.yaml model.name=our-encoder

Stopped (Ctrl-C), it leaves PATH.checkpoint or FOLDER.checkpoint; the same command again goes on
from there and ends with the same weights. Remove that file to start anew.

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
    from functools import partial

    from rich.console import Console

    from commands.arguments import Arguments, split
    from commands.compose import composed
    from simulations.pretrain_features import pretrain_features
    from simulations.pretrain_place import file_place, folder_place, next_command
    from simulations.pretrain_texts import pretrain_texts
    from simulations.progress import LiveProgress
    from tacit.components import make
    from tacit.configuration import read_settings
    from tacit.errors import ConfigurationError
    from tacit.models.reading import is_reader
    from tacit.runs.terminal import plainly, say

    arguments = split(words)
    if arguments != Arguments(arguments.words, config_dir=arguments.config_dir):
        raise ConfigurationError("tacit-pretrain takes --config-dir and no other option")
    outs = [word.partition("=")[2] for word in arguments.words if word.startswith("out=")]
    rest = [word for word in arguments.words if not word.startswith("out=")]
    settings = read_settings(composed(rest, folder=arguments.config_dir))
    architecture = make("model.architecture", settings.model.architecture)
    reads = is_reader(architecture)
    place = (folder_place if reads else file_place)(outs[-1] if outs else "")
    domain = make("domain", settings.domain)
    pool = domain.public_pool()
    if pool is None:
        raise ConfigurationError(
            f"domain={settings.domain.name} has no public pool, so there is nothing to pretrain on"
            + (
                ": name a file of public examples in the schema file, as public_pool: FILE"
                if "schema" in settings.domain.options
                else ""
            )
        )
    console = Console()
    steps = settings.model.pretraining.steps if settings.model.pretraining else 0
    try:
        with LiveProgress(console) as progress:
            done = (pretrain_texts if reads else pretrain_features)(
                settings,
                architecture,
                domain,
                pool,
                place,
                partial(next_command, rest, arguments.config_dir),
                lambda step, loss: progress.step("pretraining", step, steps, f"loss {loss:.3f}"),
            )
    except (KeyboardInterrupt, entry.Terminated):
        if place.checkpoint.exists():
            plainly(console, f"kept: {place.checkpoint}: the same command goes on from there")
        raise
    say(console, f"{done.kind} on {domain.card.public_pool}")
    for line in done.said:
        say(console, line)
    plainly(console, f"written: {place.out.resolve()}")
    plainly(console, f"report: {place.page.resolve()}")
    plainly(console, f"next: {done.then}")
    return 0


if __name__ == "__main__":
    main()

"""tacit-pretrain: make the shared model from a domain's public pool."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from commands import entry

USAGE = """\
tacit-pretrain: pretrain a domain's model on its public, unlabelled pool.

  tacit-pretrain out=PATH.safetensors [KEY=VALUE | GROUP=OPTION ...]

Writes PATH.safetensors, PATH.json (what it is, and its SHA-256) and PATH.html, a report: learning
curves, and how well the model predicts what is hidden from it. A run does the same by itself and
keeps the model in its cache; use this to look at the model, or to hand one model to many runs:

  tacit-pretrain domain=hospitals out=shared.safetensors
  tacit-simulate domain=hospitals model.weights=shared.safetensors

Stopped (Ctrl-C), it leaves PATH.checkpoint; the same command again goes on from there and ends with
the same weights. Remove that file to start anew.

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
    from rich.console import Console

    from commands.arguments import Arguments, split
    from commands.compose import composed
    from simulations.pretrain_report import write_report
    from simulations.progress import LiveProgress
    from tacit.components import make
    from tacit.configuration import read_settings
    from tacit.errors import ConfigurationError
    from tacit.models.masked_features import kind_of
    from tacit.models.shared import Pretrained, fresh_model, pretrain_to
    from tacit.runs.terminal import plainly, say

    arguments = split(words)
    if arguments != Arguments(arguments.words, config_dir=arguments.config_dir):
        raise ConfigurationError("tacit-pretrain takes --config-dir and no other option")
    outs = [word.partition("=")[2] for word in arguments.words if word.startswith("out=")]
    if not outs or not outs[-1].endswith(".safetensors"):
        raise ConfigurationError("say where to write: out=PATH.safetensors")
    path = Path(outs[-1])
    page, checkpoint = path.with_suffix(".html"), path.with_suffix(".checkpoint")
    # The report comes before the weights: where work is left to do, it is from a stop between them.
    for file in (path, path.with_suffix(".json"), *(() if checkpoint.exists() else (page,))):
        if file.exists():
            raise ConfigurationError(f"{file}: is there already: choose another, or remove it")
    rest = [word for word in arguments.words if not word.startswith("out=")]
    settings = read_settings(composed(rest, folder=arguments.config_dir))
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
    then = _next(rest, arguments.config_dir, path)
    said = []

    def on_done(made: Pretrained) -> None:
        found = write_report(page, path, settings, module, domain, pool, made, then)
        said.append(f"loss {made.losses[0]:.3f} at first, {made.losses[-1]:.3f} at last")
        if found.share is not None:
            said.append(f"R² {found.share:.3f} of what is hidden, where it learned")

    try:
        with LiveProgress(console) as progress:
            pretrain_to(
                path,
                checkpoint,
                settings.model,
                module,
                domain,
                pool,
                settings.seed,
                lambda step, loss: progress.step("pretraining", step, steps, f"loss {loss:.3f}"),
                on_done,
            )
    except (KeyboardInterrupt, entry.Terminated):
        if checkpoint.exists():
            plainly(console, f"kept: {checkpoint}: the same command goes on from there")
        raise
    say(console, f"{kind_of(pool.shape[1:])} on {domain.card.public_pool}")
    for line in said:
        say(console, line)
    plainly(console, f"written: {path.resolve()}")
    plainly(console, f"report: {page.resolve()}")
    plainly(console, f"next: {then}")
    return 0


def _next(words: Sequence[str], folder: Path | None, path: Path) -> str:
    """Return the command of a run that starts from the weights."""
    kept = [word for word in words if not word.startswith("model.pretraining")]
    value = str(path)
    if not re.fullmatch(r"[\w./-]+", value):
        # For Hydra; a shell's quotes, which come around the word, are single ones.
        value = '"' + value.replace('"', '\\"') + '"'
    kept.append(f"model.weights={value}")
    option = [] if folder is None else ["--config-dir", str(folder)]
    return shlex.join(["tacit-simulate", *option, *kept])


if __name__ == "__main__":
    main()

"""tacit-simulate: run an experiment with many sites on one box.

Only what a line of help needs is imported at the top.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from commands import entry

if TYPE_CHECKING:
    from simulations.cohort import Reach
    from tacit.settings import Settings

USAGE = """\
tacit-simulate: fine-tune a shared model across simulated sites under differential privacy.

  tacit-simulate [KEY=VALUE | GROUP=OPTION ...] [--multirun] [--config-dir DIR]

Examples
  tacit-simulate
      four hospitals from data that is there already; a few minutes at most
  tacit-simulate domain=heart_disease domain.root=PATH privacy.epsilon=1 privacy.delta=1e-4
      four real hospitals at ε = 1 each
  tacit-simulate domain=table domain.schema=mine.yaml privacy.epsilon=3 privacy.delta=1e-5
      your own table (or domain=images, text, huggingface); tacit-domain init FILE drafts the schema
  tacit-simulate domain=text domain.schema=mine.yaml model=transformers model.name=all-MiniLM-L6-v2
      a pretrained model of transformers (or model=timm): a folder, or a name on the hub
  tacit-simulate privacy=none
      without privacy, as a baseline
  tacit-simulate --multirun privacy.epsilon=0.5,1,3,8 run.dir=sweep
      one run for each value, with a table and a plot of ε against the metric
  tacit-simulate run.resume=RUN
      go on with a run that was stopped

Often set
  run.dir=PATH            where the run is kept (default: outputs/NAME/DATE_TIME)
  seed=N                  initial weights, and noise unless privacy.noise_seed is set
  privacy.epsilon=E       budget of the run at every site, at privacy.delta
  privacy.unit=person     all rows of a person are protected together, where rows name persons
  model.train=head        what trains: head, lora, ffa_lora, all, or regex and model.train_pattern
  privacy.noise_seed=N    noise and sampling alone; 'system' for noise nobody can recompute
  training.rounds=N       training.local_steps=N   training.learning_rate=X
  training.batch_size=N   rows in a step, or 'full'
  training.cohort=N       sites of a round, drawn so that all take part equally often
  availability.dropout=P  chance that a site is away in a round; .delay and .deadline: too late
  compare=true            also each site alone, and training without privacy
  engine=stacked          all sites of a round at once; where a model does not allow it, as loop
  engine=loop             one site after another, by Opacus
  engine=ray              Flower's own simulation on Ray, here or on a cluster (RAY_ADDRESS)
  engine=auto             the faster of stacked and loop, timed on the first round
  engine.workers=N        so many processes, or GPUs, share the sites of a round
  engine.device=auto      a GPU where there is one; engine.precision=bf16, engine.microbatch=N

Options
  -h, --help       this
  --version        the version
  --list           domains, models, strategies and the other groups, with a line each
  -m, --multirun   one run for each combination of values separated by commas
  --config-dir DIR add the YAML of DIR/GROUP/OPTION.yaml to the options
  --show           print the composed configuration and stop

Exit codes: 0 done, 1 a fault of ours, 2 configuration or bad input, 5 refused by policy or budget,
6 too few sites, 130 Ctrl-C, 143 SIGTERM.
"""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    if entry.answered(words, USAGE):
        return 0
    from commands.arguments import split

    arguments = split(words)
    if arguments.list:
        return _list(arguments.config_dir)
    if arguments.multirun:
        from simulations.sweep import sweep

        return sweep(arguments)
    config = resumed_or_composed(arguments.words, arguments.config_dir)
    if arguments.show:
        import yaml

        from tacit.configuration import read_settings

        read_settings(config)
        print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")
        return 0
    return run_one(config)


def _list(folder: Path | None) -> int:
    from commands.options import line, options

    groups = options(folder)
    width = max(len(f"{group}={option}") for group, own in groups.items() for option in own)
    for group, own in groups.items():
        for option, path in own.items():
            print(f"{group}={option}".ljust(width), line(path), sep="  ")
        print()
    return 0


def resumed_or_composed(words: list[str], folder: Path | None) -> dict[str, Any]:
    """Return the configuration of a new run, or of the run that is to go on."""
    from commands.compose import composed
    from commands.resume import resumed

    return resumed(words) or composed(words, folder=folder)


def run_one(config: dict[str, Any]) -> int:
    """Run one experiment and print its table."""
    print(f"{config.get('name')}: making ready", flush=True)
    from rich.console import Console

    from simulations.progress import LiveProgress, final_table
    from simulations.simulate import simulate
    from tacit.configuration import read_settings
    from tacit.errors import ExitCode
    from tacit.runs.audited import FILE as AUDIT
    from tacit.runs.audited import Outcome, read_audit
    from tacit.runs.directory import REPORT
    from tacit.runs.terminal import show_stage

    console = Console()
    settings = read_settings(config)
    reach = _reach(settings, config)
    with LiveProgress(console) as progress:
        results, path = simulate(settings, config, progress, reach)
    final_table(results, (path / REPORT).resolve(), console)
    audit = read_audit(path / AUDIT) if settings.audit else None
    if audit is None:
        return 0
    console.print()
    for stage in audit.stages:
        if stage.findings:
            show_stage(console, stage)
    return ExitCode.CONTRADICTED if audit.outcome is Outcome.CONTRADICTED else ExitCode.DONE


def _reach(settings: "Settings", config: dict[str, Any]) -> "Reach":
    """Return what reaches the sites of a run: in this process, or in Ray's."""
    from tacit.settings import EngineKind

    if settings.engine.kind is EngineKind.RAY:
        from simulations.ray import on_ray

        return on_ray(config)
    from simulations.cohort import in_process

    return in_process


if __name__ == "__main__":
    main()

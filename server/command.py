"""tacit-server: the coordinator of a federated run.

Only what a line of help needs is imported at the top.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from commands import entry
from tacit.errors import ConfigurationError

USAGE = """\
tacit-server: coordinate a federated run with the sites of a roster.

  tacit-server server.bundle=PATH [KEY=VALUE | GROUP=OPTION ...]
      wait for the sites, train, and write the run directory; the words of the experiment are those
      of tacit-simulate. The same command again goes on with a run that was stopped.
  tacit-server run.dir=RUN call_off=true
      end the run of the process that works there; sites get back what they kept for it

Often set
  run.dir=PATH             where the run is kept (default: outputs/NAME/deployed)
  training.min_replies=N   fewest sites with which a round counts (default: all)
  server.host=ADDRESS      where to listen (default: 0.0.0.0), server.port=9443 for sites,
                           server.watch_port=9444 for tacit-watch
  server.wait=SECONDS      longest wait for enough sites (default: 3600)
  server.round_timeout=SECONDS   after which a site is missing from a round (default: 600)
  server.heartbeat=SECONDS server.log=text|json

Options
  -h, --help       this
  --version        the version
  --config-dir DIR add the YAML of DIR/GROUP/OPTION.yaml to the options

Exit codes: 0 done, 1 a fault of ours, 2 configuration or bad input, 4 called off, 5 refused by the
sites, 6 too few sites, 130 Ctrl-C, 143 SIGTERM.
"""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    if entry.answered(words, USAGE):
        return 0
    from commands.arguments import split

    arguments = split(words)
    if arguments.multirun or arguments.show or arguments.list:
        raise ConfigurationError("--multirun, --show and --list belong to tacit-simulate")
    if "call_off=true" in arguments.words:
        return _call_off([word for word in arguments.words if word != "call_off=true"])
    from rich.console import Console

    # Or grpc writes a line of its own for every handshake that fails.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from commands.compose import composed
    from server.deployed_settings import split_words
    from server.deployment import deploy
    from tacit.configuration import read_settings
    from tacit.logs import set_up
    from tacit.runs.directory import HISTORY, REPORT
    from tacit.runs.results import read_history
    from tacit.runs.terminal import deployed_table

    own, rest = split_words(arguments.words)
    _check_words(rest)
    config = composed([*rest, "compare=false"], folder=arguments.config_dir)
    settings = read_settings(config)
    set_up(own.log, "coordinator")
    results, path = deploy(settings, config, own)
    history = read_history(path / HISTORY)
    deployed_table(results, history, (path / REPORT).resolve(), Console())
    return 0


def _check_words(words: list[str]) -> None:
    """Refuse words that mean nothing to a coordinator."""
    for word in words:
        key, _, value = word.partition("=")
        if key == "run.resume":
            raise ConfigurationError(
                f"{word}: the same command again goes on with its run: leave it out"
            )
        if key == "compare" and value != "false":
            raise ConfigurationError(
                f"{word}: baselines need everybody's data: tacit-simulate measures them"
            )


def _call_off(words: list[str]) -> int:
    from server.call_off import call_off

    paths = [word.removeprefix("run.dir=") for word in words if word.startswith("run.dir=")]
    if not (len(words) == len(paths) == 1 and paths[0]):
        raise ConfigurationError("say which run: tacit-server run.dir=RUN call_off=true")
    call_off(Path(paths[0]))
    print(f"{paths[0]}: called off")
    return 0


if __name__ == "__main__":
    main()

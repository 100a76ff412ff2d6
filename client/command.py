"""tacit-client: one site, resident: it answers the coordinator until it is stopped.

Only what a line of help needs is imported at the top.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from commands import entry
from tacit.errors import ConfigurationError

if TYPE_CHECKING:
    from client.site_file import SiteFile
    from tacit.settings import Settings

USAGE = """\
tacit-client: take part in federated runs with one site's data, as far as its officer allows.

  tacit-client site=PATH/site.yaml check=true
      look at data, model, keys, clock, connection and policy, and at what the experiment would
      cost; nothing is spent, and nothing about the data leaves this terminal
  tacit-client site=PATH/site.yaml
      stay connected and train when asked, until Ctrl-C or SIGTERM

site.yaml says what the site holds and what it allows: see the commented one in the bundle from
tacit-provision. Nothing that the coordinator sends widens it; no code is received.

Options
  -h, --help       this
  --version        the version
  --config-dir DIR add the YAML of DIR/GROUP/OPTION.yaml to the options of `experiment`

Exit codes: 0 done, 1 a fault of ours, 2 configuration or bad input, 4 check found a problem,
130 Ctrl-C, 143 SIGTERM.
"""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    if entry.answered(words, USAGE):
        return 0
    from client.site_file import read_site_file
    from commands.arguments import split

    arguments = split(words)
    if arguments.multirun or arguments.show or arguments.list:
        raise ConfigurationError("--multirun, --show and --list belong to tacit-simulate")
    path, check = _own_words(arguments.words)
    file = read_site_file(path)
    settings = _settings(file, path, arguments.config_dir)
    if check:
        from client.check import check_site

        return check_site(file, settings)
    from client.resident import stay

    stay(file, settings)
    return 0


def _own_words(words: list[str]) -> tuple[Path, bool]:
    """Read ``site=PATH`` and ``check=true``."""
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("site", "check"):
            from tacit.nearest import nearest

            raise ConfigurationError(
                f"{key}: there is no such key here, and what a site trains and allows stands in "
                f"its site.yaml; {nearest(key, ('site', 'check'))}"
            )
        if key in found:
            raise ConfigurationError(f"{word}: {key}={found[key]} was said before")
        found[key] = value
    if not found.get("site"):
        raise ConfigurationError("say which site: tacit-client site=PATH/site.yaml")
    if found.get("check", "false") not in ("true", "false"):
        raise ConfigurationError(f"check={found['check']}: must be check=true or check=false")
    return Path(found["site"]), found.get("check") == "true"


def _settings(file: "SiteFile", path: Path, folder: Path | None) -> "Settings":
    """Compose the experiment that the site file names."""
    from client.setup import words_of
    from commands.compose import composed
    from tacit.configuration import read_settings

    try:
        return read_settings(composed(words_of(file), folder=folder))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: experiment: {error}") from error


if __name__ == "__main__":
    main()

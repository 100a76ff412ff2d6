"""tacit-provision: keys and certificates for the coordinator and its sites."""

import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from commands import entry
from tacit.errors import ConfigurationError, ExitCode

USAGE = """\
tacit-provision: keys, certificates and the roster of sites.

At the coordinator's, on a machine that need not be on any network:

  tacit-provision init DIR --site NAME ... --name HOST ... --address IP ...
                     make DIR: an authority, the coordinator's bundle for the names and addresses
                     where sites reach it, and a bundle for each site
  tacit-provision add DIR NAME [--keys FILE]
                     enrol another site; --keys: with the request of a site that made its own keys
  tacit-provision renew DIR NAME [--keys FILE]
                     give a site new keys and revoke the ones it has
  tacit-provision renew DIR server
                     issue the coordinator's certificates anew
  tacit-provision revoke DIR NAME
                     let a site in no longer
  tacit-provision status DIR
                     who there is, until when, and what ends within 30 days

At a site that lets nobody else make its keys:

  tacit-provision keys FOLDER NAME
                     make the private keys, and a public request to hand in

  DIR/authority      signs everything: keep it offline
  DIR/server         for the coordinator's machine, and nobody else
  DIR/sites/NAME     for that site, and nobody else; copy it on a safe way

Nothing private is ever overwritten. What changes the roster (add, renew, revoke) counts once the
new DIR/server/roster.json is on the coordinator's machine.

Options
  -h, --help   this
  --version    the version
"""

WORDS: Final = ("init", "add", "renew", "revoke", "status", "keys")


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: Sequence[str]) -> int:
    if entry.answered(words, USAGE):
        return ExitCode.DONE
    if not words or words[0] not in WORDS:
        said = f"{words[0]}: there is no such word; " if words else ""
        raise ConfigurationError(f"{said}say one of {', '.join(WORDS)}; --help explains them")
    from commands.typed import call
    from server.provision_words import app

    return call(app, "tacit-provision", words)


if __name__ == "__main__":
    main()

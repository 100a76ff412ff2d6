"""What a site may be called: it stands in file names, certificates and the roster."""

import re
from typing import Final

from tacit.errors import ConfigurationError

SERVER_NAME: Final = "server"
"""What the coordinator is called where sites go by their names; no site's name."""

_NAME: Final = re.compile("[a-z0-9][a-z0-9_-]{0,62}")


def check_name(name: str) -> None:
    """Refuse what cannot be a site's name.

    Raises
    ------
    ConfigurationError
        It is malformed, or taken by the coordinator.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a site's name: use small letters, digits, - and _, at most 63, "
            "beginning with a letter or digit"
        )
    if name == SERVER_NAME:
        raise ConfigurationError(f"{name!r} is the coordinator: choose another name for the site")

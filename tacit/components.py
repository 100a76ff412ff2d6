"""Making the classes that a configuration names by ``_target_``: ours or anybody's."""

from importlib import import_module
from typing import Any

from tacit.errors import ConfigurationError
from tacit.settings import Component


def make(group: str, component: Component, **more: object) -> Any:
    """Import a component's class and call it with its options.

    Parameters
    ----------
    group
        Where the component stands in the configuration, for the message.
    more
        Arguments beside the options; the options win.

    Raises
    ------
    ConfigurationError
        There is no such class, or it does not take these options.
    """
    module, _, name = component.target.rpartition(".")
    try:
        maker = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{group}._target_={component.target}: cannot be imported: {error}"
        ) from error
    try:
        return maker(**{**more, **component.options})
    except TypeError as error:
        raise ConfigurationError(f"{group}: {name} does not take these options: {error}") from error

"""A site as a Flower ClientApp: the same object over the network and in process."""

import logging
from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client import door
from client.site import Site, admit, learn, release
from tacit.errors import RefusedError
from tacit.privacy.policy import Reason

log = logging.getLogger(__name__)

FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a model, a library or odd data can raise while a site learns."""


def build_client_app(site_of: Callable[[Context], Site]) -> ClientApp:
    """Return an app that answers training requests for the site of a context.

    Parameters
    ----------
    site_of
        Finds the site; a process with one site returns that one.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        site = site_of(context)
        try:
            admitted = admit(site, message)
            if isinstance(admitted, Message):
                return admitted
            weights = learn(site, admitted)
            return release(site, message, admitted, weights)
        except RefusedError as error:
            log.warning("%s refused: %s", site.name, error)
            return door.refuse(message, error.reason)
        except FAULTS as error:
            # What broke may depend on the data: the terminal of the site hears it, nobody else.
            log.exception("%s could not learn", site.name, exc_info=error)
            return door.refuse(message, Reason.NOT_AVAILABLE)

    return app

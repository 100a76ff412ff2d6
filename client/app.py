"""A site as a Flower ClientApp: the same object over the network and in process."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from flwr.app import Context, Message, MessageType
from flwr.clientapp import ClientApp

from client import door
from client.site import Site, admit, end, introduce, learn, release, reserve, secure
from tacit.errors import RefusedError
from tacit.messages import END, ENROL, RESERVE, SECURE
from tacit.privacy.policy import Reason

log = logging.getLogger(__name__)

T = TypeVar("T")

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


ANSWERED: Final = frozenset(
    {
        MessageType.TRAIN,
        *(f"{MessageType.QUERY}.{action}" for action in (ENROL, RESERVE, SECURE, END)),
    }
)
"""Types of messages that a site answers."""


class _SiteApp(ClientApp):
    """A ClientApp that refuses what it has no answer for: Flower's own would end the process."""

    def __call__(self, message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        if kind not in ANSWERED:
            log.warning("refused: the coordinator asks for %.80r, which no site does", kind)
            return door.refuse(message, Reason.PLAN_DIFFERS)
        return super().__call__(message, context)


def build_client_app(site_of: Callable[[Context], Site]) -> ClientApp:
    """Return an app that answers for the site of a context.

    Parameters
    ----------
    site_of
        Finds the site; a process with one site returns that one. A context without a site raises
        RefusedError.
    """
    app = _SiteApp()

    def answer(
        work: Callable[[Site, Message], Message], done: str = ""
    ) -> Callable[[Message, Context], Message]:
        def worked(site: Site, message: Message) -> Message:
            reply = work(site, message)
            if done:
                log.info("%s", done)
            return reply

        return lambda message, context: guarded(message, lambda: worked(site_of(context), message))

    app.query(ENROL)(answer(introduce, "invited to a run"))
    app.query(RESERVE)(answer(reserve, "the run is reserved in the ledger"))
    app.query(SECURE)(answer(secure))
    app.query(END)(answer(end, "the run is closed"))
    app.train()(answer(_train, "a round is done: its charge and its reply are in the ledger"))
    return app


def guarded(message: Message, work: Callable[[], T]) -> T | Message:
    """Do a part of a site's work on a message; what is refused or breaks becomes a refusal."""
    try:
        return work()
    except RefusedError as error:
        log.warning("refused: %s", error)
        return door.refuse(message, error.reason)
    except FAULTS as error:
        # What broke may depend on the data: the site's terminal hears it, nobody else.
        log.exception("could not answer", exc_info=error)
        return door.refuse(message, Reason.NOT_AVAILABLE)


def _train(site: Site, message: Message) -> Message:
    admitted = admit(site, message)
    if isinstance(admitted, Message):
        return admitted
    weights = learn(site, admitted)
    # What came is not held beside what goes: either may be a gigabyte.
    admitted = replace(admitted, weights={})
    message.content.clear()
    return release(site, message, admitted, weights)

"""A round's advertisements, checked, and the session that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tacit.errors import SecureSumError, WrongMessageError
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.context import Context
from tacit.secagg.neighbours import Neighbourhoods
from tacit.secagg.statements import keys_statement, signed_by
from tacit.secagg.wire import digest

_SESSION: Final = b"tacit secure sum: session 1"


@dataclass(frozen=True)
class Session:
    """One round once the advertisements are there.

    Parameters
    ----------
    advertisements
        By name, in order.
    digest
        Hash of the context and of all of them: sites that got another directory have another one,
        and nothing that either signs or derives fits the other.
    neighbourhoods
        Who masks with whom.
    """

    advertisements: Mapping[str, Advertisement]
    digest: bytes
    neighbourhoods: Neighbourhoods

    @staticmethod
    def of(context: Context, directory: Directory) -> "Session":
        """Derive the session of a directory whose advertisements are checked."""
        advertisements = {listed.site: listed for listed in directory.advertisements}
        session = digest(_SESSION, context.digest, directory.encode())
        cohort = len(context.cohort.identities)
        return Session(
            advertisements,
            session,
            Neighbourhoods(advertisements, session, cohort, context.assumptions),
        )


def check_advertisement(context: Context, advertised: Advertisement) -> None:
    """Check that keys are those of a site of the cohort, for this very round.

    Raises
    ------
    WrongMessageError
        They are not; the error names whose they are said to be.
    """
    if context.cohort.identity(advertised.site) is None:
        raise WrongMessageError(
            advertised.site, "is not in the cohort: its keys are somebody else's"
        )
    if not signed_by(
        context.cohort, advertised.site, advertised.signature, keys_statement(context, advertised)
    ):
        raise WrongMessageError(
            advertised.site,
            f"its keys are not signed by its identity for round {context.round} of {context.run} "
            "with the cohort, weights and configuration known here: they were exchanged, are of "
            "another round, or it was sent another model",
        )


def check_directory(context: Context, directory: Directory, own: Advertisement) -> None:
    """Check, at a site, all the advertisements that it is to go by.

    Raises
    ------
    SecureSumError
        There are too few, one is not signed for this round, a key is there twice, or the site's
        own was left out or changed.
    """
    listed = directory.advertisements
    if own not in listed:
        raise SecureSumError(f"{own.site}: its own keys were left out of the directory or changed")
    if len(listed) < context.cohort.quorum:
        raise SecureSumError(
            f"keys of {len(listed)} sites only, and {context.cohort.quorum} of the "
            f"{len(context.cohort.identities)} in the cohort must take part"
        )
    seen: set[bytes] = set()
    for advertised in listed:
        try:
            check_advertisement(context, advertised)
        except WrongMessageError as error:
            raise SecureSumError(str(error)) from error
        for key in advertised.keys:
            if key in seen:
                raise SecureSumError(f"{advertised.site}: has a key that is in the directory twice")
            seen.add(key)

"""The server's part in one secure sum: it passes on, leaves out, and learns the sum only.

Five stages; in each it takes the sites' bytes and then gives what to send to whom next::

    server = Server(context)
    server.receive("county", advertisement)     # from every site that answers in time
    requests = server.directory()               # bytes by site, for Site.share
    ...
    requests = server.dealt()                   # for Site.mask
    requests = server.survivors()               # for Site.agree
    requests = server.agreements()              # for Site.reveal
    total = server.total()

A reply that cannot be used is as good as none: its site is left out of what follows, and `faults`
says why. So is a site whose shares too few of their holders can use. When too few sites are left,
the round is given up.

Vectors are held, as the bytes that came, until `survivors`: a site can be left out up to then.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tacit.errors import TooFewSitesError, WrongMessageError
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.context import Context
from tacit.secagg.directory import Session, check_advertisement
from tacit.secagg.keys import check_key
from tacit.secagg.messages import (
    Agreement,
    Agreements,
    Deal,
    Dealing,
    Dealt,
    MaskedInput,
    Revealed,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.statements import input_statement, signed_by, survivors_statement
from tacit.secagg.unmasking import ClosedRound, Total, Unmasking

_Reply = TypeVar("_Reply")


class Server:
    """The server in one round.

    Parameters
    ----------
    context
        The round; every site has the same, or takes no part.

    Attributes
    ----------
    faults
        What was wrong with what a site sent, by its name.
    """

    def __init__(self, context: Context) -> None:
        self.faults: dict[str, str] = {}
        self._context = context
        self._collecting: Stage | None = Stage.ADVERTISED
        self._expected = frozenset(context.cohort.identities)
        self._advertisements: dict[str, Advertisement] = {}
        self._dealings: dict[str, dict[str, Deal]] = {}
        self._inputs: dict[str, MaskedInput] = {}
        self._agreements: dict[str, bytes] = {}
        self._revealed: dict[str, Revealed] = {}
        self._sum = np.zeros(context.length, context.modulus.dtype)
        # Each is set when its stage is closed; stages come in order.
        self._session: Session
        self._dealers: tuple[str, ...]
        self._survivors: tuple[str, ...]

    def receive(self, site: str, content: bytes) -> None:
        """Take a site's reply to what it was last sent.

        Nothing is raised: what cannot be used is noted in `faults`.

        Parameters
        ----------
        site
            Whose it is, as the transport knows.
        content
            The bytes.
        """
        try:
            if site not in self._expected:
                raise WrongMessageError(site, "came too late or was not asked: it is left out")
            match self._collecting:
                case Stage.ADVERTISED:
                    self._take_advertisement(site, content)
                case Stage.SHARED:
                    self._take_dealing(site, content)
                case Stage.MASKED:
                    self._take_input(site, content)
                case Stage.AGREED:
                    self._take_agreement(site, content)
                case _:
                    _keep(self._revealed, site, decode(Revealed, content, site))
        except WrongMessageError as error:
            self.faults.setdefault(site, str(error))

    def directory(self) -> dict[str, bytes]:
        """Close the advertisements; return the directory, for each site in it.

        Raises
        ------
        TooFewSitesError
            Fewer sites advertised than a quorum.
        """
        sites = self._close(Stage.ADVERTISED, self._advertisements)
        listed = Directory(tuple(self._advertisements[site] for site in sites))
        self._session = Session.of(self._context, listed)
        return dict.fromkeys(sites, listed.encode())

    def dealt(self) -> dict[str, bytes]:
        """Close the sharing; return what each dealer holds of the others.

        Raises
        ------
        TooFewSitesError
            Fewer sites dealt than a quorum.
        """
        self._dealers = self._close(Stage.SHARED, self._dealings)
        return {
            holder: Dealt(self._dealers, tuple(self._deals_for(holder))).encode()
            for holder in self._dealers
        }

    def survivors(self) -> dict[str, bytes]:
        """Close the inputs; return whose vectors are summed, for each of them to sign.

        Raises
        ------
        TooFewSitesError
            Fewer vectors came than a quorum.
        """
        self._survivors = self._close(Stage.MASKED, self._inputs)
        for site in self._survivors:
            self._sum += np.frombuffer(self._inputs[site].vector, self._sum.dtype)
        signatures = {site: self._inputs[site].signature for site in self._survivors}
        self._inputs.clear()
        neighbours = self._session.neighbourhoods.neighbours
        return {
            site: Survivors(
                self._survivors,
                tuple((n, signatures[n]) for n in neighbours(site) if n in signatures),
            ).encode()
            for site in self._survivors
        }

    def agreements(self) -> dict[str, bytes]:
        """Close the agreements; return a quorum's signatures, for each signer.

        A site goes by a quorum, and by the threshold of its own neighbourhood, whoever has signed:
        what is beyond that it would check for nothing, and of 100 sites that is a third.

        Raises
        ------
        TooFewSitesError
            Fewer sites signed than a quorum.
        """
        signers = self._close(Stage.AGREED, self._agreements)
        return {
            site: Agreements(
                tuple((name, self._agreements[name]) for name in self._enough(site, signers))
            ).encode()
            for site in signers
        }

    def total(self) -> Total:
        """Close the round; return the sum.

        Raises
        ------
        TooFewSitesError
            Too few right shares came of somebody's secret, or they give a wrong one; `reasons`
            names who sent what was wrong.
        """
        self._close(Stage.REVEALED, self._revealed)
        closed = ClosedRound(
            self._context, self._session, self._dealings, self._dealers, self._survivors
        )
        return Unmasking(closed, self._revealed, self.faults).total(self._sum)

    def _enough(self, site: str, signers: tuple[str, ...]) -> list[str]:
        """Choose whose signatures are enough for a site: its own, its holders', then others'."""
        neighbourhoods = self._session.neighbourhoods
        around = [n for n in neighbourhoods.neighbours(site) if n in self._agreements]
        first = {site, *around[: neighbourhoods.threshold - 1]}
        others = [name for name in signers if name not in first]
        missing = max(0, self._context.cohort.quorum - len(first))
        return sorted([*first, *others[:missing]])

    def _take_advertisement(self, site: str, content: bytes) -> None:
        advertised = decode(Advertisement, content, site)
        if advertised.site != site:
            raise WrongMessageError(site, f"sent keys in the name of {advertised.site!r}")
        check_advertisement(self._context, advertised)
        others = [one for name, one in self._advertisements.items() if name != site]
        taken = {key for one in others for key in one.keys}
        if len({*taken, *advertised.keys}) < len(taken) + 2:
            raise WrongMessageError(site, "sent a key that is there already")
        for key in advertised.keys:
            check_key(key, site)
        _keep(self._advertisements, site, advertised)

    def _take_dealing(self, site: str, content: bytes) -> None:
        dealing = decode(Dealing, content, site)
        holders = self._session.neighbourhoods.holders(site)
        if tuple(deal.site for deal in dealing.deals) != holders:
            raise WrongMessageError(site, "dealt shares to others than its neighbours and itself")
        _keep(self._dealings, site, {deal.site: deal for deal in dealing.deals})

    def _take_input(self, site: str, content: bytes) -> None:
        masked = decode(MaskedInput, content, site)
        if masked.vector.nbytes != self._sum.nbytes:
            raise WrongMessageError(
                site, f"sent a vector of {masked.vector.nbytes} bytes, not {self._sum.nbytes}"
            )
        statement = input_statement(self._session.digest, self._dealers)
        if not signed_by(self._context.cohort, site, masked.signature, statement):
            raise WrongMessageError(site, "did not sign that it masked with all who dealt")
        _keep(self._inputs, site, masked)
        for dealer in masked.complaints:
            if dealer in self._dealings:
                self.faults.setdefault(
                    dealer, f"{dealer}: its shares for {site} cannot be used, as {site} says"
                )

    def _take_agreement(self, site: str, content: bytes) -> None:
        agreement = decode(Agreement, content, site)
        statement = survivors_statement(self._session.digest, self._dealers, self._survivors)
        if not signed_by(self._context.cohort, site, agreement.signature, statement):
            raise WrongMessageError(site, "signed another list of survivors, or did not sign")
        _keep(self._agreements, site, agreement.signature)

    def _close(self, stage: Stage, sites: Iterable[str]) -> tuple[str, ...]:
        """End a stage; return who is there for the next, in order."""
        if stage != self._collecting:
            raise RuntimeError(f"the stage {stage.name} is closed in its turn, once")
        self._collecting = Stage(stage + 1) if stage < Stage.REVEALED else None
        there = set(sites)
        if stage in (Stage.SHARED, Stage.MASKED):
            self._leave_out_short(there)
        cohort = self._context.cohort
        if len(there) < cohort.quorum:
            raise self._given_up(
                f"{len(there)} sites have {stage.name.lower()}, and {cohort.quorum} of the "
                f"{len(cohort.identities)} in the cohort must"
            )
        self._expected = frozenset(there if self._collecting else ())
        return tuple(sorted(there))

    def _leave_out_short(self, there: set[str]) -> None:
        """Leave out, worst first, who dealt so badly that too few hold shares of its secrets."""
        neighbourhoods = self._session.neighbourhoods
        while len(there) >= self._context.cohort.quorum:
            held = {dealer: self._holding(dealer, there) for dealer in there}
            short = [dealer for dealer in there if held[dealer] < neighbourhoods.threshold]
            if not short:
                return
            bad = [d for d in short if any(self._complained(holder, d) for holder in there)]
            if not bad:
                # On a ring, too many neighbours are gone; leaving it out would only widen the gap.
                raise self._given_up(
                    f"{held[min(short)]} holders of shares of {min(short)} are left, and "
                    f"{neighbourhoods.threshold} are needed"
                )
            # It held shares too: who is short then is found in the next turn.
            there.remove(min(bad, key=lambda dealer: (held[dealer], dealer)))

    def _holding(self, dealer: str, there: set[str]) -> int:
        holders = there.intersection(self._session.neighbourhoods.holders(dealer))
        return sum(not self._complained(holder, dealer) for holder in holders)

    def _given_up(self, why: str) -> TooFewSitesError:
        said = "".join(f"; {fault}" for fault in self.faults.values())
        return TooFewSitesError(
            f"sum {self._context.round} of {self._context.run} is given up: {why}{said}",
            self.faults,
        )

    def _complained(self, holder: str, dealer: str) -> bool:
        masked = self._inputs.get(holder)
        return masked is not None and dealer in masked.complaints

    def _deals_for(self, holder: str) -> Iterator[Deal]:
        for dealer in self._session.neighbourhoods.neighbours(holder):
            if dealer in self._dealers:
                yield replace(self._dealings[dealer][holder], site=dealer)


def _keep(taken: dict[str, _Reply], site: str, reply: _Reply) -> None:
    """Keep a site's first reply to a stage.

    Raises
    ------
    WrongMessageError
        There is one already, and not the same.
    """
    if taken.setdefault(site, reply) != reply:
        raise WrongMessageError(site, "answered twice, and not the same")

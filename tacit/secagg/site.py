"""One site's part in one secure sum: Bonawitz et al. 2017, figure 4, against a lying server.

Five stages, of which each takes the server's bytes and gives the site's, see
`tacit.secagg.messages`::

    site = Site(context, "county", identity)
    site.advertise()
    site.share(directory)
    site.ready(dealt)           # may be left out
    site.mask(dealt, vector)
    site.agree(survivors)
    site.reveal(agreements)

What the site insists on, whatever it is told: the cohort, the quorum and the neighbourhoods are
those that it works out itself; it goes forward only, and answers each stage once. The same request
again gets the same bytes again, while it is the last; anything else ends the round for this site,
and so does every other refusal. After that, and after `reveal`, its secrets are gone.

A site object is one round. Whoever makes it sees to it that there is only one for a round: two
sums of the same vector over different survivors differ by what one site sent.
"""

from collections.abc import Callable, Collection

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tacit.errors import ConfigurationError, SecureSumError, TacitError
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.context import Context
from tacit.secagg.dealing import OpenedDeals, deal_out, open_deals
from tacit.secagg.directory import Session, check_directory
from tacit.secagg.keys import RoundKeys, commitment, mask_seed
from tacit.secagg.masks import Mask, Vector, apply
from tacit.secagg.messages import (
    Agreement,
    Agreements,
    Dealt,
    MaskedInput,
    Revealed,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.sealed import Bundle
from tacit.secagg.statements import (
    input_statement,
    keys_statement,
    signed_by,
    survivors_statement,
)
from tacit.trust.names import SERVER_NAME


class Site:
    """One site in one round.

    Parameters
    ----------
    context
        The round, as the site itself knows it.
    name
        Its name in the cohort.
    identity
        Its Ed25519 key there.
    least_sites
        It is in no sum of fewer sites than this, whatever the quorum is. With two, each learns the
        other's vector.

    Raises
    ------
    ConfigurationError
        The site is not in the cohort, or is there with another identity.
    """

    def __init__(
        self, context: Context, name: str, identity: Ed25519PrivateKey, *, least_sites: int = 3
    ) -> None:
        if context.cohort.identity(name) != identity.public_key():
            raise ConfigurationError(
                f"{name!r} is not in the cohort with this identity: check the roster it pinned"
            )
        self.name = name
        self._context = context
        self._identity = identity
        self._least = least_sites
        self._keys: RoundKeys | None = RoundKeys()
        self._stage = Stage.NOTHING
        self._over: str | None = None
        self._last: tuple[bytes, bytes] = (b"", b"")
        # Each is set by the stage that makes it; stages come in order.
        self._own: Advertisement
        self._own_bundle: Bundle
        self._session: Session
        self._dealers: tuple[str, ...]
        self._opened: OpenedDeals
        self._seeds: dict[str, bytes]
        self._survivors: tuple[str, ...]

    def advertise(self) -> bytes:
        """Give the site's keys for the round.

        Raises
        ------
        SecureSumError
            The site is past this.
        """
        return self._answer(Stage.ADVERTISED, b"", self._advertise)

    def share(self, directory: bytes) -> bytes:
        """Give sealed shares of the site's secrets for its neighbours.

        Raises
        ------
        SecureSumError, WrongMessageError
            The directory does not hold; see `check_directory`.
        """
        return self._answer(Stage.SHARED, directory, lambda: self._share(directory))

    def ready(self, dealt: bytes) -> None:
        """Refuse what `mask` would refuse, before anything was spent on a vector.

        Raises
        ------
        SecureSumError, WrongMessageError
            Too few others take part, or some who do not exist.
        """
        if self._over is None and self._stage is Stage.MASKED and dealt == self._last[0]:
            return

        def check() -> bytes:
            self._dealt(dealt)
            return b""

        self._turn(Stage.MASKED, check)

    def mask(self, dealt: bytes, vector: Vector) -> bytes:
        """Give the site's vector under its masks.

        Parameters
        ----------
        dealt
            The server's message.
        vector
            uint32 or uint16 of shape [length], as the context says; it is not changed.

        Raises
        ------
        SecureSumError, WrongMessageError
            Too few others take part, or some who do not exist.
        ValueError
            The vector is of another type or length.
        """
        context = self._context
        if vector.dtype != context.modulus.dtype or vector.shape != (context.length,):
            raise ValueError(
                f"the vector must be {context.modulus.dtype} of shape [{context.length}], not "
                f"{vector.dtype} of shape {list(vector.shape)}"
            )
        return self._answer(Stage.MASKED, dealt, lambda: self._mask(dealt, vector))

    def agree(self, survivors: bytes) -> bytes:
        """Give the site's signature over whose vectors are summed.

        Raises
        ------
        SecureSumError, WrongMessageError
            They are too few, or the site is not among them.
        """
        return self._answer(Stage.AGREED, survivors, lambda: self._agree(survivors))

    def reveal(self, agreements: bytes) -> bytes:
        """Give the shares that open the sum, once a quorum has signed the same survivors.

        Raises
        ------
        SecureSumError, WrongMessageError
            A signature is over something else, or there are too few.
        """
        revealed = self._answer(Stage.REVEALED, agreements, lambda: self._reveal(agreements))
        self._forget()
        return revealed

    def _answer(self, stage: Stage, request: bytes, make: Callable[[], bytes]) -> bytes:
        if self._over is None and stage == self._stage and request == self._last[0]:
            return self._last[1]
        answer = self._turn(stage, make)
        self._stage, self._last = stage, (request, answer)
        return answer

    def _turn(self, stage: Stage, make: Callable[[], bytes]) -> bytes:
        """Do what is next; what cannot be done ends the round here."""
        if self._over is not None:
            raise SecureSumError(f"{self.name}: this round is over here: {self._over}")
        try:
            if stage != self._stage + 1:
                raise SecureSumError(
                    f"{self.name}: was asked again, for something else or out of turn: it has "
                    f"{self._stage.name.lower()} and would now have {stage.name.lower()}"
                )
            return make()
        except TacitError as error:
            self._over = str(error)
            self._forget()
            raise

    def _secrets(self) -> RoundKeys:
        if self._keys is None:
            raise SecureSumError(f"{self.name}: its secrets of this round are gone")
        return self._keys

    def _forget(self) -> None:
        self._keys = None
        self._opened = OpenedDeals({}, ())
        self._own_bundle = Bundle(b"", b"")
        self._seeds = {}

    def _advertise(self) -> bytes:
        keys = self._secrets()
        unsigned = Advertisement(
            self.name,
            keys.mask.public_key().public_bytes_raw(),
            keys.channel.public_key().public_bytes_raw(),
            commitment(self._context.digest, self.name, keys.self_mask),
            b"",
        )
        signature = self._identity.sign(keys_statement(self._context, unsigned))
        self._own = Advertisement(
            self.name, unsigned.mask_key, unsigned.channel_key, unsigned.commitment, signature
        )
        return self._own.encode()

    def _share(self, content: bytes) -> bytes:
        directory = decode(Directory, content, SERVER_NAME)
        check_directory(self._context, directory, self._own)
        self._session = Session.of(self._context, directory)
        dealing, self._own_bundle = deal_out(self._session, self.name, self._secrets())
        return dealing.encode()

    def _mask(self, content: bytes, vector: Vector) -> bytes:
        dealt = self._dealt(content)
        self._dealers = dealt.dealers
        keys, session = self._secrets(), self._session
        partners = self._neighbours(dealt.dealers)
        self._opened = open_deals(session, self.name, keys, partners, dealt.deals)
        self._seeds = {
            other: mask_seed(keys.mask, self.name, session.advertisements[other], session.digest)
            for other in partners
        }
        masks = [Mask(keys.self_mask)]
        masks += [Mask(seed, subtract=self.name > other) for other, seed in self._seeds.items()]
        masked = vector.copy()
        apply(masks, masked)
        signature = self._identity.sign(input_statement(session.digest, dealt.dealers))
        return MaskedInput(masked.data.cast("B"), signature, self._opened.complaints).encode()

    def _dealt(self, content: bytes) -> Dealt:
        dealt = decode(Dealt, content, SERVER_NAME)
        self._check_present(dealt.dealers, "dealt shares", self._session.advertisements)
        return dealt

    def _agree(self, content: bytes) -> bytes:
        survivors = decode(Survivors, content, SERVER_NAME)
        self._check_present(survivors.sites, "survived", self._dealers)
        if len(survivors.sites) < self._least:
            raise SecureSumError(
                f"a sum of {len(survivors.sites)} sites, and {self.name} is in none of fewer than "
                f"{self._least}"
            )
        # A neighbour whose self-mask is to be opened must have masked with all of these dealers:
        # else the server could have kept its honest partners from it, and open its vector.
        statement = input_statement(self._session.digest, self._dealers)
        signatures = dict(survivors.signatures)
        for other in self._neighbours(survivors.sites):
            signature = signatures.get(other, b"")
            if not signed_by(self._context.cohort, other, signature, statement):
                raise SecureSumError(f"{other}: did not sign that it masked with the same sites")
        self._survivors = survivors.sites
        return Agreement(self._identity.sign(self._agreed())).encode()

    def _reveal(self, content: bytes) -> bytes:
        agreements = decode(Agreements, content, SERVER_NAME)
        statement = self._agreed()
        signers = [name for name, _ in agreements.signatures]
        self._check_present(signers, "agreed", self._survivors)
        for name, signature in agreements.signatures:
            if not signed_by(self._context.cohort, name, signature, statement):
                raise SecureSumError(f"{name}: signed another list of survivors, or did not sign")
        alive = frozenset(self._survivors)
        held = sorted({**self._opened.bundles, self.name: self._own_bundle}.items())
        return Revealed(
            tuple((dealer, bundle.self_mask) for dealer, bundle in held if dealer in alive),
            tuple((dealer, bundle.mask_key) for dealer, bundle in held if dealer not in alive),
            tuple((other, seed) for other, seed in self._seeds.items() if other not in alive),
        ).encode()

    def _agreed(self) -> bytes:
        return survivors_statement(self._session.digest, self._dealers, self._survivors)

    def _neighbours(self, among: tuple[str, ...]) -> list[str]:
        there = frozenset(among)
        return [n for n in self._session.neighbourhoods.neighbours(self.name) if n in there]

    def _check_present(self, sites: Collection[str], did: str, among: Collection[str]) -> None:
        """Refuse to go on with strangers, without this site, or with too few."""
        strangers = sorted(set(sites).difference(among))
        if strangers:
            raise SecureSumError(f"{', '.join(strangers)}: cannot have {did}: was not there before")
        if self.name not in sites:
            raise SecureSumError(f"{self.name}: was left out of those who {did}")
        quorum = self._context.cohort.quorum
        if len(sites) < quorum:
            raise SecureSumError(
                f"only {len(sites)} sites {did}, and {quorum} of the "
                f"{len(self._context.cohort.identities)} in the cohort must"
            )
        neighbourhoods = self._session.neighbourhoods
        held = len(set(neighbourhoods.holders(self.name)).intersection(sites))
        if held < neighbourhoods.threshold:
            raise SecureSumError(
                f"only {held} sites of the neighbourhood of {self.name} {did}, and its threshold "
                f"is {neighbourhoods.threshold}"
            )

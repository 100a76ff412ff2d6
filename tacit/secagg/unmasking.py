"""Take the masks off a sum: secrets from shares, each checked, and whose is wrong.

Every share is compared with the hash that its dealer published and that its holder found right
when it got the share: a share that differs is its holder's doing. Every secret is compared with
what its owner signed (the commitment to the self-mask, the public mask key): one that differs,
from right shares, is its dealer's doing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tacit.errors import TooFewSitesError
from tacit.secagg.context import Context
from tacit.secagg.directory import Session
from tacit.secagg.keys import commitment, mask_seed
from tacit.secagg.masks import Mask, Vector, apply
from tacit.secagg.messages import Deal, Revealed
from tacit.secagg.sealed import Secret, share_hash
from tacit.secagg.shamir import join


@dataclass(frozen=True, slots=True)
class ClosedRound:
    """What the server knows of a round once its survivors have agreed.

    Parameters
    ----------
    context
        The round.
    session
        Its advertisements and neighbourhoods.
    dealings
        What each dealer dealt, by dealer and holder.
    dealers
        Who dealt, in order.
    survivors
        Whose vectors are in the sum, in order.
    """

    context: Context
    session: Session
    dealings: Mapping[str, Mapping[str, Deal]]
    dealers: tuple[str, ...]
    survivors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of a round.

    Parameters
    ----------
    vector
        Of shape [length], modulo the context's modulus.
    sites
        Whose vectors it is the sum of, in order.
    """

    vector: Vector
    sites: tuple[str, ...]


class Unmasking:
    """Takes off what masks are left in the sum of the survivors' masked vectors.

    Parameters
    ----------
    closed
        The round.
    revealed
        What holders revealed, by their names.
    faults
        Whose share or secret is wrong is noted here, by name.
    """

    def __init__(
        self, closed: ClosedRound, revealed: Mapping[str, Revealed], faults: dict[str, str]
    ) -> None:
        self._closed = closed
        self._faults = faults
        self._shares = {
            Secret.SELF_MASK: {holder: dict(r.self_masks) for holder, r in revealed.items()},
            Secret.MASK_KEY: {holder: dict(r.mask_keys) for holder, r in revealed.items()},
        }
        self._seeds = {holder: dict(r.seeds) for holder, r in revealed.items()}

    def total(self, masked: Vector) -> Total:
        """Take the masks off a sum of shape [length], in place, and return it.

        Raises
        ------
        TooFewSitesError
            A secret cannot be rebuilt: too few right shares came, or its owner dealt wrong ones.
        """
        alive = frozenset(self._closed.survivors)
        masks: list[Mask] = []
        for dealer in self._closed.dealers:
            if dealer in alive:
                self_mask = self._rebuilt(dealer, Secret.SELF_MASK)
                if self_mask is None:
                    raise self._given_up(f"the self-mask of {dealer} cannot be rebuilt")
                masks.append(Mask(self_mask, subtract=True))
                continue
            neighbours = self._closed.session.neighbourhoods.neighbours(dealer)
            partners = [other for other in neighbours if other in alive]
            # The opposite of what each survivor did with it.
            masks += [
                Mask(seed, subtract=other < dealer)
                for other, seed in zip(partners, self._seeds_of(dealer, partners), strict=True)
            ]
        apply(masks, masked)
        return Total(masked, self._closed.survivors)

    def _seeds_of(self, dropped: str, partners: Sequence[str]) -> list[bytes]:
        """Return the seeds that one that dropped out shared with survivors."""
        session = self._closed.session
        secret = self._rebuilt(dropped, Secret.MASK_KEY)
        if secret is not None:
            key = X25519PrivateKey.from_private_bytes(secret)
            listed = [session.advertisements[other] for other in partners]
            return [mask_seed(key, dropped, other, session.digest) for other in listed]
        # It dealt shares that cannot be used, or too few holders are left: the survivors say. One
        # that says something false spoils the sum, as it could with its vector.
        told = [self._seeds.get(other, {}).get(dropped) for other in partners]
        seeds = [seed for seed in told if seed is not None]
        if len(seeds) < len(partners):
            raise self._given_up(
                f"the mask key of {dropped} cannot be rebuilt, and {len(seeds)} of the "
                f"{len(partners)} survivors that masked with it told the seed"
            )
        return seeds

    def _rebuilt(self, dealer: str, secret: Secret) -> bytes | None:
        """Rebuild a dealer's secret; None where shares are too few or give another one."""
        threshold = self._closed.session.neighbourhoods.threshold
        shares = self._right_shares(dealer, secret)
        if len(shares) < threshold:
            return None
        try:
            rebuilt = join(dict(islice(shares.items(), threshold)))
        except ValueError:
            rebuilt = b""
        if rebuilt and self._is_advertised(dealer, secret, rebuilt):
            return rebuilt
        what = secret.value.decode()
        self._faults[dealer] = f"{dealer}: dealt shares of another {what} than it advertised"
        return None

    def _is_advertised(self, dealer: str, secret: Secret, rebuilt: bytes) -> bool:
        advertised = self._closed.session.advertisements[dealer]
        if secret is Secret.SELF_MASK:
            committed = commitment(self._closed.context.digest, dealer, rebuilt)
            return committed == advertised.commitment
        public = X25519PrivateKey.from_private_bytes(rebuilt).public_key().public_bytes_raw()
        return public == advertised.mask_key

    def _right_shares(self, dealer: str, secret: Secret) -> dict[int, bytes]:
        """Return the shares of a secret that are as published, by holder's number."""
        session = self._closed.session
        shares: dict[int, bytes] = {}
        for x, holder in enumerate(session.neighbourhoods.holders(dealer), 1):
            share = self._shares[secret].get(holder, {}).get(dealer)
            if share is None:
                continue
            deal = self._closed.dealings[dealer][holder]
            if share_hash(session.digest, dealer, holder, secret, share) == deal.published(secret):
                shares[x] = share
            else:
                self._faults[holder] = f"{holder}: revealed a wrong share of {dealer}"
        return shares

    def _given_up(self, why: str) -> TooFewSitesError:
        said = "".join(f"; {fault}" for fault in self._faults.values())
        return TooFewSitesError(f"the sum is given up: {why}{said}", self._faults)

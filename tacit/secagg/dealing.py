"""A site's secrets go to its holders in shares, and it holds shares of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tacit.errors import WrongMessageError
from tacit.secagg.directory import Session
from tacit.secagg.keys import RoundKeys, receiving_key, sending_key
from tacit.secagg.messages import Deal, Dealing
from tacit.secagg.sealed import Bundle, Secret, seal, share_hash, unseal
from tacit.secagg.shamir import split


@dataclass(frozen=True, slots=True)
class OpenedDeals:
    """What a holder got.

    Parameters
    ----------
    bundles
        Its shares, by dealer.
    complaints
        Dealers whose shares are missing, cannot be opened or are not as published, in order.
    """

    bundles: Mapping[str, Bundle]
    complaints: tuple[str, ...]


def deal_out(session: Session, name: str, keys: RoundKeys) -> tuple[Dealing, Bundle]:
    """Share a site's two secrets among its holders.

    Returns
    -------
    tuple
        What goes to the server, and the site's shares of its own secrets, which stay.
    """
    holders = session.neighbourhoods.holders(name)
    threshold = session.neighbourhoods.threshold
    self_mask = split(keys.self_mask, threshold, len(holders))
    mask_key = split(keys.mask.private_bytes_raw(), threshold, len(holders))
    bundles = dict(zip(holders, map(Bundle, self_mask, mask_key), strict=True))
    deals = []
    for holder, bundle in bundles.items():
        sealed = b""
        if holder != name:
            theirs = session.advertisements[holder]
            key = sending_key(keys.channel, name, theirs, session.digest)
            sealed = seal(bundle, key, session.digest, name, holder)
        deals.append(Deal(holder, sealed, *_hashes(session, name, holder, bundle)))
    return Dealing(tuple(deals)), bundles[name]


def open_deals(
    session: Session, name: str, keys: RoundKeys, dealers: Sequence[str], deals: Sequence[Deal]
) -> OpenedDeals:
    """Open the shares that a holder was dealt, and note whose cannot be used.

    Parameters
    ----------
    session
        The round.
    name
        The holder.
    keys
        Its secrets.
    dealers
        Its neighbours that dealt.
    deals
        What the server passed on from them.
    """
    passed_on = {deal.site: deal for deal in deals}
    bundles: dict[str, Bundle] = {}
    for dealer in dealers:
        deal = passed_on.get(dealer)
        if deal is None:
            continue
        theirs = session.advertisements[dealer]
        key = receiving_key(keys.channel, name, theirs, session.digest)
        try:
            bundle = unseal(deal.sealed, key, session.digest, dealer, name)
        except WrongMessageError:
            continue
        # Said now: a share found wrong only when it is revealed would look like the holder's doing.
        if _hashes(session, dealer, name, bundle) == (deal.self_mask_hash, deal.mask_key_hash):
            bundles[dealer] = bundle
    return OpenedDeals(bundles, tuple(d for d in dealers if d not in bundles))


def _hashes(session: Session, dealer: str, holder: str, bundle: Bundle) -> tuple[bytes, bytes]:
    return (
        share_hash(session.digest, dealer, holder, Secret.SELF_MASK, bundle.self_mask),
        share_hash(session.digest, dealer, holder, Secret.MASK_KEY, bundle.mask_key),
    )

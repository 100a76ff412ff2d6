"""Planted: each check is taken away, and the attack that it stops then works.

So the tests of attacks rest on these checks, and not on something that fails for another reason.
"""

import numpy as np
import pytest
from secagg_example import VICTIM, Round, context, identity, names, signed, without

from tacit.errors import TooFewSitesError
from tacit.secagg import directory, server, site, unmasking
from tacit.secagg.assumptions import Degree
from tacit.secagg.context import Cohort, Context
from tacit.secagg.keys import mask_seed
from tacit.secagg.masks import Mask, apply
from tacit.secagg.messages import (
    Dealt,
    MaskedInput,
    Revealed,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.shamir import join
from tacit.secagg.site import Site
from tacit.secagg.statements import survivors_statement


def opened(played: Round, masked: bytes, revealed: dict[str, Revealed]) -> list[int]:
    """What a server that has enough shares of both secrets of the victim reads of its vector."""
    session = played.server._session
    holders = session.neighbourhoods.holders(VICTIM)
    parts = {x: revealed[h] for x, h in enumerate(holders, 1) if h in revealed}
    self_mask = {x: dict(p.self_masks).get(VICTIM) for x, p in parts.items()}
    mask_key = {x: dict(p.mask_keys).get(VICTIM) for x, p in parts.items()}
    threshold = session.neighbourhoods.threshold
    seed, key = (
        join(dict([(x, share) for x, share in found.items() if share][:threshold]))
        for found in (self_mask, mask_key)
    )
    private = unmasking.X25519PrivateKey.from_private_bytes(key)
    masks = [Mask(seed, subtract=True)]
    for other in session.neighbourhoods.neighbours(VICTIM):
        shared = mask_seed(private, VICTIM, session.advertisements[other], session.digest)
        masks.append(Mask(shared, subtract=other > VICTIM))
    vector = np.frombuffer(decode(MaskedInput, masked, VICTIM).vector, np.uint32).copy()
    apply(masks, vector)
    return vector.tolist()


def lie_to_half(played: Round) -> dict[str, Revealed]:
    """Tell half of the sites that the victim survived, the other half that it did not."""
    alive, dead = names(7)[:4], names(7)[4:]
    answers = {n: played.sites[n].agree(played.requests[n]) for n in alive}
    answers |= {n: played.sites[n].agree(without(played.requests[n], VICTIM)) for n in dead}
    told = {n: signed({m: answers[m] for m in (alive if n in alive else dead)}) for n in answers}
    return {n: decode(Revealed, played.sites[n].reveal(told[n]), n) for n in answers}


def masked(of: Context) -> tuple[Round, bytes]:
    played = Round(of).until(Stage.SHARED)
    answers = played.answers(Stage.MASKED)
    played.take(Stage.MASKED, answers)
    return played, answers[VICTIM]


def test_without_consistency_both_secrets_of_the_victim_are_known(monkeypatch):
    """No signatures over survivors are counted, and each half's holders are a threshold."""
    monkeypatch.setattr(Cohort, "quorum", 3)
    monkeypatch.setattr("tacit.secagg.neighbours.degree", lambda all, *_: Degree(all - 1, 3))
    played, vector = masked(context(7))
    assert opened(played, vector, lie_to_half(played)) == played.vectors[VICTIM].tolist()


def test_without_looking_at_signatures_too(monkeypatch):
    """The quorum stands, and nobody looks whose list it is that others signed."""
    played, _ = masked(context(7))
    alive, dead = names(7)[:5], names(7)[5:]
    answers = {n: played.sites[n].agree(played.requests[n]) for n in alive}
    answers |= {n: played.sites[n].agree(without(played.requests[n], VICTIM)) for n in dead}
    monkeypatch.setattr(site, "signed_by", lambda *_: True)
    everybody = {n: a for n, a in answers.items() if n != VICTIM}
    for name in dead:
        revealed = decode(Revealed, played.sites[name].reveal(signed(everybody)), name)
        assert VICTIM in dict(revealed.mask_keys)
    for name in alive:
        revealed = decode(Revealed, played.sites[name].reveal(signed(answers)), name)
        assert VICTIM in dict(revealed.self_masks)


def test_with_both_secrets_revealed_the_victim_is_open(monkeypatch):
    """Holders that reveal all that they hold."""

    def both(self: Site, content: bytes) -> bytes:
        held = sorted({**self._opened.bundles, self.name: self._own_bundle}.items())
        return Revealed(
            tuple((dealer, bundle.self_mask) for dealer, bundle in held),
            tuple((dealer, bundle.mask_key) for dealer, bundle in held),
            (),
        ).encode()

    played, vector = masked(context(5))
    played.take(Stage.AGREED, played.answers(Stage.AGREED))
    honest = {n: s._reveal(played.requests[n]) for n, s in played.sites.items()}
    assert all(VICTIM not in dict(decode(Revealed, r, n).mask_keys) for n, r in honest.items())
    monkeypatch.setattr(Site, "_reveal", both)
    revealed = {n: decode(Revealed, a, n) for n, a in played.answers(Stage.REVEALED).items()}
    assert opened(played, vector, revealed) == played.vectors[VICTIM].tolist()


def test_without_the_context_another_models_masks_cancel(monkeypatch):
    """The victim works on another model, and its vector is in the sum as if it did not."""
    monkeypatch.setattr(Context, "digest", bytes(32))
    changed = context(5, weights_hash=bytes(32))
    played = Round(context(5), contexts={VICTIM: changed})
    total = played.total()
    played.check(total)
    assert VICTIM in total.sites


def test_without_signed_keys_a_stranger_is_in_the_middle(monkeypatch):
    """The server's own key in a site's place: it knows the victim's mask with that site."""
    for module in (directory, server, site):
        monkeypatch.setattr(module, "signed_by", lambda *_: True)
    of = context(4)
    played, mallory = Round(of), Site(of, "site001", identity("site001"))
    answers = played.answers(Stage.ADVERTISED) | {"site001": mallory.advertise()}
    listed = sorted(answers.items())
    content = directory.Directory(
        tuple(decode(directory.Advertisement, answer, name) for name, answer in listed)
    )
    played.sites[VICTIM].share(content.encode())
    session = directory.Session.of(of, content)
    theirs = session.advertisements[VICTIM]
    mine = mask_seed(mallory._keys.mask, "site001", theirs, session.digest)
    own = played.sites[VICTIM]._keys.mask
    assert mine == mask_seed(own, VICTIM, session.advertisements["site001"], session.digest)


def test_without_the_signed_dealers_the_victim_is_cut_off(monkeypatch):
    """It masks with two of six others, both colluders, and its self-mask is opened.

    The check that two thirds must have dealt is taken away for it, too.
    """
    played = Round(context(7)).until(Stage.SHARED)
    colluders = names(7)[5:]
    dealt = decode(Dealt, played.requests[VICTIM], "server")
    lie = Dealt((VICTIM, *colluders), tuple(d for d in dealt.deals if d.site in colluders)).encode()
    check = Site._check_present
    monkeypatch.setattr(Site, "_check_present", lambda *_: None)
    answer = played.sites[VICTIM].mask(lie, played.vectors[VICTIM])
    monkeypatch.setattr(Site, "_check_present", check)
    answers = {**played.answers(Stage.MASKED, [VICTIM]), VICTIM: answer}
    monkeypatch.setattr(site, "signed_by", lambda *_: True)
    signatures = {n: decode(MaskedInput, a, n).signature for n, a in answers.items()}
    request = Survivors(tuple(names(7)), tuple(sorted(signatures.items()))).encode()
    others = names(7)[1:]
    agreed = {n: played.sites[n].agree(request) for n in others}
    known = {colluder: played.sites[colluder]._seeds[VICTIM] for colluder in colluders}
    parts = {n: decode(Revealed, played.sites[n].reveal(signed(agreed)), n) for n in others}
    shares = {x: dict(parts[n].self_masks)[VICTIM] for x, n in enumerate(names(7), 1) if n in parts}
    masks = [Mask(join(shares), subtract=True)]
    masks += [Mask(seed, subtract=colluder > VICTIM) for colluder, seed in known.items()]
    vector = np.frombuffer(decode(MaskedInput, answer, VICTIM).vector, np.uint32).copy()
    apply(masks, vector)
    assert vector.tolist() == played.vectors[VICTIM].tolist()


def test_without_hashes_of_shares_the_wrong_one_is_blamed(monkeypatch):
    """A holder's wrong share makes its dealer look like the liar."""
    played = Round(context(5)).until(Stage.AGREED)
    answers = played.answers(Stage.REVEALED)
    revealed = decode(Revealed, answers["site001"], "site001")
    wrong = Revealed(((VICTIM, bytes(33)),), revealed.mask_keys, revealed.seeds)
    answers["site001"] = wrong.encode()
    played.take(Stage.REVEALED, answers)
    monkeypatch.setattr(unmasking, "share_hash", lambda *_: Anything())
    with pytest.raises(TooFewSitesError, match=f"{VICTIM}: dealt shares of another self-mask"):
        played.server.total()


class Anything:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


def test_the_statement_that_is_signed_is_of_session_dealers_and_survivors():
    made = {
        survivors_statement(session, dealers, survivors)
        for session in (bytes(32), bytes([1]) * 32)
        for dealers in (("a", "b"), ("ab",))
        for survivors in (("a",), ("a", "b"), ())
    }
    assert len(made) == 12

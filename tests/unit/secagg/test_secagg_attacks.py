"""A server that lies about what was dealt, masked and survived, alone or with colluding sites.

Each test's docstring says the assumption under which the attack fails.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from secagg_example import (
    VICTIM,
    Round,
    advertised,
    context,
    directory,
    identity,
    names,
    refused,
    signed,
    summed,
    without,
)

from tacit.errors import SecureSumError, WrongMessageError
from tacit.secagg.messages import (
    Agreement,
    Dealt,
    MaskedInput,
    Revealed,
    Stage,
    Survivors,
    decode,
)
from tacit.secagg.statements import survivors_statement


def test_victim_alive_for_some_and_dead_for_others():
    """Assumes fewer colluders than a third: here 2 of 7, who sign whatever is wanted.

    With the self-mask from some and the mask key from others the victim would be open. Those who
    think it alive come to a quorum with the colluders; the others do not, and say who signed what.
    """
    played = Round(context(7)).until(Stage.MASKED)
    colluders, alive, dead = names(7)[5:], names(7)[:3], names(7)[3:5]
    answers = {n: played.sites[n].agree(played.requests[n]) for n in (*alive, *colluders)}
    lie = {n: played.sites[n].agree(without(played.requests[n], VICTIM)) for n in dead}
    opened = decode(Revealed, played.sites[alive[0]].reveal(signed(answers)), alive[0])
    assert VICTIM in dict(opened.self_masks)

    session, server = played.server._session.digest, played.server
    others = tuple(n for n in names(7) if n != VICTIM)
    statement = survivors_statement(session, server._dealers, others)
    lie |= {n: Agreement(identity(n).sign(statement)).encode() for n in colluders}
    refused(
        SecureSumError,
        lambda: played.sites[dead[0]].reveal(signed(lie)),
        "only 4 sites agreed, and 5 of the 7",
    )
    padded = {**lie, alive[1]: answers[alive[1]]}
    refused(
        SecureSumError,
        lambda: played.sites[dead[1]].reveal(signed(padded)),
        f"{alive[1]}: signed another list of survivors",
    )


def test_two_lists_of_survivors():
    """Assumes nothing of colluders: honest sites with different lists never reveal together."""
    played = Round(context(5)).until(Stage.MASKED)
    requests = played.requests
    one, other = names(5)[:2], names(5)[2:4]
    answers = {n: played.sites[n].agree(requests[n]) for n in one}
    answers |= {n: played.sites[n].agree(without(requests[n], "site004")) for n in other}
    for name, liar in ((one[0], other[0]), (other[0], one[0])):
        reveal = partial(played.sites[name].reveal, signed(answers))
        refused(SecureSumError, reveal, f"{liar}: signed another list of survivors")


def test_one_list_that_has_a_site_twice():
    """Assumes nothing: a list with a name in two places is no list."""
    played = Round(context(4)).until(Stage.MASKED)
    survivors = decode(Survivors, played.requests[VICTIM], "server")
    twice = Survivors((*survivors.sites, VICTIM), survivors.signatures).encode()
    agree = partial(played.sites[VICTIM].agree, twice)
    refused(WrongMessageError, agree, "server: ", "not in order, or twice")


def test_shares_of_another_round():
    """Assumes fresh keys a round: what was dealt in one cannot be opened in another."""
    earlier, played = Round(context(4, round=2)), Round(context(4))
    old = {n: decode(Dealt, r, n) for n, r in earlier.until(Stage.SHARED).requests.items()}
    played.until(Stage.SHARED)
    answer = played.sites[VICTIM].mask(old[VICTIM].encode(), played.vectors[VICTIM])
    assert decode(MaskedInput, answer, VICTIM).complaints == ("site001", "site002", "site003")


def test_masks_of_another_round_do_not_cancel():
    """Assumes the same. A vector of another round stays hidden in this round's sum."""
    earlier = Round(context(4, round=2)).until(Stage.SHARED)
    old = decode(MaskedInput, earlier.answers(Stage.MASKED)[VICTIM], VICTIM)
    played = Round(context(4)).until(Stage.SHARED)
    answers = played.answers(Stage.MASKED)
    # Its signature is of another session: as it is, it is refused.
    played.server.receive(VICTIM, old.encode())
    assert "did not sign" in played.server.faults[VICTIM]
    # The server takes the old vector with the new signature all the same.
    new = decode(MaskedInput, answers[VICTIM], VICTIM)
    answers[VICTIM] = MaskedInput(old.vector, new.signature, ()).encode()
    played.take(Stage.MASKED, answers)
    for stage in (Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    total = played.server.total()
    assert not (total.vector == summed(played.context, played.vectors, total.sites)).any()


def test_a_threshold_lowered():
    """Assumes nothing: each site works out the quorum from the cohort that it pinned: 5 of 7."""
    few = "4 sites", "5 of the 7"
    played = Round(context(7))
    listed = {name: a for name, a in advertised(played).items() if name in names(4)}
    refused(SecureSumError, partial(played.sites[VICTIM].share, directory(listed)), *few)

    played = Round(context(7)).until(Stage.SHARED)
    dealt = decode(Dealt, played.requests[VICTIM], "server")
    lie = replace(dealt, dealers=dealt.dealers[:4], deals=dealt.deals[:3]).encode()
    refused(SecureSumError, partial(played.sites[VICTIM].mask, lie, played.vectors[VICTIM]), *few)

    played = Round(context(7)).until(Stage.MASKED)
    lie = without(played.requests[VICTIM], *names(7)[4:])
    refused(SecureSumError, partial(played.sites[VICTIM].agree, lie), *few)

    played = Round(context(7)).until(Stage.MASKED)
    answers = {name: a for name, a in played.answers(Stage.AGREED).items() if name in names(4)}
    refused(SecureSumError, partial(played.sites[VICTIM].reveal, signed(answers)), *few)


def test_unmasking_asked_twice_with_another_list():
    """Assumes one `Site` for a round. The first answer stands, and there is no second."""
    played = Round(context(5)).until(Stage.AGREED)
    first = played.answers(Stage.REVEALED)
    assert played.answers(Stage.REVEALED) == first
    other = signed({n: Agreement(bytes(64)).encode() for n in names(5)})
    site = played.sites[VICTIM]
    refused(SecureSumError, lambda: site.reveal(other), f"{VICTIM}: was asked again")
    refused(SecureSumError, lambda: site.reveal(played.requests[VICTIM]), "over here")
    again = Round(context(5)).until(Stage.MASKED)
    again.answers(Stage.AGREED)
    lie = without(again.requests[VICTIM], "site004")
    refused(SecureSumError, lambda: again.sites[VICTIM].agree(lie), f"{VICTIM}: was asked again")


def test_a_second_vector_is_not_asked_for():
    """Assumes one `Site` for a round: two vectors under the same masks show their difference."""
    played = Round(context(5)).until(Stage.SHARED)
    site, dealt = played.sites[VICTIM], decode(Dealt, played.requests[VICTIM], "server")
    one = site.mask(dealt.encode(), played.vectors[VICTIM])
    assert site.mask(dealt.encode(), played.vectors[VICTIM] + np.uint32(1)) == one
    lie = Dealt(dealt.dealers[:4], dealt.deals[:3]).encode()
    refused(SecureSumError, lambda: site.mask(lie, played.vectors[VICTIM]), "was asked again")


def test_late_input_of_a_site_called_dropped():
    """Assumes that the dropped site's holders are honest but for fewer than a third.

    Its mask key is rebuilt; its self-mask is not, and no honest site gives a share of it: what
    came late stays uniform.
    """
    played = Round(context(5)).until(Stage.SHARED)
    answers = played.answers(Stage.MASKED)
    late = answers.pop(VICTIM)
    played.take(Stage.MASKED, answers)
    played.server.receive(VICTIM, late)
    assert (
        played.server.faults[VICTIM] == f"{VICTIM}: came too late or was not asked: it is left out"
    )
    for stage in (Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    total = played.server.total()
    played.check(total)
    assert VICTIM not in total.sites
    assert all(VICTIM not in dict(r.self_masks) for r in played.server._revealed.values())
    assert all(VICTIM in dict(r.mask_keys) for r in played.server._revealed.values())


def test_honest_partners_kept_from_the_victim():
    """Assumes fewer than a third colluders: here 2 of 7.

    The victim is told that two honest sites dealt nothing and masks with the others only, who are
    told the truth. Its signature over whom it masked with does not fit theirs.
    """
    played = Round(context(7)).until(Stage.SHARED)
    dealt = decode(Dealt, played.requests[VICTIM], "server")
    kept = ("site001", "site002")
    lie = Dealt(
        tuple(d for d in dealt.dealers if d not in kept),
        tuple(d for d in dealt.deals if d.site not in kept),
    )
    answers = played.answers(Stage.MASKED, [VICTIM])
    answers[VICTIM] = played.sites[VICTIM].mask(lie.encode(), played.vectors[VICTIM])
    signatures = {n: decode(MaskedInput, a, n).signature for n, a in answers.items()}
    request = Survivors(tuple(names(7)), tuple(sorted(signatures.items()))).encode()
    for name in names(7)[1:]:
        agree = partial(played.sites[name].agree, request)
        refused(SecureSumError, agree, f"{VICTIM}: did not sign that it masked with the same sites")


def test_strangers_among_those_who_dealt_survived_or_agreed():
    """Assumes nothing: who was not there before is not there now, however many are counted."""
    stranger = "stranger: cannot have"
    played = Round(context(4)).until(Stage.SHARED)
    dealt = decode(Dealt, played.requests[VICTIM], "server")
    lie = replace(dealt, dealers=(*dealt.dealers, "stranger")).encode()
    refused(
        SecureSumError, partial(played.sites[VICTIM].mask, lie, played.vectors[VICTIM]), stranger
    )

    played = Round(context(4)).until(Stage.MASKED)
    survivors = decode(Survivors, played.requests[VICTIM], "server")
    lie = replace(survivors, sites=(*survivors.sites, "stranger")).encode()
    refused(SecureSumError, partial(played.sites[VICTIM].agree, lie), stranger)

    played = Round(context(4)).until(Stage.MASKED)
    lie = signed({**played.answers(Stage.AGREED), "stranger": Agreement(bytes(64)).encode()})
    refused(SecureSumError, partial(played.sites[VICTIM].reveal, lie), stranger)


def test_too_many_of_the_victims_neighbours_called_dropped():
    """Assumes what `Assumptions` says: on a ring a quorum may be there and its neighbours not."""
    played = Round(context(70)).until(Stage.MASKED)
    hoods = played.server._session.neighbourhoods
    lost = hoods.neighbours(VICTIM)[: len(hoods.holders(VICTIM)) - hoods.threshold + 1]
    lie = without(played.requests[VICTIM], *lost)
    words = f"only {hoods.threshold - 1} sites of the neighbourhood of {VICTIM} survived"
    refused(SecureSumError, partial(played.sites[VICTIM].agree, lie), words)


def test_shares_kept_from_their_holder():
    """Assumes nothing: the holder says whose it has not, and the sum is the same without."""
    played = Round(context(4)).until(Stage.SHARED)
    dealt = decode(Dealt, played.requests[VICTIM], "server")
    played.requests[VICTIM] = replace(dealt, deals=dealt.deals[1:]).encode()
    answers = played.answers(Stage.MASKED)
    assert decode(MaskedInput, answers[VICTIM], VICTIM).complaints == ("site001",)
    played.take(Stage.MASKED, answers)
    for stage in (Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    played.check(played.server.total())


def test_a_site_left_out_of_the_survivors_reveals_nothing():
    """Assumes nothing: who is not in the sum has no part in opening it."""
    played = Round(context(4)).until(Stage.MASKED)
    lie = without(played.requests[VICTIM], VICTIM)
    refused(
        SecureSumError,
        lambda: played.sites[VICTIM].agree(lie),
        f"{VICTIM}: was left out of those who survived",
    )


def test_differencing_two_rounds_works_and_is_what_noise_is_for():
    """No assumption helps: the sums of two rounds with and without a site differ by its part.

    Masks hide everything but the sum. Whoever needs more adds noise to the vectors before.
    """
    with_victim, without_victim = Round(context(5)), Round(context(5, round=4))
    without_victim.vectors = with_victim.vectors
    one = with_victim.total()
    other = without_victim.total({stage: [VICTIM] for stage in Stage if stage is not Stage.NOTHING})
    assert VICTIM not in other.sites
    assert (one.vector - other.vector == with_victim.vectors[VICTIM]).all()

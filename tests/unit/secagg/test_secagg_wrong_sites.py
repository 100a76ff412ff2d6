"""Sites that lie or send garbage: found, named, and left out if enough remain."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from secagg_example import Round, advertised, context, names, refused

from tacit.errors import TooFewSitesError
from tacit.secagg.keys import RoundKeys
from tacit.secagg.messages import (
    Agreement,
    Dealing,
    MaskedInput,
    Revealed,
    Stage,
    decode,
)
from tacit.secagg.shamir import split

LIAR = "site002"


def play(of, lies: dict[Stage, Callable[[bytes], bytes]], absent=None) -> Round:
    """A round in which the liar's answers are changed before the server has them."""
    played = Round(of)
    for stage in Stage:
        if stage is Stage.NOTHING:
            continue
        answers = played.answers(stage, (absent or {}).get(stage, ()))
        if stage in lies and LIAR in answers:
            answers[LIAR] = lies[stage](answers[LIAR])
        played.take(stage, answers)
    return played


def check(played: Round, *sites: str, said: str = "") -> None:
    """Check that the sum is of these sites and that nobody but the liar is blamed."""
    total = played.server.total()
    played.check(total)
    assert total.sites == sites
    assert list(played.server.faults) == [LIAR]
    assert said in played.server.faults[LIAR]
    assert played.server.faults[LIAR].startswith(f"{LIAR}: ")


ALL = tuple(names(5))
OTHERS = tuple(name for name in ALL if name != LIAR)


@pytest.mark.parametrize("stage", list(Stage)[1:])
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"tss5" + bytes(200)], ids=len)
def test_garbage_at_any_stage(stage, garbage):
    """Who sent its vector before is in the sum all the same."""
    played = play(context(5), {stage: lambda answer: garbage})
    sites = OTHERS if stage <= Stage.MASKED else ALL
    check(played, *sites, said="this is not the")


def test_too_much_garbage_gives_the_round_up_and_names_them():
    played = Round(context(4)).until(Stage.SHARED)
    answers = played.answers(Stage.MASKED) | {"site001": b"garbage", LIAR: b"garbage"}
    said = refused(TooFewSitesError, lambda: played.take(Stage.MASKED, answers), "2 sites")
    assert "site001: this is not the MaskedInput" in said
    with pytest.raises(TooFewSitesError) as caught:
        raise played.server._given_up("")
    assert sorted(caught.value.reasons) == ["site001", LIAR]


def test_a_vector_of_another_length():
    def longer(answer: bytes) -> bytes:
        masked = decode(MaskedInput, answer, LIAR)
        return replace(masked, vector=memoryview(bytes(24))).encode()

    check(play(context(5), {Stage.MASKED: longer}), *OTHERS, said="24 bytes, not 20")


@pytest.mark.parametrize("kind", ["self_masks", "mask_keys"])
def test_a_wrong_share(kind):
    """Told from a right one by the hash that its dealer published and its holder had checked."""

    def wrong(answer: bytes) -> bytes:
        revealed = decode(Revealed, answer, LIAR)
        shares = tuple((dealer, bytes(33)) for dealer, _ in getattr(revealed, kind))
        assert shares
        return replace(revealed, **{kind: shares}).encode()

    gone = {stage: ["site000"] for stage in list(Stage)[Stage.MASKED :]}
    of = context(7)
    played = play(of, {Stage.REVEALED: wrong}, gone)
    check(played, *names(7)[1:], said="revealed a wrong share of site00")


def test_more_wrong_shares_than_the_threshold_bears():
    """Four sites need three right shares: with one dropped and one wrong there are two."""

    def wrong(answer: bytes) -> bytes:
        revealed = decode(Revealed, answer, LIAR)
        return replace(revealed, self_masks=(("site000", bytes(33)),)).encode()

    gone = {Stage.REVEALED: ["site001"]}
    played = play(context(4), {Stage.REVEALED: wrong}, gone)
    said = refused(TooFewSitesError, played.server.total, "self-mask of site000 cannot be rebuilt")
    assert f"{LIAR}: revealed a wrong share of site000" in said


def garbled(*holders: str) -> Callable[[bytes], bytes]:
    """Shares that cannot be opened, for some holders."""

    def change(answer: bytes) -> bytes:
        dealing = decode(Dealing, answer, LIAR)
        return Dealing(
            tuple(
                replace(deal, sealed=bytes(len(deal.sealed))) if deal.site in holders else deal
                for deal in dealing.deals
            )
        ).encode()

    return change


def test_shares_that_one_holder_cannot_open():
    """Enough others can: the dealer is named and stays in the sum."""
    played = play(context(5), {Stage.SHARED: garbled("site000")})
    check(played, *ALL, said="its shares for site000 cannot be used, as site000 says")


@pytest.mark.parametrize("holders", [OTHERS[:2], OTHERS[:3], OTHERS])
def test_shares_that_too_few_holders_can_open(holders):
    """The dealer is named and left out; the others say which masks they shared with it."""
    played = play(context(5), {Stage.SHARED: garbled(*holders)})
    check(played, *OTHERS, said=f"its shares for {holders[0]} cannot be used")


def test_the_same_when_another_survivor_then_goes():
    """Its mask with the one left out is known to nobody: given up."""
    played = Round(context(7))
    for stage in list(Stage)[1:]:
        answers = played.answers(stage, ["site006"] if stage is Stage.REVEALED else [])
        if stage is Stage.SHARED:
            answers[LIAR] = garbled(*names(7))(answers[LIAR])
        played.take(stage, answers)
    said = refused(TooFewSitesError, played.server.total, f"mask key of {LIAR} cannot be rebuilt")
    assert "5 of the 6 survivors that masked with it told the seed" in said


def test_hashes_that_are_not_of_the_shares():
    """The holder says so before it masks: later it would look like the holder's doing."""

    def change(answer: bytes) -> bytes:
        dealing = decode(Dealing, answer, LIAR)
        deals = tuple(replace(deal, mask_key_hash=bytes(32)) for deal in dealing.deals)
        return Dealing(deals).encode()

    check(play(context(5), {Stage.SHARED: change}), *OTHERS, said="cannot be used")


def test_shares_of_another_mask_key_by_one_that_then_drops_out(monkeypatch):
    """Every share is as published, and they give another key: the survivors say which masks."""
    played = Round(context(5))
    played.until(Stage.ADVERTISED)
    other = RoundKeys()
    own = played.sites[LIAR]._keys
    other.channel, other.self_mask = own.channel, own.self_mask
    played.sites[LIAR]._keys = other
    for stage in list(Stage)[2:]:
        played.take(stage, played.answers(stage, [LIAR] if stage >= Stage.MASKED else []))
    check(played, *OTHERS, said="dealt shares of another mask key than it advertised")


def test_shares_of_another_self_mask():
    """Nobody but the liar knows it, and its vector is in the sum: given up, and named."""
    played = Round(context(5)).until(Stage.ADVERTISED)
    keys = played.sites[LIAR]._keys
    keys.self_mask, own = bytes(32), keys.self_mask
    played.take(Stage.SHARED, played.answers(Stage.SHARED))
    keys.self_mask = own
    for stage in (Stage.MASKED, Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    said = f"{LIAR}: dealt shares of another self-mask than it advertised"
    refused(TooFewSitesError, played.server.total, said)


def test_shares_on_no_polynomial_of_the_degree(monkeypatch):
    """The same, with shares that fit no secret at all."""
    played = Round(context(5)).until(Stage.ADVERTISED)
    drawn = [split(bytes([n]) * 32, 4, 5)[n] for n in range(5)]
    answers = played.answers(Stage.SHARED, [LIAR])
    monkeypatch.setattr("tacit.secagg.dealing.split", lambda *_: drawn)
    answers[LIAR] = played.sites[LIAR].share(played.requests[LIAR])
    played.take(Stage.SHARED, answers)
    for stage in (Stage.MASKED, Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    refused(TooFewSitesError, played.server.total, f"{LIAR}: dealt shares of another self-mask")


def test_complaints_about_everybody_change_nothing_but_what_is_said():
    """A liar takes one holder from each, which is what the threshold bears."""

    def complain(answer: bytes) -> bytes:
        masked = decode(MaskedInput, answer, LIAR)
        return replace(masked, complaints=OTHERS).encode()

    played = play(context(5), {Stage.MASKED: complain})
    total = played.server.total()
    played.check(total)
    assert total.sites == ALL
    assert all(said.endswith(f"as {LIAR} says") for said in played.server.faults.values())


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda mine, theirs: replace(mine, mask_key=bytes(32)), "are not signed"),
        (lambda mine, theirs: theirs, "sent keys in the name of 'site000'"),
    ],
)
def test_keys_that_are_unsigned_or_anothers(lie, said):
    played = Round(context(5))
    listed = advertised(played)
    answers = {name: one.encode() for name, one in listed.items()}
    answers[LIAR] = lie(listed[LIAR], listed["site000"]).encode()
    played.take(Stage.ADVERTISED, answers)
    assert LIAR not in played.requests
    assert said in played.server.faults[LIAR]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda keys, other: setattr(keys, "channel", keys.mask), "a key that is there already"),
        (lambda keys, other: setattr(keys, "mask", other.mask), "a key that is there already"),
        (lambda keys, other: setattr(keys, "mask", Low()), "of low order"),
    ],
)
def test_signed_keys_that_would_not_do(change, said):
    played = Round(context(5))
    change(played.sites[LIAR]._keys, played.sites["site000"]._keys)
    played.until(Stage.ADVERTISED)
    assert list(played.server.faults) == [LIAR]
    assert said in played.server.faults[LIAR]


class Low:
    """A private key whose public key is of low order."""

    def public_key(self):
        return self

    def public_bytes_raw(self) -> bytes:
        return bytes(32)


def test_shares_dealt_to_others_than_its_neighbours():
    def fewer(answer: bytes) -> bytes:
        return Dealing(decode(Dealing, answer, LIAR).deals[:-1]).encode()

    check(play(context(5), {Stage.SHARED: fewer}), *OTHERS, said="dealt shares to others")


def test_a_signature_over_other_survivors():
    played = play(context(5), {Stage.AGREED: lambda answer: Agreement(bytes(64)).encode()})
    check(played, *ALL, said="signed another list of survivors, or did not sign")


def test_two_answers_that_differ():
    """The first one counts."""
    played = Round(context(5)).until(Stage.SHARED)
    answers = played.answers(Stage.MASKED)
    for name, answer in answers.items():
        played.server.receive(name, answer)
    masked = decode(MaskedInput, answers[LIAR], LIAR)
    other = memoryview(np.zeros(5, np.uint32)).cast("B")
    played.server.receive(LIAR, replace(masked, vector=other).encode())
    for stage in (Stage.MASKED, Stage.AGREED, Stage.REVEALED):
        played.take(stage, played.answers(stage))
    check(played, *ALL, said="answered twice, and not the same")


def test_an_answer_of_nobody_in_the_cohort():
    played = Round(context(4))
    played.server.receive("stranger", b"hello")
    assert "was not asked" in played.server.faults["stranger"]

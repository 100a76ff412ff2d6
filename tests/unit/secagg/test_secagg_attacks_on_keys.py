"""A server that lies about who takes part: false keys, other models, other rosters.

Each test's docstring says the assumption under which the attack fails.
"""

from dataclasses import replace
from functools import partial

import pytest
from secagg_example import (
    VICTIM,
    Round,
    advertised,
    cohort,
    cohort_of,
    context,
    directory,
    identity,
    names,
    refused,
)

from tacit.errors import SecureSumError
from tacit.secagg.advertisement import Advertisement, Directory
from tacit.secagg.assumptions import Assumptions
from tacit.secagg.context import Modulus
from tacit.secagg.directory import Session
from tacit.secagg.messages import decode
from tacit.secagg.site import Site
from tacit.secagg.statements import keys_statement, signed_by


@pytest.mark.parametrize("field", ["mask_key", "channel_key", "commitment"])
def test_keys_exchanged_for_the_servers_own(field):
    """Assumes that the victim pinned the right identities."""
    played = Round(context(4))
    listed = advertised(played)
    mallory = advertised(Round(context(4)))["site002"]
    lie = replace(listed["site002"], **{field: getattr(mallory, field)})
    share = partial(played.sites[VICTIM].share, directory({**listed, "site002": lie}))
    words = "site002: its keys are not signed by its identity", "exchanged"
    refused(SecureSumError, share, *words)


def test_the_victims_own_keys_exchanged_or_left_out():
    """Assumes nothing: the victim knows its own keys."""
    for change in ("exchanged", "left out"):
        played = Round(context(4))
        listed = advertised(played)
        if change == "exchanged":
            listed[VICTIM] = replace(listed[VICTIM], mask_key=bytes([9]) * 32)
        else:
            del listed[VICTIM]
        share = partial(played.sites[VICTIM].share, directory(listed))
        refused(SecureSumError, share, f"{VICTIM}: its own keys were left out of the directory")


def test_keys_of_another_round_replayed():
    """Assumes that rounds of a run are numbered once: those keys' secrets may be known by now."""
    earlier = advertised(Round(context(4, round=2)))
    played = Round(context(4))
    listed = advertised(played)
    refused(
        SecureSumError,
        lambda: played.sites[VICTIM].share(directory({**listed, "site003": earlier["site003"]})),
        "site003: its keys are not signed by its identity for round 3 of hearts",
        "another round",
    )


def test_keys_that_somebody_signed_himself():
    """Assumes that the victim pinned the cohort: a stranger's signature is nobody's."""
    of = context(4)
    played = Round(of)
    listed = advertised(played)
    stranger = context(4, cohort=cohort_of([*names(4), "stranger"]))
    own = Site(stranger, "stranger", identity("stranger"))
    lie = {**listed, "stranger": decode(Advertisement, own.advertise(), "stranger")}
    refused(
        SecureSumError,
        lambda: played.sites[VICTIM].share(directory(lie)),
        "stranger: is not in the cohort",
    )
    # In the name of a member, with an identity of the server's.
    false = replace(listed["site001"], signature=b"")
    forged = replace(false, signature=identity("mallory").sign(keys_statement(of, false)))
    refused(
        SecureSumError,
        lambda: played.sites["site002"].share(directory({**listed, "site001": forged})),
        "site001: its keys are not signed by its identity",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"weights_hash": bytes(32)},
        {"configuration_hash": bytes(32)},
        {"run": "other"},
        {"length": 6},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_model_or_configuration_for_the_victim(changed):
    """Assumes that a site hashes the weights that it got. Neither side masks with the other."""
    played = Round(context(5), contexts={VICTIM: context(5, **changed)})
    listed = advertised(played)
    refused(SecureSumError, lambda: played.sites[VICTIM].share(directory(listed)), "another model")
    said = refused(SecureSumError, lambda: played.sites["site001"].share(directory(listed)))
    assert said.startswith(f"{VICTIM}: its keys are not signed by its identity for round 3")
    # An honest server finds it at once, and the others go on without.
    honest = Round(context(5), contexts={VICTIM: context(5, **changed)})
    total = honest.total()
    honest.check(total)
    assert VICTIM not in total.sites
    assert "sent another model" in honest.server.faults[VICTIM]


@pytest.mark.parametrize(
    "others",
    [
        context(5),
        context(4, cohort=cohort_of([*names(3), "other"])),
        context(4, assumptions=Assumptions(0, 30)),
        context(4, modulus=Modulus.BITS_16),
    ],
    ids=["one more", "another", "what is assumed", "modulus"],
)
def test_a_cohort_changed_for_others(others):
    """Assumes that the victim pinned its own: another has another digest, and nothing fits."""
    victim = Site(context(4), VICTIM, identity(VICTIM))
    listed = {**advertised(Round(others)), VICTIM: decode(Advertisement, victim.advertise(), "v")}
    share = partial(victim.share, directory({n: a for n, a in listed.items() if n != "other"}))
    refused(SecureSumError, share, "site001: its keys are not signed by its identity")


def test_victim_among_sites_of_the_servers_making():
    """Assumes that the cohort was pinned before: no site can be added to it for a round."""
    played = Round(context(4))
    listed = {VICTIM: advertised(played)[VICTIM]}
    made = [f"sybil{number}" for number in range(3)]
    sybils = context(4, cohort=cohort_of([VICTIM, *made]))
    for name in made:
        site = Site(sybils, name, identity(name))
        listed[name] = decode(Advertisement, site.advertise(), name)
    refused(
        SecureSumError, lambda: played.sites[VICTIM].share(directory(listed)), "sybil0: is not in"
    )


@pytest.mark.parametrize("field", ["mask_key", "channel_key"])
def test_a_colluder_takes_the_victims_key_for_its_own(field):
    """Assumes nothing: it could not use it, and a key in two places is refused all the same."""
    of = context(4)
    played = Round(of)
    listed = advertised(played)
    copied = replace(listed["site003"], **{field: getattr(listed[VICTIM], field)})
    signature = identity("site003").sign(keys_statement(of, copied))
    lie = directory({**listed, "site003": replace(copied, signature=signature)})
    share = partial(played.sites["site001"].share, lie)
    refused(SecureSumError, share, "site003: has a key that is in the directory twice")


def test_a_session_is_of_its_context_and_of_all_advertisements():
    listed = advertised(Round(context(4)))
    whole = Directory(tuple(listed.values()))
    fewer = Directory(tuple(listed.values())[:3])
    sessions = [
        Session.of(context(4), whole),
        Session.of(context(4, round=4), whole),
        Session.of(context(4), fewer),
    ]
    assert len({session.digest for session in sessions}) == 3


def test_nobody_signs_for_a_site_that_is_not_in_the_cohort():
    statement = b"anything"
    signature = identity("stranger").sign(statement)
    assert not signed_by(cohort(4), "stranger", signature, statement)
    assert signed_by(cohort(4), VICTIM, identity(VICTIM).sign(statement), statement)
    assert not signed_by(cohort(4), VICTIM, signature, statement)

"""The roster: who is listed, signed by whom, and which roster may follow which."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA384
from hypothesis import given, settings
from hypothesis import strategies as st
from trust_example import DAY, NOW, authority, member, refused, roster

from tacit.errors import ConfigurationError, TrustError
from tacit.trust import roster as module
from tacit.trust.documents import MOST_BYTES, encode, to_sign
from tacit.trust.member import Member
from tacit.trust.roster import KIND, Roster, newer, revoke

CA = authority().certificate


def parse(content: bytes) -> Roster:
    return Roster.parse(content, CA, "roster.json")


def signed(fields) -> bytes:
    """Whatever the fields are, with the authority's own signature."""
    signature = authority().key.sign(to_sign(KIND, fields), ECDSA(SHA384()))
    return encode(KIND, fields, {"authority": signature})


def fields_of(roster: Roster) -> dict:
    fields = json.loads(roster.to_bytes())
    del fields["format"], fields["signatures"]
    return fields


# --- reading ---------------------------------------------------------------------------------


def test_a_roster_comes_back_the_same(tmp_path):
    gone = replace(member("county"), revoked=NOW)
    made = roster(gone, member("referral"), member("county", 1), version=3)
    path = tmp_path / "roster.json"
    path.write_bytes(made.to_bytes())
    assert Roster.read(path, CA) == made
    assert (made.version, made.created) == (3, NOW)
    assert [m.name for m in made.members] == ["county", "referral", "county"]


def test_it_says_nothing_but_what_is_public():
    entry = fields_of(roster(member("county")))["members"][0]
    assert sorted(entry) == [
        "identity",
        "name",
        "node",
        "revoked",
        "valid_from",
        "valid_until",
        "watch",
    ]


def test_every_changed_byte_is_found():
    content = roster(member("county")).to_bytes()
    for place in range(len(content)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[place] ^= bit
            with pytest.raises(TrustError, match=r"^roster\.json: "):
                parse(bytes(changed))


def test_a_changed_roster_passes_once_nobody_looks_at_the_signature(monkeypatch):
    """Planted: the test above rests on the signature, and not on the form alone."""
    fields = fields_of(roster(member("county")))
    false = encode(KIND, {**fields, "version": 9}, {"authority": roster().signature})
    refused(lambda: parse(false), "altered or signed by another")
    monkeypatch.setattr(module, "EllipticCurvePublicKey", object)

    class Careless:
        def public_key(self):
            return self

        def verify(self, *what):
            """Take anything."""

    assert Roster.parse(false, Careless()).version == 9


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\n "),
        lambda text: text.replace('"version": 1', '"version": 1, "version": 1'),
        lambda text: text + "\n",
        lambda text: text.replace('"version": 1', '"version": 1.0'),
        lambda text: "\ufeff" + text,
    ],
)
def test_another_way_to_write_the_same_is_refused(change):
    text = roster(member("county")).to_bytes().decode()
    assert change(text) != text
    refused(lambda: parse(change(text).encode()), "roster.json")


def test_another_authoritys_roster_is_refused():
    other = Roster.sign(1, NOW, (member("county"),), authority(1).key)
    refused(lambda: parse(other.to_bytes()), "altered or signed by another authority")
    assert Roster.parse(other.to_bytes(), authority(1).certificate) == other


def test_a_signature_made_for_something_else_does_not_fit():
    fields = fields_of(roster(member("county")))
    signature = authority().key.sign(to_sign("tacit-request/1", fields), ECDSA(SHA384()))
    refused(lambda: parse(encode(KIND, fields, {"authority": signature})), "altered")
    refused(lambda: parse(encode(KIND, fields, {})), "altered")


def test_what_is_signed_must_be_understood_whole():
    """A field of a later version might narrow what the rest allows."""
    fields = fields_of(roster(member("county")))
    assert parse(signed(fields)).version == 1
    refused(lambda: parse(signed({**fields, "only_on_mondays": True})), "understands")
    entry = {**fields["members"][0], "suspended": True}
    refused(lambda: parse(signed({**fields, "members": [entry]})), "understands")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", "1"),
        ("version", 1.5),
        ("version", True),
        ("version", 0),
        ("version", None),
        ("created", "2027-03-01"),
        ("created", "2027-03-01T12:00:00+01:00"),
        ("created", 5),
        ("members", None),
        ("members", {}),
        ("members", [1]),
        ("members", [{}]),
    ],
)
def test_signed_nonsense_is_refused(key, value):
    fields = {**fields_of(roster(member("county"))), key: value}
    refused(lambda: parse(signed(fields)), "roster.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../county"),
        ("name", 3),
        ("name", "server"),
        ("node", "AAAA"),
        ("node", "not base64"),
        ("identity", None),
        pytest.param("watch", member("county").identity.hex(), id="watch-another key's"),
        ("valid_until", None),
        ("revoked", False),
    ],
)
def test_a_signed_entry_of_nonsense_is_refused(key, value):
    fields = fields_of(roster(member("county")))
    fields["members"][0][key] = value
    refused(lambda: parse(signed(fields)))


def test_what_is_too_large_is_not_read():
    refused(lambda: parse(b" " * (MOST_BYTES + 1)), "larger than")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_bytes_that_are_no_roster_are_refused_and_nothing_else(content):
    refused(lambda: parse(content), "roster.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"format": st.just(KIND) | JSON, "signatures": JSON | st.just({"authority": "AAAA"})},
        optional={"version": JSON, "created": JSON, "members": JSON},
    )
)
@settings(max_examples=300, deadline=None)
def test_json_that_is_no_roster_is_refused_and_nothing_else(document):
    text = json.dumps(document, sort_keys=True, indent=1) + "\n"
    refused(lambda: parse(text.encode()), "roster.json")


def test_deep_json_is_refused():
    refused(lambda: parse(b"[" * 1_000_000), "roster.json")


# --- who counts ------------------------------------------------------------------------------


def test_a_member_counts_between_its_dates_unless_revoked():
    gone = replace(member("screening"), revoked=NOW)
    found = roster(member("referral"), member("county"), gone)
    assert found.member("county", NOW) == member("county")
    assert [m.name for m in found.valid(NOW)] == ["county", "referral"]
    refused(lambda: found.member("university", NOW), "university", "version 1")
    refused(lambda: found.member("screening", NOW), "revoked on 2027-03-01")
    over = NOW + timedelta(days=366)
    refused(lambda: found.member("county", over), "ended on 2028-02-29", "renew DIR county")
    refused(lambda: found.member("county", NOW - 2 * DAY), "clock")
    assert found.valid(over) == found.valid(NOW - 2 * DAY) == ()


def test_of_a_renewed_site_the_new_keys_count():
    old = replace(member("county"), revoked=NOW)
    found = roster(old, member("county", 1))
    assert found.member("county", NOW) == found.latest("county") == member("county", 1)
    assert found.valid(NOW) == (member("county", 1),)


def test_a_site_without_revoked_keys_is_listed_once():
    refused(lambda: roster(member("county"), member("county", 1)), "county", "not revoked")
    gone = replace(member("county", 1), revoked=NOW)
    refused(lambda: roster(member("county"), gone), "county", "not revoked")


@pytest.mark.parametrize(
    "copied",
    [
        lambda m: {"node": m.node},
        lambda m: {"identity": m.identity},
        lambda m: {"watch": m.watch},
        lambda m: {"watch": m.node},
    ],
)
def test_a_key_is_listed_once_even_where_it_is_revoked(copied, monkeypatch):
    gone = replace(member("county"), revoked=NOW)
    thief = replace(member("referral"), **copied(gone))
    refused(lambda: roster(gone, thief), "referral", "listed already")
    # Planted: signed all the same, it is refused where it is read.
    with monkeypatch.context() as patch:
        patch.setattr(module, "_check_members", lambda members: None)
        forged = roster(gone, thief).to_bytes()
    refused(lambda: parse(forged), "listed already")


def test_one_key_serves_one_purpose():
    both = member("county")
    refused(lambda: roster(replace(both, watch=both.node)), "listed already")


@pytest.mark.parametrize("name", ["", "County", "-a", "_a", "a.b", "a/b", "a b", "é", "a" * 64])
def test_a_name_that_cannot_be_a_file_is_refused(name):
    with pytest.raises(ConfigurationError, match="site's name"):
        replace(member("county"), name=name)


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 63])
def test_a_plain_name_is_fine(name):
    assert replace(member("county"), name=name).name == name


def test_the_coordinators_own_name_is_taken():
    with pytest.raises(ConfigurationError, match="coordinator"):
        replace(member("county"), name="server")


# --- which may follow which ------------------------------------------------------------------


def test_entries_may_be_added_and_revoked():
    first = roster(member("county"))
    second = roster(member("county"), member("referral"), version=2)
    third = roster(*revoke(second.members, "county", NOW), member("county", 1), version=7)
    assert newer(first, second) is second
    assert newer(second, third) is newer(first, third) is third


def test_the_same_roster_stays_the_one_to_go_by():
    first = roster(member("county"))
    again = roster(member("county"))
    assert first.signature != again.signature
    assert newer(first, again) is first


def test_an_older_roster_is_refused():
    second = roster(member("county"), version=2)
    refused(lambda: newer(second, roster(member("county"))), "version 1", "version 2", "old one")


@pytest.mark.parametrize(
    ("members", "version"),
    [
        ((), 3),  # dropped
        ((member("county", 1),), 3),  # keys exchanged
        ((member("county"), member("referral")), 2),  # two rosters of one version
        ((member("referral"), member("county")), 3),  # another order
        ((replace(member("county"), valid_until=NOW + 999 * DAY),), 3),  # prolonged
    ],
)
def test_a_roster_that_contradicts_the_known_one_is_refused(members, version, monkeypatch):
    known, offered = roster(member("county"), version=2), roster(*members, version=version)
    refused(lambda: newer(known, offered), "contradicts")
    # Planted: without the comparison of entries a later version with other keys would pass.
    monkeypatch.setattr(module, "_follows", lambda before, after: True)
    if version > known.version:
        assert newer(known, offered) is offered


def test_revocation_is_for_good():
    gone = replace(member("county"), revoked=NOW)
    refused(lambda: newer(roster(gone), roster(member("county"), version=2)), "contradicts")
    later = replace(gone, revoked=NOW + DAY)
    refused(lambda: newer(roster(gone), roster(later, version=2)), "contradicts")


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "revoke", "renew"]), st.sampled_from(["a", "b", "c"])),
    max_size=8,
)


def history(changes) -> list[Roster]:
    """Every version of a roster under a list of changes; those that make no sense are left out."""
    found = [roster(member("a"))]
    for number, (what, name) in enumerate(changes, start=1):
        latest, before = found[-1].latest(name), found[-1].members
        listed = latest is not None and latest.revoked is None
        if listed == (what == "add"):
            continue
        after = revoke(before, name, NOW + number * DAY)
        if what != "revoke":
            after = (*after, member(name, number))
        found.append(roster(*after, version=found[-1].version + 1))
    return found


@given(CHANGES)
@settings(max_examples=60, deadline=None)
def test_of_any_history_the_later_version_wins_and_the_earlier_is_refused(changes):
    versions = [parse(r.to_bytes()) for r in history(changes)]
    for at, one in enumerate(versions):
        for other in versions[at + 1 :]:
            assert newer(one, other) is other
            refused(lambda one=one, other=other: newer(other, one), "old one")


@given(CHANGES, st.sampled_from(["a", "b", "c"]))
@settings(max_examples=60, deadline=None)
def test_no_history_hides_that_a_key_was_exchanged(changes, name):
    last = history(changes)[-1]
    places = [at for at, m in enumerate(last.members) if m.name == name]
    if not places:
        return
    members: list[Member] = list(last.members)
    old = members[places[0]]
    members[places[0]] = replace(member(name, 99), revoked=old.revoked)
    false = roster(*members, version=last.version + 5)
    refused(lambda: newer(last, false), "contradicts")

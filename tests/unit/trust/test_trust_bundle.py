"""Bundles: what fits together is read, and what does not is refused by the file's name."""

import shutil
from datetime import timedelta

import pytest
from trust_example import DAY, NOW, SITES, folder, refused

from server.provision_folder import renew_site, revoke_site
from tacit.trust import bundle
from tacit.trust.bundle import load_server_bundle, load_site_bundle, warnings
from tacit.trust.certificates import certified_key, load_certificate
from tacit.trust.keys import make_ec_key, make_identity, public_bytes, write_private
from tacit.trust.roster import Roster, newer

YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two foundations, to be read only."""
    path = tmp_path_factory.mktemp("made")
    return folder(path / "one"), folder(path / "other")


@pytest.fixture
def one(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "one")


@pytest.fixture
def other(made):
    return made[1]


def server_of(path, now=NOW):
    return load_server_bundle(path / "server", now)


def county_of(path, now=NOW):
    return load_site_bundle(path / "sites" / "county", now)


def replaced(path, make):
    path.unlink()
    write_private(path, make())


# --- what fits -------------------------------------------------------------------------------


def test_the_coordinators_bundle_holds_what_it_needs(one):
    found = server_of(one)
    assert (found.certificate, found.key) == (one / "server/server.pem", one / "server/server.key")
    assert (found.watch_certificate, found.watch_key, found.ca) == (
        one / "server/watch.pem",
        one / "server/watch.key",
        one / "server/ca.pem",
    )
    assert [m.name for m in found.roster.valid(NOW)] == sorted(SITES)


def test_a_sites_bundle_holds_what_it_needs(one):
    found = county_of(one)
    listed = server_of(one).roster.member("county", NOW)
    assert found.name == "county"
    assert public_bytes(found.node_key.public_key()) == listed.node
    assert public_bytes(found.identity.public_key()) == listed.identity
    assert certified_key(load_certificate(found.watch_certificate)) == listed.watch
    assert found.roster == server_of(one).roster


# --- what does not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["ca.pem", "roster.json", "server.key", "server.pem", "watch.key", "watch.pem"]
)
def test_a_file_that_is_missing_from_the_coordinators_is_named(file, one):
    (one / "server" / file).unlink()
    refused(lambda: server_of(one), file, "No such file")


@pytest.mark.parametrize(
    "file", ["ca.pem", "roster.json", "node.key", "identity.key", "watch.key", "watch.pem"]
)
def test_a_file_that_is_missing_from_a_sites_is_named(file, one):
    (one / "sites/county" / file).unlink()
    refused(lambda: county_of(one), file, "No such file")


@pytest.mark.parametrize("file", ["server.key", "watch.key"])
def test_another_key_than_the_certificates_is_refused(file, one, monkeypatch):
    replaced(one / "server" / file, make_ec_key)
    refused(lambda: server_of(one), file, "different bundles")
    monkeypatch.setattr(bundle, "check_key", lambda *what: None)  # planted
    server_of(one)


@pytest.mark.parametrize(
    ("file", "make"), [("node.key", make_ec_key), ("identity.key", make_identity)]
)
def test_another_key_than_the_rosters_is_refused(file, make, one):
    replaced(one / "sites/county" / file, make)
    refused(lambda: county_of(one), file, "version 1", "'county'")


def test_the_keys_of_two_sites_swapped_are_refused(one):
    for file in ("node.key", "identity.key"):
        shutil.copy(one / "sites/referral" / file, one / "sites/county" / file)
        refused(lambda: county_of(one), "mixed")


@pytest.mark.parametrize("file", ["server.key", "watch.key"])
def test_a_servers_key_that_others_can_read_is_refused(file, one):
    (one / "server" / file).chmod(0o640)
    refused(lambda: server_of(one), file, "chmod 600")


@pytest.mark.parametrize("file", ["node.key", "identity.key", "watch.key"])
def test_a_sites_key_that_others_can_read_is_refused(file, one):
    (one / "sites/county" / file).chmod(0o640)
    refused(lambda: county_of(one), file, "chmod 600")


@pytest.mark.parametrize("pair", ["server", "watch"])
def test_a_certificate_of_another_authority_is_refused(pair, one, other, monkeypatch):
    for file in (f"{pair}.key", f"{pair}.pem"):
        shutil.copy(other / "server" / file, one / "server" / file)
    refused(lambda: server_of(one), f"{pair}.pem", "another authority")
    monkeypatch.setattr(bundle, "check_issued", lambda *what: None)  # planted
    server_of(one)


@pytest.mark.parametrize("file", ["ca.pem", "roster.json"])
def test_another_authoritys_file_is_refused(file, one, other):
    for place in ("server", "sites/county"):
        shutil.copy(other / "server" / file, one / place / file)
    refused(lambda: server_of(one), "another authority")
    refused(lambda: county_of(one), "another authority")


def test_a_sites_certificate_is_no_servers(one):
    """What a site holds signed by the authority does not make it the coordinator."""
    for kind in ("key", "pem"):
        shutil.copy(one / f"sites/county/watch.{kind}", one / f"server/server.{kind}")
    refused(lambda: server_of(one), "server.pem", "not a server's")


def test_a_sites_certificate_is_not_the_coordinators_to_watch_with(one):
    for kind in ("key", "pem"):
        shutil.copy(one / f"sites/county/watch.{kind}", one / f"server/watch.{kind}")
    refused(lambda: server_of(one), "watch.pem", "'county'")


def test_a_site_that_the_roster_does_not_list_is_refused(one, tmp_path):
    key = one / "authority/ca.key"
    ca = load_certificate(one / "authority/ca.pem")
    roster = Roster.read(one / "server/roster.json", ca)
    from tacit.trust.keys import load_ec_key

    without = [m for m in roster.members if m.name != "county"]
    signed = Roster.sign(2, NOW, tuple(without), load_ec_key(key))
    (one / "sites/county/roster.json").write_bytes(signed.to_bytes())
    refused(lambda: county_of(one), "roster.json", "version 2", "does not list 'county'")


def test_a_revoked_site_is_refused_and_so_are_keys_before_a_renewal(one, tmp_path):
    old = shutil.copytree(one / "sites/county", tmp_path / "old")
    before = county_of(one).roster
    renew_site(one, "county", None, NOW)
    assert newer(before, county_of(one).roster).version == 2
    shutil.copy(one / "server/roster.json", old / "roster.json")
    refused(lambda: load_site_bundle(old, NOW), "revoked on 2027-03-01")
    revoke_site(one, "county", NOW + DAY)
    refused(lambda: county_of(one), "'county'", "revoked on 2027-03-02")


def test_what_is_over_is_refused_and_so_is_what_has_not_begun(one, monkeypatch):
    for load in (server_of, county_of):
        load(one, NOW - DAY)
        load(one, NOW + YEAR)
        refused(lambda load=load: load(one, NOW + YEAR + DAY), "ended on 2028-02-29", "renew DIR")
        refused(lambda load=load: load(one, NOW - 2 * DAY), "begins on", "clock")
    monkeypatch.setattr(bundle, "_check", lambda validities, now: None)  # planted
    server_of(one, NOW + YEAR + DAY)
    county_of(one, NOW - 2 * DAY)


def test_a_member_that_is_over_does_not_stop_the_coordinator(tmp_path):
    path = folder(tmp_path / "one")
    from server.provision_folder import renew_server

    renew_server(path, NOW + 300 * DAY)
    found = server_of(path, NOW + 400 * DAY)
    assert found.roster.valid(NOW + 400 * DAY) == ()
    said = "\n".join(warnings(found, NOW + 400 * DAY))
    assert "county ended" in said
    assert "certificate" not in said


# --- warnings --------------------------------------------------------------------------------


def test_warnings_begin_30_days_before_the_end(one):
    server, county = server_of(one), county_of(one)
    assert warnings(server, NOW + 335 * DAY) == warnings(county, NOW + 335 * DAY) == ()
    soon = NOW + 335 * DAY + timedelta(seconds=1)
    assert len(warnings(server, soon)) == 4
    (said,) = warnings(county, soon)
    assert "county ends in 29 days" in said
    assert "renew DIR county" in said
    assert "in 1 day," in warnings(county, NOW + 364 * DAY)[0]
    assert "in less than a day" in warnings(county, NOW + 365 * DAY - timedelta(hours=1))[0]


def test_no_warning_of_a_revoked_site(one):
    revoke_site(one, "referral", NOW)
    said = warnings(server_of(one), NOW + 340 * DAY)
    assert [("referral" in s, "county" in s) for s in said].count((False, True)) == 1
    assert not any("referral" in s for s in said)


# --- who watches -----------------------------------------------------------------------------


def pem(path, of="server"):
    return (path / of / "watch.pem").read_bytes()


def test_members_and_the_coordinator_may_watch(one):
    found = server_of(one)
    assert found.watcher(pem(one), NOW) == "server"
    assert found.watcher(pem(one, "sites/county"), NOW) == "county"


def test_strangers_may_not(one, other):
    found = server_of(one)
    refused(lambda: found.watcher(pem(other), NOW), "another authority")
    refused(lambda: found.watcher(pem(other, "sites/county"), NOW), "another authority")
    refused(lambda: found.watcher(found.certificate.read_bytes(), NOW), "client's")
    refused(lambda: found.watcher(b"", NOW), "PEM")


def test_a_revoked_or_replaced_certificate_may_not(one):
    old = pem(one, "sites/county")
    renew_site(one, "county", None, NOW)
    found = server_of(one)
    refused(lambda: found.watcher(old, NOW), "'county'", "another key")
    assert found.watcher(pem(one, "sites/county"), NOW) == "county"
    revoke_site(one, "county", NOW)
    refused(lambda: server_of(one).watcher(pem(one, "sites/county"), NOW), "revoked")


def test_an_ended_certificate_may_not(one):
    refused(lambda: server_of(one).watcher(pem(one), NOW + YEAR + DAY), "ended on")

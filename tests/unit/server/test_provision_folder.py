"""The folder of keys: what is in which bundle, and what each change does."""

import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from server.provision_files import make_own_keys
from server.provision_folder import (
    add_site,
    make_folder,
    renew_server,
    renew_site,
    revoke_site,
)
from tacit.errors import ConfigurationError, TrustError
from tacit.trust.bundle import load_server_bundle, load_site_bundle
from tacit.trust.hosts import Hosts
from tacit.trust.roster import newer

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTS = Hosts.parse(["coordinator.example"], ["192.0.2.1"])

SITE = ["ca.pem", "identity.key", "node.key", "roster.json", "site.yaml", "watch.key", "watch.pem"]
WITHOUT_KEYS = ["ca.pem", "roster.json", "site.yaml", "watch.pem"]
SERVER = ["ca.pem", "roster.json", "server.key", "server.pem", "watch.key", "watch.pem"]


@pytest.fixture
def fed(tmp_path):
    make_folder(tmp_path / "fed", ["county", "referral"], HOSTS, NOW)
    return tmp_path / "fed"


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def tree(fed, county=SITE, referral=SITE):
    return sorted(
        [
            "authority/ca.key",
            "authority/ca.pem",
            *(f"server/{file}" for file in SERVER),
            *(f"sites/county/{file}" for file in county),
            *(f"sites/referral/{file}" for file in referral),
        ]
    )


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def roster(fed):
    return load_server_bundle(fed / "server", NOW).roster


def site(fed, name, now=NOW):
    return load_site_bundle(fed / "sites" / name, now)


# --- init ------------------------------------------------------------------------------------


def test_every_bundle_holds_just_what_its_holder_needs(fed):
    assert files(fed) == tree(fed)


def test_no_private_key_is_in_two_places(fed):
    private = [c for f, c in contents(fed).items() if f.endswith(".key")]
    assert len(private) == 9
    assert len(set(private)) == 9
    assert not any(b"PRIVATE" in c for f, c in contents(fed).items() if not f.endswith(".key"))


def test_only_the_owner_gets_at_anything_private(fed):
    for path in (fed, *fed.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.suffix == ".key":
            assert mode == 0o600, path
        else:
            assert mode & 0o022 == 0, path


def test_a_second_init_changes_nothing(fed):
    before = contents(fed)
    with pytest.raises(TrustError, match=f"{fed}: is there already"):
        make_folder(fed, ["county"], HOSTS, NOW)
    assert contents(fed) == before


@pytest.mark.parametrize("names", [["county", "county"], ["server"], ["../x"], ["a/b"], [".."]])
def test_names_are_looked_at_before_anything_is_made(names, tmp_path):
    with pytest.raises(ConfigurationError):
        make_folder(tmp_path / "fed", names, HOSTS, NOW)
    assert list(tmp_path.iterdir()) == []


def test_an_init_without_sites_waits_for_them(tmp_path):
    make_folder(tmp_path / "fed", [], HOSTS, NOW)
    assert roster(tmp_path / "fed").members == ()
    add_site(tmp_path / "fed", "county", None, NOW)
    assert site(tmp_path / "fed", "county").name == "county"


# --- add -------------------------------------------------------------------------------------


def test_a_site_is_added_and_every_bundle_hears_of_it(fed):
    before = roster(fed)
    keys = {f: c for f, c in contents(fed).items() if f.endswith(".key")}
    add_site(fed, "screening", None, NOW)
    assert files(fed / "sites/screening") == SITE
    after = newer(before, roster(fed))
    assert (after.version, [m.name for m in after.valid(NOW)][-1]) == (2, "screening")
    for name in ("county", "referral", "screening"):
        assert site(fed, name).roster == after
    assert {f: contents(fed)[f] for f in keys} == keys


def test_a_site_makes_its_own_keys_and_the_coordinator_never_has_them(fed, tmp_path):
    own = tmp_path / "own"
    request = make_own_keys(own, "screening")
    assert files(own) == ["identity.key", "node.key", "screening.request.json", "watch.key"]
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in own.glob("*.key"))
    add_site(fed, "screening", request, NOW)
    assert files(fed / "sites/screening") == WITHOUT_KEYS
    secrets = [f.read_bytes() for f in own.glob("*.key")]
    assert not any(secret in held for held in contents(fed).values() for secret in secrets)
    for file in WITHOUT_KEYS:
        (own / file).write_bytes((fed / "sites/screening" / file).read_bytes())
    assert load_site_bundle(own, NOW).name == "screening"


def test_a_request_is_for_the_site_that_made_it(fed, tmp_path):
    request = make_own_keys(tmp_path / "own", "screening")
    before = contents(fed)
    with pytest.raises(TrustError, match=r"request of 'screening', not of 'university'"):
        add_site(fed, "university", request, NOW)
    assert contents(fed) == before


def test_a_request_counts_once(fed, tmp_path):
    """Revoked keys never come back, and no second site gets in with them."""
    request = make_own_keys(tmp_path / "own", "screening")
    add_site(fed, "screening", request, NOW)
    revoke_site(fed, "screening", NOW)
    before = contents(fed)
    with pytest.raises(TrustError, match="listed already"):
        add_site(fed, "screening", request, NOW)
    assert contents(fed) == before


def test_who_is_in_the_roster_is_not_added_again(fed):
    before = contents(fed)
    with pytest.raises(ConfigurationError, match="renew"):
        add_site(fed, "county", None, NOW)
    assert contents(fed) == before


def test_a_revoked_site_may_come_back_with_new_keys(fed):
    revoke_site(fed, "county", NOW)
    (fed / "sites/county/ledger").mkdir()
    add_site(fed, "county", None, NOW)
    assert site(fed, "county").roster.version == 3
    assert (fed / "sites/county/ledger").is_dir()


def test_keys_are_not_made_over_others(fed, tmp_path):
    make_own_keys(tmp_path / "own", "screening")
    before = contents(tmp_path / "own")
    with pytest.raises(TrustError, match="is there already"):
        make_own_keys(tmp_path / "own", "screening")
    with pytest.raises(ConfigurationError):
        make_own_keys(tmp_path / "new", "Screening")
    assert contents(tmp_path / "own") == before
    assert not (tmp_path / "new").exists()


# --- renew -----------------------------------------------------------------------------------


def test_a_renewed_site_has_new_keys_and_the_old_ones_are_revoked(fed):
    old, before = site(fed, "county"), contents(fed)
    (fed / "sites/county/ledger").mkdir()
    (fed / "sites/county/site.yaml").write_text("name: county  # changed")
    renew_site(fed, "county", None, NOW + 300 * DAY)
    new = site(fed, "county", NOW + 600 * DAY)
    assert newer(old.roster, new.roster).version == 2
    assert new.roster.members[0].revoked == NOW + 300 * DAY
    assert set(new.roster.latest("county").keys).isdisjoint(old.roster.latest("county").keys)
    # What is the site's own stays where it is, and what was replaced is kept.
    assert (fed / "sites/county/ledger").is_dir()
    assert (fed / "sites/county/site.yaml").read_text() == "name: county  # changed"
    assert files(fed / "sites/county") == SITE
    for file in ("node.key", "identity.key", "watch.key", "watch.pem"):
        kept = fed / "old/county-2" / file
        assert kept.read_bytes() == before[f"sites/county/{file}"]
    assert stat.S_IMODE((fed / "old").stat().st_mode) == 0o700
    assert stat.S_IMODE((fed / "old/county-2/node.key").stat().st_mode) == 0o600


def test_a_site_can_take_its_keys_into_its_own_hands(fed, tmp_path):
    request = make_own_keys(tmp_path / "own", "county")
    renew_site(fed, "county", request, NOW)
    assert files(fed / "sites/county") == WITHOUT_KEYS
    with pytest.raises(ConfigurationError, match="--keys FILE"):
        renew_site(fed, "county", None, NOW)
    renew_site(fed, "county", make_own_keys(tmp_path / "new", "county"), NOW)
    assert roster(fed).version == 3
    assert sorted(p.name for p in (fed / "old").iterdir()) == ["county-2", "county-3"]


@pytest.mark.parametrize("change", [renew_site, revoke_site])
def test_only_who_counts_can_be_renewed_or_revoked(change, fed):
    more = (None,) if change is renew_site else ()
    revoke_site(fed, "referral", NOW)
    before = contents(fed)
    for name in ("screening", "referral"):
        with pytest.raises(ConfigurationError, match=name):
            change(fed, name, *more, NOW)
    assert contents(fed) == before


def test_a_renewed_server_has_its_names_and_keys_still(fed):
    before = contents(fed)
    renew_server(fed, NOW + 300 * DAY)
    changed = {f for f, c in contents(fed).items() if before[f] != c}
    assert changed == {"server/server.pem", "server/watch.pem"}
    found = load_server_bundle(fed / "server", NOW + 600 * DAY)
    certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
    assert Hosts.of(certificate) == HOSTS
    assert found.roster.version == 1


def test_an_ended_server_can_be_renewed(fed):
    late = NOW + 500 * DAY
    with pytest.raises(TrustError, match="ended"):
        load_server_bundle(fed / "server", late)
    renew_server(fed, late)
    load_server_bundle(fed / "server", late)


def test_an_ended_authority_changes_nothing_more(fed):
    late, before = NOW + 4000 * DAY, contents(fed)
    for change in (
        lambda: renew_server(fed, late),
        lambda: renew_site(fed, "county", None, late),
        lambda: add_site(fed, "screening", None, late),
    ):
        with pytest.raises(TrustError, match="authority's certificate ended"):
            change()
    assert contents(fed) == before
    assert not list(fed.rglob("*.partial"))


# --- revoke ----------------------------------------------------------------------------------


def test_a_revoked_site_stays_listed_with_the_date(fed):
    before = roster(fed)
    revoke_site(fed, "county", NOW + DAY)
    after = newer(before, roster(fed))
    assert after.latest("county").revoked == NOW + DAY
    assert [m.name for m in after.valid(NOW + DAY)] == ["referral"]
    assert site(fed, "referral").roster == after


# --- the folder itself -----------------------------------------------------------------------


def test_two_commands_at_once_are_refused(fed):
    """Otherwise two rosters of one version would be signed."""
    from server.provision_folder import _opened

    before = contents(fed)
    with _opened(fed), pytest.raises(TrustError, match="another tacit-provision"):
        revoke_site(fed, "county", NOW)
    assert contents(fed) == before
    revoke_site(fed, "county", NOW)


def test_no_change_without_the_authority(fed, tmp_path):
    (fed / "authority").rename(tmp_path / "offline")
    with pytest.raises(TrustError, match=f"{fed / 'authority'}: cannot be opened"):
        revoke_site(fed, "county", NOW)
    (fed / "authority").symlink_to(tmp_path / "offline")
    revoke_site(fed, "county", NOW)


def test_another_authority_changes_nothing(fed, tmp_path):
    make_folder(tmp_path / "other", [], HOSTS, NOW)
    (fed / "authority").rename(tmp_path / "offline")
    (tmp_path / "other/authority").rename(fed / "authority")
    before = contents(fed)
    with pytest.raises(TrustError, match=r"server/ca\.pem: is not that of"):
        revoke_site(fed, "county", NOW)
    assert contents(fed) == before


def test_a_bundle_that_was_taken_away_does_not_stop_the_others(fed):
    for file in (fed / "sites/county").iterdir():
        file.unlink()
    (fed / "sites/county").rmdir()
    add_site(fed, "screening", None, NOW)
    assert site(fed, "referral").roster.version == 2
    with pytest.raises(ConfigurationError, match="holds no private keys"):
        renew_site(fed, "county", None, NOW)
    revoke_site(fed, "county", NOW)
    add_site(fed, "county", None, NOW)
    assert files(fed / "sites/county") == SITE


def test_an_old_roster_put_back_is_noticed_before_another_is_signed(fed):
    """Otherwise two rosters of version 2 would be signed, and sites disagree for good."""
    old = (fed / "server/roster.json").read_bytes()
    add_site(fed, "screening", None, NOW)
    newest = (fed / "server/roster.json").read_bytes()
    (fed / "server/roster.json").write_bytes(old)
    before = contents(fed)
    with pytest.raises(TrustError, match=r"sites/county/roster\.json is not older.*version 2"):
        revoke_site(fed, "county", NOW)
    assert contents(fed) == before
    (fed / "server/roster.json").write_bytes(newest)
    revoke_site(fed, "county", NOW)

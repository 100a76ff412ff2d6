"""What an authority issues, for what, to whom and until when."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA384
from trust_example import DAY, HOSTS, NOW, authority, refused

from tacit.trust import certificates
from tacit.trust.certificates import (
    CLIENT,
    SERVER,
    Authority,
    certified_key,
    check_issued,
    client_certificate,
    common_name,
    fingerprint,
    load_authority,
    load_certificate,
    parse_certificate,
    server_certificate,
    term,
    to_pem,
)
from tacit.trust.hosts import Hosts
from tacit.trust.keys import make_ec_key, public_bytes, write_private, write_public


@pytest.fixture
def server():
    return server_certificate(authority(), make_ec_key().public_key(), HOSTS, NOW)


@pytest.fixture
def client():
    return client_certificate(authority(), make_ec_key().public_key(), "county", NOW)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_an_authority_is_good_for_ten_years_and_only_for_signing():
    own = authority().certificate
    assert own.not_valid_before_utc == NOW - DAY
    assert (own.not_valid_after_utc - NOW).days == 3652
    constraints = extension(own, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extension(own, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.digital_signature) == (True, True)
    assert own.signature_hash_algorithm.name == "sha384"
    assert common_name(own) != common_name(authority(1).certificate)


def test_a_servers_certificate_has_its_names_and_is_good_for_a_year(server):
    assert Hosts.of(server) == HOSTS
    assert server.not_valid_before_utc == NOW - DAY
    assert server.not_valid_after_utc == NOW + timedelta(days=365)
    assert not extension(server, x509.BasicConstraints).value.ca
    assert not extension(server, x509.KeyUsage).value.key_cert_sign


def test_one_that_is_not_asked_for_has_no_local_name():
    hosts = Hosts.parse(["coordinator.example"], [])
    found = server_certificate(authority(), make_ec_key().public_key(), hosts, NOW)
    assert Hosts.of(found) == hosts


def test_no_client_passes_for_a_server_and_no_server_for_a_client(server, client):
    ca = authority().certificate
    check_issued(server, "s", ca, SERVER)
    check_issued(client, "c", ca, CLIENT)
    refused(lambda: check_issued(client, "watch.pem", ca, SERVER), "watch.pem", "server's")
    refused(lambda: check_issued(server, "server.pem", ca, CLIENT), "server.pem", "client's")
    refused(lambda: check_issued(ca, "ca.pem", ca, SERVER), "what it is for")


def test_another_authoritys_certificate_is_refused(server):
    said = refused(lambda: check_issued(server, "server.pem", authority(1).certificate, SERVER))
    assert common_name(authority(1).certificate) in said


def test_a_name_like_the_authoritys_does_not_help(client):
    """Another key under the authority's own name signs a certificate: only the signature tells."""
    false = Authority(make_ec_key(), authority().certificate)
    forged = client_certificate(false, make_ec_key().public_key(), "county", NOW)
    assert forged.issuer == client.issuer
    refused(lambda: check_issued(forged, "watch.pem", authority().certificate, CLIENT), "watch.pem")


def test_nothing_outlives_its_authority_and_an_ended_one_issues_nothing():
    end = authority().certificate.not_valid_after_utc
    late = server_certificate(authority(), make_ec_key().public_key(), HOSTS, end - 10 * DAY)
    assert late.not_valid_after_utc == end
    assert term(authority(), end - 10 * DAY) == (end - 11 * DAY, end)
    for issue in (
        lambda: term(authority(), end),
        lambda: server_certificate(authority(), make_ec_key().public_key(), HOSTS, end),
        lambda: client_certificate(authority(), make_ec_key().public_key(), "county", end),
    ):
        refused(issue, f"{end:%Y-%m-%d}", "init")


def test_an_authority_comes_back_and_its_key_must_be_its_own(tmp_path):
    write_private(tmp_path / "ca.key", authority().key)
    write_public(tmp_path / "ca.pem", to_pem(authority().certificate))
    write_private(tmp_path / "other.key", make_ec_key())
    found = Authority.load(tmp_path / "ca.key", tmp_path / "ca.pem")
    assert found.certificate == authority().certificate
    refused(
        lambda: Authority.load(tmp_path / "other.key", tmp_path / "ca.pem"), "other.key", "ca.pem"
    )


def test_only_an_authority_is_one(tmp_path, server):
    write_public(tmp_path / "ca.pem", to_pem(self_signed(ca=True)))
    load_authority(tmp_path / "ca.pem")
    false = self_signed(ca=True, by=make_ec_key())
    for path, certificate in (
        ("server.pem", server),
        ("own.pem", self_signed(ca=False)),
        ("false.pem", false),
    ):
        write_public(tmp_path / path, to_pem(certificate))
        refused(lambda path=path: load_authority(tmp_path / path), path, "authority")


def self_signed(*, ca: bool, by=None):
    key = make_ec_key()
    name = x509.Name([])
    return (
        certificates._builder(key.public_key(), name, NOW - DAY, NOW + DAY)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(by or key, SHA384())
    )


def test_what_is_no_certificate_is_refused_by_name(tmp_path):
    refused(lambda: load_certificate(tmp_path / "x.pem"), "x.pem", "No such file")
    write_public(tmp_path / "y.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    refused(lambda: load_certificate(tmp_path / "y.pem"), "y.pem", "PEM")
    write_public(tmp_path / "z.pem", b"x" * (certificates.MOST_BYTES + 1))
    refused(lambda: load_certificate(tmp_path / "z.pem"), "z.pem", "larger")


def test_a_key_on_another_curve_is_refused():
    key = generate_private_key(SECP256R1())
    weak = certificates._builder(key.public_key(), x509.Name([]), NOW - DAY, NOW + DAY)
    pem = to_pem(weak.issuer_name(x509.Name([])).sign(key, SHA384()))
    refused(lambda: parse_certificate(pem, "x"), "x: ", "P-384")


def test_a_certificate_says_whose_key_it_is(client):
    key = make_ec_key()
    issued = client_certificate(authority(), key.public_key(), "county", NOW)
    assert certified_key(issued) == public_bytes(key.public_key())
    assert common_name(issued) == "county"
    assert common_name(self_signed(ca=True)) == ""
    assert len(fingerprint(client).split(":")) == 32

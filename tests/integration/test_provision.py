"""tacit-provision as a person meets it, and what others make of its files: openssl, TLS, Flower."""

import re
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.provision import _main as provision
from tacit.trust.bundle import load_server_bundle, load_site_bundle
from tacit.trust.validity import utc_now

ASKED = ("--name", "coordinator.example", "--address", "127.0.0.1")
SITES = ("--site", "county", "--site", "referral")
HEAVY = ("torch", "flwr", "hydra", "cryptography", "typer", "rich")


@pytest.fixture
def fed(command, tmp_path):
    ended = command("init", tmp_path / "fed", *SITES, *ASKED, main=provision)
    assert (ended.code, ended.err) == (0, "")
    assert "coordinator.example, 127.0.0.1 and 2 sites" in ended.out
    return tmp_path / "fed"


@pytest.fixture
def other(command, tmp_path):
    assert command("init", tmp_path / "other", *SITES, *ASKED, main=provision).code == 0
    return tmp_path / "other"


# --- what people type ------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["init", "-h"], ["--version"]])
def test_help_is_answered_at_once(words, process):
    script = (
        "import sys\n"
        "from server.provision import _main\n"
        f"code = _main({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code)\n"
    )
    ended = process("python", "-c", script)
    assert ended.out.endswith("[] 0\n")
    assert "tacit" in ended.out


def test_the_whole_life_of_a_foundation(process, tmp_path):
    def said(*words):
        ended = process("python", "-m", "server.provision", *words)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.out

    assert "2 sites" in said("init", "fed", *SITES, *ASKED)
    keys = said("keys", "own", "screening")
    assert "hand in own/screening.request.json" in keys
    added = said("add", "fed", "screening", "--keys", "own/screening.request.json")
    digest = keys.partition("SHA-256 ")[2].partition(";")[0]
    assert f"SHA-256 {digest}: compare it with the site" in added
    assert "fed/server/roster.json (version 2)" in added
    assert "fed/sites/county goes to the site" in said("renew", "fed", "county")
    assert "server.pem and watch.pem" in said("renew", "fed", "server")
    assert "revoked: referral" in said("revoke", "fed", "referral")
    shown = said("status", "fed")
    assert "roster: version 4" in shown
    assert "127.0.0.1" in shown
    rows = re.findall(r"^(\w+) .* (?:revoked on \S+|\d+) *$", shown, re.MULTILINE)
    assert rows[-4:] == ["county", "county", "referral", "screening"]
    assert re.findall(r"^(\w+) .* revoked on", shown, re.MULTILINE) == ["county", "referral"]
    assert "warning" not in shown

    for file in (tmp_path / "fed/sites/screening").iterdir():
        shutil.copy(file, tmp_path / "own" / file.name)
    assert load_site_bundle(tmp_path / "own").name == "screening"
    assert load_site_bundle(tmp_path / "fed/sites/county").roster.version == 4
    assert [
        m.name for m in load_server_bundle(tmp_path / "fed/server").roster.valid(utc_now())
    ] == [
        "county",
        "screening",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say one of init, add, renew, revoke, status, keys"),
        (["ini"], "ini: there is no such word"),
        (["init"], "DIR"),
        (["init", "new"], "--name coordinator.example"),
        (["init", "new", "--name", "https://x"], "--name https://x"),
        (["init", "new", "--address", "x"], "--address x"),
        (["init", "new", "--site", "A", "--name", "x"], "'A' cannot be a site's name"),
        (["init", "new", "--sites", "a"], "--sites"),
        (["init", "fed", "--name", "x"], "fed: is there already"),
        (["add", "fed", "county"], "county is in the roster"),
        (["add", "fed", "x", "--keys", "none.json"], "none.json: cannot be read"),
        (["add", "nowhere", "x"], "nowhere/authority: cannot be opened"),
        (["renew", "fed", "x"], "x is not in the roster"),
        (["renew", "fed", "server", "--keys", "none.json"], "--keys is for a site"),
        (["revoke", "fed", "x"], "x is not in the roster"),
        (["revoke", "fed", "server"], "server is not in the roster"),
        (["status", "nowhere"], "nowhere/server/ca.pem: cannot be read"),
        (["keys", "fed", "county"], "fed: is there already"),
        (["keys", "new", "county/x"], "'county/x' cannot be a site's name"),
    ],
)
def test_what_goes_wrong_is_one_line_and_changes_nothing(
    words, says, fed, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    ended = command(*words, main=provision)
    assert ended.code == 2
    assert says in ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_status_warns_30_days_before_anything_ends(fed, command, monkeypatch):
    from server import provision_words

    monkeypatch.setattr(provision_words, "utc_now", lambda: utc_now() + timedelta(days=340))
    shown = command("status", fed, main=provision).out
    assert shown.count("\nwarning: ") == 4
    assert f"in 24 days, on {utc_now() + timedelta(days=365):%Y-%m-%d}" in shown
    assert f"tacit-provision renew {fed} county" in shown
    assert f"tacit-provision renew {fed} server" in shown
    # What has ended is shown, and not refused.
    monkeypatch.setattr(provision_words, "utc_now", lambda: utc_now() + timedelta(days=400))
    ended = command("status", fed, main=provision)
    assert ended.code == 0
    assert ended.out.count(" ended on ") == 4


# --- what others make of it ------------------------------------------------------------------


def openssl(*words) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_and_verifies_them(fed, other):
    ca, server, watch = (
        fed / "server/ca.pem",
        fed / "server/server.pem",
        fed / "sites/county/watch.pem",
    )

    def verified(*words):
        return openssl("verify", "-x509_strict", *words)

    for_server = ("-purpose", "sslserver")
    for name in (
        ("-verify_hostname", "coordinator.example"),
        ("-verify_ip", "127.0.0.1"),
    ):
        done = verified("-CAfile", ca, *for_server, *name, server)
        assert done.returncode == 0, done.stderr
    assert verified("-CAfile", ca, "-purpose", "sslclient", watch).returncode == 0
    assert verified("-CAfile", ca, ca).returncode == 0

    for words, says in (
        (("-CAfile", ca, *for_server, "-verify_hostname", "localhost", server), "ostname mismatch"),
        (("-CAfile", ca, *for_server, watch), "purpose"),
        (("-CAfile", ca, "-purpose", "sslclient", server), "purpose"),
        (("-CAfile", other / "server/ca.pem", *for_server, server), "unable to get local issuer"),
    ):
        done = verified(*words)
        assert done.returncode != 0
        assert says in done.stderr

    text = openssl("x509", "-in", server, "-noout", "-text").stdout
    for line in (
        "DNS:coordinator.example, IP Address:127.0.0.1\n",
        "ASN1 OID: secp384r1",
        "CA:FALSE",
        "TLS Web Server Authentication\n",
        "Signature Algorithm: ecdsa-with-SHA384",
    ):
        assert line in text
    text = openssl("x509", "-in", ca, "-noout", "-text").stdout
    assert "CA:TRUE, pathlen:0" in text
    assert "Digital Signature, Certificate Sign\n" in text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_the_keys_and_shows_the_same_fingerprint(fed, command):
    for file in ("node.key", "watch.key", "identity.key"):
        done = openssl("pkey", "-in", fed / "sites/county" / file, "-noout", "-text")
        assert done.returncode == 0
        assert ("secp384r1" in done.stdout) == (file != "identity.key")
        assert ("ED25519" in done.stdout) == (file == "identity.key")
    done = openssl("x509", "-in", fed / "server/ca.pem", "-noout", "-fingerprint", "-sha256")
    shown = command("status", fed, main=provision).out
    assert done.stdout.strip().rpartition("=")[2] in shown


def handshake(at_server: ssl.SSLContext, at_client: ssl.SSLContext, name: str) -> str:
    """Shake hands over loopback; give what the client reads, or raise what went wrong first."""
    wrong: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def serve() -> None:
            try:
                raw, _ = listening.accept()
                raw.settimeout(20)
                with at_server.wrap_socket(raw, server_side=True) as peer:
                    peer.sendall(b"hello")
            except OSError as error:
                wrong.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), timeout=20) as raw,
                at_client.wrap_socket(raw, server_hostname=name) as peer,
            ):
                heard = peer.recv(5).decode()
        except OSError as error:
            wrong.insert(0, error)
        finally:
            thread.join(timeout=30)
    if wrong:
        raise wrong[0]
    return heard


def server_context(folder, kind="server", clients=None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{kind}.pem", folder / f"{kind}.key")
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def client_context(ca, folder=None, kind="watch") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if folder is not None:
        context.load_cert_chain(folder / f"{kind}.pem", folder / f"{kind}.key")
    return context


def test_tls_holds_with_the_right_authority_and_name_only(fed, other):
    ours, theirs = fed / "sites/county/ca.pem", other / "sites/county/ca.pem"
    at_server = server_context(fed / "server")
    for name in ("coordinator.example", "127.0.0.1"):
        assert handshake(at_server, client_context(ours), name) == "hello"
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        handshake(at_server, client_context(theirs), "coordinator.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"):
        handshake(at_server, client_context(ours), "localhost")


def test_no_site_can_pass_for_the_coordinator(fed):
    at_site = server_context(fed / "sites/referral", "watch")
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(at_site, client_context(fed / "sites/county/ca.pem"), "coordinator.example")


def test_watchers_are_known_by_their_certificates(fed, other):
    ca = fed / "server/ca.pem"
    at_server = server_context(fed / "server", clients=ca)
    for folder in (fed / "server", fed / "sites/county"):
        assert handshake(at_server, client_context(ca, folder), "coordinator.example") == "hello"
    for wrong in (
        client_context(ca),
        client_context(ca, other / "sites/county"),
        client_context(ca, fed / "server", "server"),
    ):
        with pytest.raises(ssl.SSLError):
            handshake(at_server, wrong, "coordinator.example")


def test_flower_takes_the_node_keys(fed):
    from flwr.supercore.primitives.asymmetric import (
        bytes_to_private_key,
        public_key_to_bytes,
        sign_message,
        uses_nist_ec_curve,
        verify_signature,
    )

    content = (fed / "sites/county/node.key").read_bytes()
    key = bytes_to_private_key(content)
    assert load_pem_private_key(content, None).private_numbers() == key.private_numbers()
    assert uses_nist_ec_curve(key.public_key())
    listed = load_server_bundle(fed / "server").roster.member("county", utc_now())
    assert verify_signature(listed.node_key, b"x", sign_message(key, b"x"))
    held = load_site_bundle(fed / "sites/county").node_key
    assert public_key_to_bytes(held.public_key()) == public_key_to_bytes(listed.node_key)

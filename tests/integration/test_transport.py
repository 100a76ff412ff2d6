"""Server and sites as processes on loopback: rounds, kills, and who is let in."""

import socket
import ssl

import httpx
import numpy as np
import pytest
from transport_processes import (
    SITES,
    new_key,
    write_authority,
    write_key,
)


def port_of(server):
    return server.fact("port")["port"]


def test_three_rounds_leave_nothing_on_the_disk(start, tmp_path):
    server = start("server", sites=SITES, rounds=3)
    port = port_of(server)
    sites = [start("site", port, name=name) for name in SITES]
    for number in (1, 2, 3):
        done = server.fact("round")
        assert (done["round"], done["replied"], done["value"]) == (number, SITES, number)
        assert done["left"] == 0
    server.fact("ended")
    assert server.process.wait(10) == 0
    marker = np.random.default_rng(1).random(1000, np.float32)[1:9].tobytes()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if marker in path.read_bytes()]
    for site in sites:
        seconds, code = site.stop()
        assert code == 0
        assert seconds < 10


def test_a_site_that_is_killed_with_a_message_in_hand_is_back_in_the_next_round(start):
    server = start("server", sites=SITES, rounds=2, timeout=60)
    port = port_of(server)
    start("site", port, name="south")
    north = start("site", port, name="north", ask=True)
    north.fact("got")
    north.kill()
    again = start("site", port, name="north")
    assert server.fact("round")["replied"] == ["south"]
    again.line("connected to")
    assert server.fact("round")["replied"] == SITES


@pytest.mark.slow
def test_sites_come_back_to_a_server_that_was_killed(start):
    server = start("server", sites=SITES, rounds=1, timeout=60)
    told = server.fact("port")
    north = start("site", told["port"], name="north", ask=True)
    south = start("site", told["port"], name="south")
    north.fact("got")
    south.fact("got")
    server.kill()
    for site in (north, south):
        site.line("no connection to 127.0.0.1")
    server = start("server", told["port"], sites=SITES, rounds=2, timeout=60)
    assert server.fact("port") == told
    north.tell()
    north.line("a reply to the one before is dropped")
    north.fact("got")
    north.tell()
    assert server.fact("round")["replied"] == SITES
    north.fact("got")
    north.tell()
    assert server.fact("round")["value"] == 2.0


def test_who_is_not_let_in(start, tmp_path):
    server = start("server", sites=SITES, rounds=0, stay=True)
    port = port_of(server)
    write_key(tmp_path / "stranger.key", new_key())
    write_authority(tmp_path, "other")
    north = start("site", port, name="north")
    north.line("connected to 127.0.0.1")
    stranger = start("site", port, name="north", key="stranger")
    elsewhere = start("site", port, name="south", ca="other.pem")
    late = start("site", port, name="south", clock=-3600)
    copy = start("site", port, name="north")
    stranger.line("this site's key is not enrolled there, or was revoked")
    server.line("127.0.0.1 has a key that is not enrolled")
    assert "CERTIFICATE_VERIFY_FAILED" in elsewhere.line("no connection")
    late.line("clock is 60 minutes behind the server's")
    copy.line("another process of this site is still connected there")
    server.kill()
    revoking = start("server", port, sites=["south"], rounds=0, stay=True)
    assert list(revoking.fact("port")["names"].values()) == ["south"]
    north.line("this site's key is not enrolled there, or was revoked")


def test_nothing_else_is_there(start, tmp_path):
    server = start("server", sites=SITES, rounds=0, stay=True)
    port = port_of(server)
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust) as client:
        assert client.get("/health").status_code == 200
        for path in (
            "/",
            "/docs",
            "/openapi.json",
            "/v1/control/start-run",
            "/v1/control/register-node",
            "/v1/runtime/push-messages",
            "/v1/fleet/register-node",
            "/v1/fleet/unregister-node",
            "/v1/fleet/get-run",
            "/v1/fleet/get-fab",
        ):
            assert client.get(path).status_code == client.post(path).status_code == 404, path
        assert client.post("/health").status_code == 404
        assert client.post("/v1/fleet/pull-messages").status_code == 403
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/health")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{port}/health")
    old = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(plain, server_hostname="127.0.0.1")

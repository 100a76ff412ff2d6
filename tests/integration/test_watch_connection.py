"""Bundles that cannot be used, and every way in which a connection fails, made to happen.

gRPC tells the cases apart in its details only: a gRPC with other words makes a test here fail.
"""

import http.server
import socket
import ssl
import threading
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from watch_folders import ELSEWHERE, EXPIRED, HERE, TOO_EARLY, Authority
from watched_run import board as new_board

from server import watch_client
from server.status import Phase
from server.watch_bundle import Bundle
from server.watch_client import NoAnswerError, fetch, follow
from tacit.errors import ConfigurationError, InputError


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def served(authority, tmp_path_factory):
    return authority.server(tmp_path_factory.mktemp("served") / "server")


@pytest.fixture(scope="module")
def ward(authority, tmp_path_factory):
    return read(authority.watcher(tmp_path_factory.mktemp("ward") / "ward"))


def read(folder):
    return Bundle.read(folder.certificate, folder.key, folder.ca)


def test_a_password_on_the_key_is_said(authority, tmp_path):
    locked = authority.folder(tmp_path / "locked", "watch", "ward", password=b"secret")
    with pytest.raises(InputError, match="not a private key in PEM without a password"):
        read(locked)


@pytest.mark.parametrize("which", ["key", "certificate", "ca"])
def test_a_file_that_is_no_pem_is_named(authority, tmp_path, which):
    folder = authority.watcher(tmp_path / "watcher")
    getattr(folder, which).write_text("nothing")
    with pytest.raises(InputError, match=getattr(folder, which).name):
        read(folder)


def test_a_key_of_another_bundle_is_said(authority, tmp_path):
    one, other = authority.watcher(tmp_path / "one"), authority.watcher(tmp_path / "other")
    one.key.write_bytes(other.key.read_bytes())
    with pytest.raises(InputError, match=r"watch\.key is not the key of .*watch\.pem"):
        read(one)


@pytest.mark.parametrize("name", ["Tacit CA", "Another CA"])
def test_a_certificate_of_another_ca_is_said(authority, tmp_path, name):
    folder = authority.watcher(tmp_path / "watcher")
    folder.ca.write_bytes(Authority(name).pem)
    with pytest.raises(InputError, match=r"watch\.pem is not signed by .*ca\.pem"):
        read(folder)


@pytest.mark.parametrize(
    ("days", "words"), [(EXPIRED, "expired on"), (TOO_EARLY, "is the clock right")]
)
def test_a_certificate_out_of_force_is_said(authority, tmp_path, days, words):
    with pytest.raises(InputError, match=rf"watch\.pem .*{words}"):
        read(authority.watcher(tmp_path / "watcher", days=days))


def test_an_expired_ca_is_said(tmp_path):
    with pytest.raises(InputError, match=r"ca\.pem expired on"):
        read(Authority(days=EXPIRED).watcher(tmp_path / "watcher"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_touch_is_not_read(authority, tmp_path, mode):
    folder = authority.watcher(tmp_path / "watcher")
    folder.key.chmod(mode)
    with pytest.raises(InputError, match=f"mode {mode:04o}.*run chmod 600 .*watch.key"):
        read(folder)


# What gRPC says of a connection that fails, each case made to happen.


@contextmanager
def raw_server(folder, ca, *, methods):
    """A gRPC server that looks at nothing of its own."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pair = (folder.key.read_bytes(), folder.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], ca, require_client_auth=True)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tacit.Status", methods)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def raw_socket(answer):
    """A TCP server that sends something and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            while True:
                try:
                    connected, _ = listening.accept()
                except OSError:
                    return
                with connected:
                    connected.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"localhost:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def said(address, bundle):
    """How the first attempt to follow ends."""
    with pytest.raises((InputError, NoAnswerError)) as ended:
        next(watch_client._stream(address, bundle, before=False))
    return str(ended.value), ended.type is InputError


@pytest.mark.parametrize(
    ("days", "names", "words"),
    [
        (EXPIRED, HERE, "certificate has expired"),
        (TOO_EARLY, HERE, "not in force yet"),
        ((-1, 30), ELSEWHERE, "not for this name"),
    ],
)
def test_a_servers_bad_certificate_is_hopeless(authority, ward, tmp_path, days, names, words):
    folder = authority.server(tmp_path / "served", days=days, names=names)
    with raw_server(folder, authority.pem, methods={}) as address:
        text, hopeless = said(address, ward)
    assert words in text
    assert hopeless


@pytest.mark.parametrize("name", ["Tacit CA", "Another CA"])
def test_a_server_of_another_ca_is_hopeless(authority, ward, tmp_path, name):
    other = Authority(name)
    with raw_server(other.server(tmp_path / "served"), authority.pem, methods={}) as address:
        text, hopeless = said(address, ward)
    assert "its certificate is not of this bundle's CA" in text
    assert hopeless


def test_a_server_that_knows_another_ca_hangs_up(served, ward):
    with raw_server(served, Authority().pem, methods={}) as address:
        text, hopeless = said(address, ward)
    assert "it hung up on this bundle's certificate" in text
    assert hopeless


def test_once_it_worked_a_hang_up_is_waited_out(served, ward):
    with (
        raw_server(served, Authority().pem, methods={}) as address,
        pytest.raises(NoAnswerError, match="the connection was lost"),
    ):
        next(watch_client._stream(address, ward, before=True))


def test_another_grpc_server_is_hopeless(authority, served, ward):
    with raw_server(served, authority.pem, methods={}) as address:
        text, hopeless = said(address, ward)
    assert "no coordinator is watched at this port" in text
    assert hopeless


def test_a_port_without_tls_is_hopeless(ward):
    with raw_socket(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        text, hopeless = said(address, ward)
    assert "no coordinator is watched at this port" in text
    assert hopeless


def test_a_port_with_tls_that_is_not_grpc_is_hopeless(served, ward):
    """The port of the Fleet API is such a one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.certificate, served.key)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        text, hopeless = said(f"localhost:{server.server_port}", ward)
        server.shutdown()
        thread.join(20)
    assert "no coordinator is watched at this port" in text
    assert hopeless


@pytest.mark.parametrize("host", ["no-such-host.invalid", "unix"])
def test_a_host_that_is_not_there_is_hopeless_at_first(ward, host):
    text, hopeless = said(f"{host}:9093", ward)
    assert "there is no such host" in text
    assert hopeless


def test_a_proxy_that_accepts_and_hangs_up_is_waited_out(ward):
    """As a container's port does while the coordinator in it is still starting."""
    with raw_socket(b"") as address:
        text, hopeless = said(address, ward)
    assert "the connection was lost" in text
    assert not hopeless


def test_a_status_of_another_version_is_an_error_and_no_loop(authority, served, ward):
    def other(request, context):
        yield b'{"schema": "tacit/status/9"}'

    methods = {"Watch": grpc.unary_stream_rpc_method_handler(other)}
    with (
        raw_server(served, authority.pem, methods=methods) as address,
        pytest.raises(InputError, match="tacit/status/9"),
    ):
        next(follow(address, ward, print))


def test_a_stream_that_ends_too_soon_is_started_again(authority, served, ward):
    """A server that goes away in good order is not a run that is over."""
    board, calls = new_board(), []

    def short(request, context):
        calls.append(len(calls) + 1)
        if len(calls) == 3:
            board.update(lambda status: replace(status, phase=Phase.FINISHED))
        yield board.status.to_json()

    methods = {"Watch": grpc.unary_stream_rpc_method_handler(short)}
    heard = []
    with raw_server(served, authority.pem, methods=methods) as address:
        seen = list(follow(address, ward, heard.append, pauses=[0.01]))
    assert [status.phase for status in seen] == ["waiting", "waiting", "finished"]
    lost = f"{address}: the connection was lost; trying again until it answers"
    assert heard == [lost, "", lost, ""]


NO_ADDRESSES = [
    *("", "localhost", "localhost:", "localhost:port", "localhost:70000", "a:0", ":9093"),
    *("http://localhost:9093", "localhost:9093/", "someone@localhost:9093", "unix:/tmp/socket"),
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_is_a_host_and_a_port(ward, address):
    with pytest.raises(ConfigurationError, match="must be HOST:PORT"):
        fetch(address, ward)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_name_and_an_address_of_the_certificate_both_work(authority, served, ward, host):
    def get(request, context):
        return new_board().status.to_json()

    methods = {"Get": grpc.unary_unary_rpc_method_handler(get)}
    with raw_server(served, authority.pem, methods=methods) as address:
        assert fetch(address.replace("localhost", host), ward).experiment == "hospitals"

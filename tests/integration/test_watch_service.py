"""The service's door: who gets in, what each method gives, and how it ends.

Readers here are plain gRPC clients, as anybody may write one.
"""

import json
import threading
import time
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from watch_folders import Authority
from watched_run import board as new_board

from server import watch_client, watch_service
from server.status import Phase
from server.watch_bundle import Bundle
from server.watch_client import follow
from tacit.errors import InputError

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
NO_PROXY = (("grpc.enable_http_proxy", 0),)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def folders(authority, tmp_path_factory):
    """A server, a watcher, somebody who is not on the list, and somebody without a name."""
    root = tmp_path_factory.mktemp("folders")
    made = {"server": authority.server(root / "server")}
    for name in ("ward", "stranger"):
        made[name] = authority.watcher(root / name, name)
    made["nameless"] = authority.watcher(root / "nameless", None)
    made["foreign"] = Authority("Another CA").watcher(root / "foreign")
    return made


@pytest.fixture
def board():
    return new_board()


@contextmanager
def serving(board, folder, entitled=lambda name, pem: name == "ward", port=0):
    """Serve a board; gives HOST:PORT."""
    with watch_service.watch_service(
        board,
        address=f"127.0.0.1:{port}",
        certificate=folder.certificate,
        key=folder.key,
        ca=folder.ca,
        entitled=entitled,
    ) as port:
        yield f"localhost:{port}"


@pytest.fixture
def address(board, folders):
    with serving(board, folders["server"]) as served:
        yield served


@contextmanager
def channel_of(address, folder, ca=None, options=NO_PROXY):
    """Connect with what is in a folder; without one, with no certificate at all."""
    own = (folder.key.read_bytes(), folder.certificate.read_bytes()) if folder else (None, None)
    credentials = grpc.ssl_channel_credentials(ca or folder.ca.read_bytes(), *own)
    with grpc.secure_channel(address, credentials, options=tuple(options)) as channel:
        yield channel


def ask(call):
    """Make a call to its end; gives what came, or the code with which it ended."""
    try:
        answer = call()
        return [answer] if isinstance(answer, bytes | HealthCheckResponse) else [next(answer)]
    except grpc.RpcError as error:
        return error.code()


def every_method(channel):
    """All that the service has, by name."""
    health = HealthStub(channel)
    asked = HealthCheckRequest(service="")
    return {
        "Get": lambda: channel.unary_unary("/tacit.Status/Get")(b"", timeout=20),
        "Watch": lambda: channel.unary_stream("/tacit.Status/Watch")(b"", timeout=20),
        "Check": lambda: health.Check(asked, timeout=20),
        "health Watch": lambda: health.Watch(asked, timeout=20),
    }


METHODS = ["Get", "Watch", "Check", "health Watch"]


def attempt(address, folder, method, ca=None):
    with channel_of(address, folder, ca) as channel:
        return ask(every_method(channel)[method])


@pytest.mark.parametrize("method", METHODS)
def test_whoever_is_entitled_gets_an_answer(address, folders, method):
    assert isinstance(attempt(address, folders["ward"], method), list)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("who", ["stranger", "nameless"])
def test_whoever_is_not_is_turned_away_from_every_method(address, folders, who, method, caplog):
    assert attempt(address, folders[who], method) is DENIED
    assert "is not entitled and was turned away" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_another_cas_certificate_does_not_connect(address, folders, authority, method):
    assert attempt(address, folders["foreign"], method, authority.pem) is UNAVAILABLE


@pytest.mark.parametrize("method", METHODS)
def test_without_a_certificate_nobody_connects(address, authority, method):
    assert attempt(address, None, method, authority.pem) is UNAVAILABLE


def test_without_tls_nobody_connects(address):
    with grpc.insecure_channel(address, options=NO_PROXY) as channel:
        assert ask(every_method(channel)["Get"]) is UNAVAILABLE


@pytest.mark.parametrize("method", METHODS)
def test_planted_a_service_that_does_not_check_lets_the_stranger_in(
    board, folders, monkeypatch, method
):
    """What the tests above would see if the check were lost: an answer."""
    monkeypatch.setattr(watch_service, "_check", lambda context, entitled: None)
    with serving(board, folders["server"]) as address:
        assert isinstance(attempt(address, folders["stranger"], method), list)


def test_planted_a_service_that_asks_for_no_certificate_lets_anybody_connect(
    board, folders, authority, monkeypatch
):
    honest = grpc.ssl_server_credentials
    monkeypatch.setattr(
        grpc, "ssl_server_credentials", lambda pairs, ca, require_client_auth: honest(pairs)
    )
    with serving(board, folders["server"]) as address:
        # Connected, and known by no name: the list still holds.
        assert attempt(address, None, "Get", authority.pem) is DENIED


def test_an_unknown_method_and_a_stream_of_requests_are_not_there(address, folders):
    with channel_of(address, folders["ward"]) as channel:
        for path in ("/tacit.Status/Set", "/grpc.reflection.v1.ServerReflection/Info", "/x/y"):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_of_any_size_does_no_harm(address, folders):
    with channel_of(address, folders["ward"]) as channel:
        get = channel.unary_unary("/tacit.Status/Get")
        assert json.loads(get(b"\xff" * 4000, timeout=20))["run"] == "run-1"
        with pytest.raises(grpc.RpcError) as refused:
            get(b"\xff" * 1_000_000, timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert json.loads(get(b"", timeout=20))["run"] == "run-1"


def test_a_plain_client_sees_every_change(board, address, folders):
    with channel_of(address, folders["ward"]) as channel:
        stream = channel.unary_stream("/tacit.Status/Watch")(b"")
        assert json.loads(next(stream))["phase"] == "waiting"
        board.update(lambda status: replace(status, phase=Phase.TRAINING))
        assert json.loads(next(stream))["phase"] == "training"
        board.update(lambda status: replace(status, phase=Phase.CALLED_OFF))
        assert [json.loads(status)["phase"] for status in stream] == ["called off"]


def test_who_is_struck_off_the_list_gets_no_further_status(board, folders):
    listed = {"ward"}
    with (
        serving(board, folders["server"], lambda name, pem: name in listed) as address,
        channel_of(address, folders["ward"]) as channel,
    ):
        stream = channel.unary_stream("/tacit.Status/Watch")(b"")
        next(stream)
        listed.clear()
        board.update(lambda status: replace(status, round=1))
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.code() is DENIED


def test_health_follows_the_run(board, address, folders):
    with channel_of(address, folders["ward"]) as channel:
        health = HealthStub(channel)
        for service in ("", "tacit.Status"):
            asked = HealthCheckRequest(service=service)
            assert health.Check(asked, timeout=20).status == SERVING
        reports = health.Watch(HealthCheckRequest(service="tacit.Status"))
        assert next(reports).status == SERVING
        board.update(lambda status: replace(status, phase=Phase.FAILED))
        while next(reports).status != NOT_SERVING:
            pass
        assert health.Check(HealthCheckRequest(service=""), timeout=20).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(HealthCheckRequest(service="other"), timeout=20)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_places_are_counted_and_the_other_methods_go_on(address, folders):
    """All places taken: the next has to wait, and a place that is left is free again."""
    with channel_of(address, folders["ward"]) as channel:
        watch = channel.unary_stream("/tacit.Status/Watch")
        streams = [watch(b"") for _ in range(watch_service.WATCHERS)]
        for stream in streams:
            next(stream)
        assert ask(lambda: watch(b"")) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(ask(every_method(channel)["Get"]), list)
        assert isinstance(ask(every_method(channel)["Check"]), list)
        streams.pop().cancel()
        _until(lambda: isinstance(ask(lambda: watch(b"")), list))


def _until(true, patience=20):
    """Ask until it is so: the other end is told of a reader that left, and when is its matter."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end


def test_a_stop_is_quick_frees_every_reader_and_leaves_no_thread(board, folders):
    before = set(threading.enumerate())
    with futures.ThreadPoolExecutor() as readers:
        with serving(board, folders["server"]) as address:
            arrived = [threading.Event() for _ in range(4)]
            ends = [readers.submit(_read, address, folders["ward"], event) for event in arrived]
            assert all(event.wait(20) for event in arrived)
            began = time.monotonic()
        assert time.monotonic() - began < 2
        assert {end.result(timeout=20) for end in ends} == {UNAVAILABLE}
    assert not {thread.name for thread in set(threading.enumerate()) - before} & {
        "tacit-watch-health",
        *(f"tacit-watch_{number}" for number in range(20)),
    }


def _read(address, folder, arrived):
    with channel_of(address, folder) as channel:
        try:
            for _ in channel.unary_stream("/tacit.Status/Watch")(b""):
                arrived.set()
        except grpc.RpcError as error:
            return error.code()


def test_the_last_status_reaches_readers_though_the_service_stops_at_once(board, folders):
    ward = folders["ward"]
    bundle = Bundle.read(ward.certificate, ward.key, ward.ca)
    with futures.ThreadPoolExecutor() as readers:
        arrived = threading.Event()

        def read(address):
            seen = []
            for status in follow(address, bundle, lambda text: None):
                seen.append(status.phase)
                arrived.set()
            return seen

        with serving(board, folders["server"]) as address:
            reader = readers.submit(read, address)
            assert arrived.wait(20)
            board.update(lambda status: replace(status, phase=Phase.FINISHED))
        assert reader.result(timeout=20)[-1] is Phase.FINISHED


def test_a_port_that_is_taken_is_said_and_never_shared(board, folders, address):
    port = int(address.rpartition(":")[2])
    with (
        pytest.raises(InputError, match=rf"nothing can listen at '127\.0\.0\.1:{port}'"),
        serving(board, folders["server"], port=port),
    ):
        pass


def test_a_key_that_others_may_read_serves_nobody(board, authority, tmp_path):
    folder = authority.server(tmp_path / "served")
    folder.key.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"), serving(board, folder):
        pass


def test_who_watches_health_holds_no_thread(address, folders):
    with channel_of(address, folders["ward"]) as channel:
        health = HealthStub(channel)
        streams = [health.Watch(HealthCheckRequest()) for _ in range(2 * watch_service.WATCHERS)]
        assert {next(stream).status for stream in streams} == {SERVING}
        assert isinstance(ask(every_method(channel)["Get"]), list)


def test_readers_that_leave_take_no_thread_with_them(address, folders):
    """Nothing changes on the board meanwhile: only that they left can end their threads."""
    with channel_of(address, folders["ward"]) as channel:
        watch = channel.unary_stream("/tacit.Status/Watch")
        for _ in range(3):
            streams = [_reading(watch) for _ in range(watch_service.WATCHERS)]
            assert isinstance(ask(every_method(channel)["Get"]), list)
            for stream in streams:
                stream.cancel()


def _reading(watch):
    """Begin to watch as soon as there is a place."""
    started = []

    def start():
        stream = watch(b"")
        try:
            next(stream)
        except grpc.RpcError:
            return False
        started.append(stream)
        return True

    _until(start)
    return started[0]


def test_calls_beyond_the_most_are_turned_away(board, folders):
    """Nobody can pile up calls that wait for a thread."""
    busy, turned_away = threading.Event(), threading.Event()

    def slow(name, pem):
        return busy.wait(20)

    def note(call):
        if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            turned_away.set()

    with (
        serving(board, folders["server"], slow) as address,
        channel_of(address, folders["ward"]) as channel,
    ):
        get = channel.unary_unary("/tacit.Status/Get")
        calls = [get.future(b"", timeout=20) for _ in range(watch_service.CALLS + 1)]
        for call in calls:
            call.add_done_callback(note)
        assert turned_away.wait(20)
        busy.set()
        codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == watch_service.CALLS


def test_a_quiet_stream_is_not_ended_for_the_pings_that_keep_it(board, folders, monkeypatch):
    """By gRPC's own limits the third ping within minutes is one too many: here, after 3 s."""
    shorter = {"grpc.http2.min_ping_interval_without_data_ms": 500}
    monkeypatch.setattr(
        watch_service,
        "OPTIONS",
        [(name, shorter.pop(name, value)) for name, value in watch_service.OPTIONS],
    )
    assert not shorter
    often = {**dict(watch_client.OPTIONS), "grpc.keepalive_time_ms": 1000, **dict(NO_PROXY)}
    with (
        serving(board, folders["server"]) as address,
        channel_of(address, folders["ward"], options=often.items()) as channel,
    ):
        stream = channel.unary_stream("/tacit.Status/Watch")(b"", timeout=5)
        next(stream)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

"""What a site makes of a server's answers, of silence, and of lies; without a network."""

import gzip
import logging
import threading
import time
from email.utils import formatdate

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeResponse,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectResponse

from client import connection as connection_module
from client.connection import Connection, ConnectionState, Unreachable, Unwanted
from client.fleet import serve
from strategies.objects import ids, pack
from tacit.errors import ConfigurationError
from tacit.signed_request import signed_text, verified

KEY = ec.generate_private_key(ec.SECP384R1())
LARGEST = 1 << 16


def request():
    content = RecordDict({"arrays": ArrayRecord([np.ones(3, np.float32)])})
    return make_message(Metadata(7, "", 1, 5, "", "", time.time(), 60.0, "train"), content)


def said(status, content=b"", headers=None):
    """Return an answer whose body was not read yet, as from a network."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


class Server:
    """Answers as a server would: one message, then none; `paths` are what it was asked."""

    def __init__(self, *messages):
        self.parcels = [(pack(message), message) for message in messages]
        self.objects = {
            name: make() for p, _ in self.parcels for name, make in p.contents(ids(p.tree))
        }
        self.paths, self.requests, self.replies = [], [], []
        self.answers = {}

    def __call__(self, request):
        path = request.url.path.rsplit("/", 1)[1]
        self.paths.append(path)
        self.requests.append(request)
        if path in self.answers:
            answer = self.answers[path]
            return answer() if callable(answer) else answer
        return said(200, content=self._answer(path, request).SerializeToString())

    def _answer(self, path, request):
        match path:
            case "activate-node":
                return ActivateNodeResponse(node_id=5)
            case "pull-messages" if self.parcels:
                parcel, message = self.parcels.pop(0)
                proto = message_to_proto(message)
                proto.ClearField("content")
                proto.content.SetInParent()
                return PullMessagesResponse(
                    messages_list=[proto], message_object_trees=[parcel.tree]
                )
            case "pull-object":
                name = PullObjectRequest.FromString(request.content).object_id
                return PullObjectResponse(
                    object_found=True, object_available=True, object_content=self.objects[name]
                )
            case "push-messages":
                announced = PushMessagesRequest.FromString(request.content)
                self.replies.append(announced)
                wanted = ids(announced.message_object_trees[0])
                return PushMessagesResponse(objects_to_push=wanted, session_id="s")
            case "push-object":
                return PushObjectResponse(stored=True)
        return PullMessagesResponse()


@pytest.fixture
def trusted(tmp_path):
    import certifi

    return certifi.where()


@pytest.fixture
def connect(trusted, monkeypatch):
    """Connect to a server of this process; gives the connection and the states it told."""

    def connected(server, most=1 << 20):
        states = []
        made = Connection("server:1", trusted, KEY, "north", states.append, LARGEST, most)
        made._http.close()
        made._http = httpx.Client(transport=httpx.MockTransport(server))
        made._fleet._interceptors[1]._http = made._http
        return made, states

    return connected


def test_every_request_is_signed_whole(connect):
    server = Server()
    connection, states = connect(server)
    assert connection.receive() is None
    assert states == [ConnectionState.CONNECTED]
    assert server.paths == ["activate-node", "pull-messages"]
    for sent in server.requests:
        text = signed_text(
            sent.headers["tacit-instance"],
            sent.url.path,
            sent.headers["flwr-timestamp"],
            sent.content,
        )
        assert verified(KEY.public_key(), text, sent.headers["tacit-signature"])


def test_a_message_and_its_reply(connect):
    server = Server(request())
    connection, _ = connect(server)
    message = connection.receive()
    assert np.array_equal(message.content["arrays"]["0"].numpy(), np.ones(3))
    assert "confirm-message-received" in server.paths
    connection.send(Message(RecordDict(), reply_to=message))
    assert server.replies[0].messages_list[0].metadata.reply_to_message_id
    assert server.paths.count("push-object") == 2


def test_no_code_is_asked_for(connect):
    server = Server(request())
    connection, _ = connect(server)
    connection.send(Message(RecordDict(), reply_to=connection.receive()))
    connection.beat(30)
    connection.leave()
    assert not {"get-run", "get-fab"} & set(server.paths)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "does not accept this site's signature"),
        (403, "is not enrolled there, or was revoked"),
        (412, "another process of this site is still connected"),
        (503, "it is busy"),
        (500, "does not speak with this site"),
    ],
)
def test_a_refusal_is_said_once(connect, caplog, status, why):
    server = Server()
    server.answers["activate-node"] = lambda: said(status)
    connection, states = connect(server)
    for _ in range(3):
        with pytest.raises(Unreachable):
            connection.receive()
    assert states == [ConnectionState.LOST]
    assert caplog.text.count(why) == 1
    del server.answers["activate-node"]
    with caplog.at_level(logging.INFO):
        connection.receive()
    assert states == [ConnectionState.LOST, ConnectionState.CONNECTED]
    assert "connected to server:1 as north" in caplog.text


@pytest.mark.parametrize(("hours", "side"), [(-1, "ahead of"), (1, "behind")])
def test_a_clock_that_is_off_is_said(connect, caplog, hours, side):
    server = Server()
    date = {"date": formatdate(time.time() + 3600 * hours, usegmt=True)}
    server.answers["activate-node"] = lambda: said(401, headers=date)
    connection, _ = connect(server)
    with pytest.raises(Unreachable):
        connection.receive()
    assert f"clock is 60 minutes {side} the server's" in caplog.text


def test_a_date_that_is_none(connect, caplog):
    server = Server()
    server.answers["activate-node"] = lambda: said(401, headers={"date": "soon"})
    connection, _ = connect(server)
    with pytest.raises(Unreachable):
        connection.receive()
    assert "does not accept this site's signature" in caplog.text


def test_a_server_that_was_started_again(connect):
    server = Server()
    connection, _ = connect(server)
    connection.receive()
    epoch = connection.epoch
    server.answers["pull-messages"] = lambda: said(409)
    with pytest.raises(Unreachable):
        connection.receive()
    assert connection.epoch != epoch
    del server.answers["pull-messages"]
    connection.receive()
    assert server.paths[-2:] == ["activate-node", "pull-messages"]


def test_an_answer_is_read_no_further_than_it_may_be(connect, caplog):
    read = []

    def endless():
        while True:
            read.append(4096)
            yield b"x" * 4096

    server = Server()
    server.answers["pull-messages"] = lambda: httpx.Response(200, content=endless())
    connection, _ = connect(server)
    with pytest.raises(Unreachable):
        connection.receive()
    assert sum(read) <= LARGEST + 2 * 4096
    assert "more than 65536 bytes in one answer" in caplog.text


def test_an_answer_is_not_unzipped(connect):
    bomb = gzip.compress(b"\x00" * (1 << 24))
    server = Server()
    server.answers["pull-messages"] = lambda: said(
        200, headers={"content-encoding": "gzip"}, content=bomb
    )
    connection, _ = connect(server)
    with pytest.raises(Unreachable):
        connection.receive()


def test_objects_are_not_taken_without_end(connect, caplog):
    big = request()
    big.content = RecordDict({"arrays": ArrayRecord([np.ones(1 << 13, np.float32)])})
    connection, _ = connect(Server(big), most=1 << 10)
    assert connection.receive() is None
    assert "cannot be read and is left out" in caplog.text


def test_a_message_of_nonsense_is_left_out(connect, caplog):
    server = Server(request())
    server.objects = dict.fromkeys(server.objects, b"nonsense")
    connection, _ = connect(server)
    assert connection.receive() is None
    assert "cannot be read and is left out" in caplog.text
    assert connection.receive() is None


def test_what_is_too_large_is_not_sent(connect):
    server = Server(request())
    connection, _ = connect(server)
    reply = Message(
        RecordDict({"arrays": ArrayRecord([np.ones(1 << 15, np.float32)])}),
        reply_to=connection.receive(),
    )
    with pytest.raises(Unwanted, match="more than 65536 bytes"):
        connection.send(reply)


def test_a_reply_that_the_server_does_not_want(connect):
    server = Server(request())
    server.answers["push-object"] = lambda: said(200, content=b"")
    connection, _ = connect(server)
    with pytest.raises(Unwanted, match="too late"):
        connection.send(Message(RecordDict(), reply_to=connection.receive()))


def test_a_file_that_is_no_authority(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(ConfigurationError, match=name):
            Connection("a:1", tmp_path / name, KEY, "n", lambda _: None, LARGEST, 1)


@pytest.fixture
def served(trusted, monkeypatch):
    """Serve an app from a server of this process."""

    def serving(server, app, stop, on_state=lambda state: None):
        honest = httpx.Client

        def client(**options):
            return honest(transport=httpx.MockTransport(server))

        monkeypatch.setattr(connection_module.httpx, "Client", client)
        serve(
            address="server:1",
            ca=trusted,
            node_key=KEY,
            app=app,
            name="north",
            stop=stop,
            on_state=on_state,
            heartbeat=0.05,
        )

    return serving


def test_the_app_hears_for_which_site(served):
    stop = threading.Event()
    server, heard = Server(request()), []

    def app(message, context):
        heard.append((context.node_config["site"], context.node_id, context.run_id))
        stop.set()
        return Message(RecordDict(), reply_to=message)

    served(server, app, stop)
    assert heard == [("north", 5, 7)]
    assert server.paths[-1] == "deactivate-node"


def test_a_heartbeat_goes_on_while_the_app_works(served):
    stop, beaten = threading.Event(), threading.Event()
    server = Server(request())
    server.answers["send-node-heartbeat"] = lambda: beaten.set() or said(200)

    def app(message, context):
        assert beaten.wait(10)
        stop.set()
        return Message(RecordDict(), reply_to=message)

    served(server, app, stop)


def test_what_the_app_raises_ends_the_process(served):
    def app(message, context):
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        served(Server(request()), app, threading.Event())


def test_a_reply_is_sent_again_until_it_is_taken(served):
    stop, server = threading.Event(), Server(request())
    left = [2]

    def cut():
        if left[0] == 0:
            stop.set()
            return said(200, content=PushObjectResponse(stored=True).SerializeToString())
        left[0] -= 1
        raise httpx.ReadError("cut")

    server.answers["push-object"] = cut
    served(server, lambda m, c: Message(RecordDict(), reply_to=m), stop)
    assert left == [0]
    assert 2 <= len(server.replies) <= 3
    assert len({reply.message_object_trees[0].object_id for reply in server.replies}) == 1


def test_a_reply_to_a_server_that_has_gone_is_dropped(served, caplog):
    stop, server = threading.Event(), Server(request())

    def forgotten():
        server.answers["pull-messages"] = lambda: stop.set() or said(200)
        return said(409)

    server.answers["push-messages"] = forgotten
    served(server, lambda m, c: Message(RecordDict(), reply_to=m), stop)
    assert "a reply to the one before is dropped" in caplog.text


def test_it_ends_soon_while_there_is_no_server(served):
    stop = threading.Event()

    def absent(request):
        raise httpx.ConnectError("refused")

    def told(state):
        threading.Timer(0.2, stop.set).start()

    begun = time.monotonic()
    served(absent, None, stop, told)
    assert time.monotonic() - begun < 10

"""Serves the status of a run over gRPC with mutual TLS, and its health.

- ``tacit.Status/Watch`` (server streaming) sends the status at once and on every change, and ends
  after a phase that is over; ``tacit.Status/Get`` (unary) sends it once. Requests are empty. A
  message is UTF-8 JSON as `server.status.Status.to_json` writes it, not protobuf, so that any gRPC
  client can read it with no generated code. In Python::

      credentials = grpc.ssl_channel_credentials(ca_pem, watch_key, watch_pem)
      with grpc.secure_channel("HOST:PORT", credentials) as channel:
          for message in channel.unary_stream("/tacit.Status/Watch")(b""):
              print(json.loads(message)["phase"])

- ``grpc.health.v1.Health`` for the services ``""`` and ``tacit.Status``: NOT_SERVING when the run
  has failed, SERVING otherwise. grpc-health-probe and Kubernetes ask it.

Both are for whoever has a certificate of the CA and whose common name is entitled.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from server.status import Phase, StatusBoard
from server.watch_bundle import Bundle
from tacit.errors import InputError

SERVICE: Final = "tacit.Status"
WATCHERS: Final = 16
"""Most streams of `Watch`: each holds a thread."""
CALLS: Final = 64
"""Most calls that hold or wait for a thread."""
GRACE: Final = 1.0
"""Seconds in which readers may fetch the last status when the service stops."""

OPTIONS: Final = (
    # Without this a second coordinator could share the port, and half of all watchers.
    ("grpc.so_reuseport", 0),
    # A reader whose machine went away frees its place within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own limit, 5 minutes, would end every quiet stream for "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", 4096),
)

log = logging.getLogger(__name__)


@contextmanager
def watch_service(
    board: StatusBoard,
    *,
    address: str,
    certificate: Path,
    key: Path,
    ca: Path,
    entitled: Callable[[str, bytes], bool],
) -> Iterator[int]:
    """Serve a board for as long as the context is open.

    Parameters
    ----------
    board
        What to show.
    address
        HOST:PORT to listen at; with port 0 the system chooses one.
    certificate, key, ca
        PEM files; readers need a certificate of the same CA.
    entitled
        Whether somebody of this common name, with this certificate (PEM), may read. It is asked at
        every call and at every status that is sent, from any thread.

    Yields
    ------
    int
        The port.

    Raises
    ------
    InputError
        The files do not go together (see `Bundle.read`) or the address cannot be used.
    """
    own = Bundle.read(certificate, key, ca)
    stopping = threading.Event()
    # Some threads are left for Get and Health when all watchers are there.
    with ThreadPoolExecutor(WATCHERS + 4, thread_name_prefix="tacit-watch") as pool:
        server = grpc.server(
            pool,
            interceptors=[_Entitlement(entitled)],
            options=OPTIONS,
            maximum_concurrent_rpcs=CALLS,
        )
        health = _Health()
        add_HealthServicer_to_server(health, server)
        server.add_generic_rpc_handlers((_status_handlers(board, entitled, stopping),))
        credentials = grpc.ssl_server_credentials(
            [(own.key, own.certificate)], own.ca, require_client_auth=True
        )
        try:
            port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise InputError(
                f"nothing can listen at {address!r}: write HOST:PORT with an address of this "
                "machine and a port that no other program uses"
            ) from error
        reporter = threading.Thread(
            target=_report_health, args=(board, health, stopping), name="tacit-watch-health"
        )
        reporter.start()
        server.start()
        try:
            yield port
        finally:
            stopping.set()
            board.wake()
            reporter.join()
            health.enter_graceful_shutdown()
            health.flush(GRACE)
            server.stop(GRACE).wait()
            health.end()


def _status_handlers(
    board: StatusBoard, entitled: Callable[[str, bytes], bool], stopping: threading.Event
) -> grpc.GenericRpcHandler:
    places = threading.BoundedSemaphore(WATCHERS)

    def get(request: bytes, context: grpc.ServicerContext) -> bytes:
        return board.status.to_json()

    def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        if not places.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS} others are watching already"
            )
        # The end of a call frees its place even where this generator is never finished.
        if not context.add_callback(places.release):
            places.release()
            return
        context.add_callback(board.wake)
        for status in board.watch(lambda: context.is_active() and not stopping.is_set()):
            _check(context, entitled)
            yield status.to_json()
        if not status.phase.over:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator is stopping")

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Get": grpc.unary_unary_rpc_method_handler(get),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        },
    )


def _report_health(board: StatusBoard, health: HealthServicer, stopping: threading.Event) -> None:
    for status in board.watch(lambda: not stopping.is_set()):
        failed = status.phase is Phase.FAILED
        word = HealthCheckResponse.NOT_SERVING if failed else HealthCheckResponse.SERVING
        for service in (OVERALL_HEALTH, SERVICE):
            health.set(service, word)


class _Health(HealthServicer):
    """grpc's own, whose lock is free while watchers are told.

    grpc's tells them under its lock, and waits until each has the message; the thread that would
    see to that wants the lock when a watcher leaves at that moment, and nothing ever ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._outbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._teller = threading.Thread(target=self._tell, name="tacit-watch-tell", daemon=True)
        self._teller.start()

    def Watch(  # noqa: N802 (grpc's name)
        self, request: Any, context: Any, send_response_callback: Any = None
    ) -> Any:
        """Follow a service's health; see `HealthServicer.Watch`."""

        def send(response: Any) -> None:
            self._outbox.put(lambda: send_response_callback(response))

        return super().Watch(request, context, send)

    def flush(self, seconds: float) -> None:
        """Wait until what was said so far has been sent, so many seconds at most."""
        sent = threading.Event()
        self._outbox.put(sent.set)
        sent.wait(seconds)

    def end(self) -> None:
        """End the thread that tells watchers, once it has told the last."""
        self._outbox.put(None)

    def _tell(self) -> None:
        while (send := self._outbox.get()) is not None:
            send()


class _Entitlement(grpc.ServerInterceptor):
    """Lets no call through, of whatever service, to somebody who is not entitled."""

    def __init__(self, entitled: Callable[[str, bytes], bool]) -> None:
        self._entitled = entitled

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        if handler.unary_unary is not None:
            remake, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary
        elif handler.unary_stream is not None:
            remake, behaviour = grpc.unary_stream_rpc_method_handler, handler.unary_stream
        else:
            return None  # no service here reads a stream

        # Health's Watch is marked as one that holds no thread; `wraps` keeps the mark.
        @wraps(behaviour)
        def checked(request: Any, context: grpc.ServicerContext, *more: Any) -> Any:
            _check(context, self._entitled)
            return behaviour(request, context, *more)

        return remake(checked, handler.request_deserializer, handler.response_serializer)


def _check(context: grpc.ServicerContext, entitled: Callable[[str, bytes], bool]) -> None:
    """End a call unless its certificate has one common name and that is entitled."""
    found: Iterable[Any] = context.auth_context().get("x509_common_name", ())
    names = [name.decode(errors="replace") for name in found]
    pems: Sequence[Any] = tuple(context.auth_context().get("x509_pem_cert", ()))
    if len(names) == len(pems) == 1 and entitled(names[0], pems[0]):
        return
    shown = repr(names[0]) if len(names) == 1 else "a certificate without a common name"
    log.warning("watch: %s is not entitled and was turned away", shown)
    context.abort(
        grpc.StatusCode.PERMISSION_DENIED, f"{shown} is not on the coordinator's list of watchers"
    )

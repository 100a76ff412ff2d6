"""Whoever watches health cannot hold up who reports it."""

import threading
from types import SimpleNamespace

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.watch_service import _Health

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def test_a_watcher_that_takes_nothing_holds_up_no_lock():
    health, told, ready = _Health(), [], threading.Event()
    closing = []

    def stuck(response):
        ready.wait()
        told.append(response and response.status)

    context = SimpleNamespace(add_callback=closing.append)
    health.Watch(HealthCheckRequest(), context, stuck)
    done = threading.Thread(target=health.enter_graceful_shutdown, daemon=True)
    done.start()
    done.join(30)
    assert not done.is_alive()
    # It leaves now, and its thread wants the lock.
    leaving = threading.Thread(target=closing[0], daemon=True)
    leaving.start()
    leaving.join(30)
    assert not leaving.is_alive()
    health.flush(0.01)
    assert told == []
    ready.set()
    health.flush(30)
    assert told == [SERVING, NOT_SERVING, None]
    health.end()
    health._teller.join(30)
    assert not health._teller.is_alive()

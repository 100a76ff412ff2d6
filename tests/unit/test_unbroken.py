"""Ctrl-C and SIGTERM wait for a block to end, and are not lost."""

import signal
from threading import Thread

import pytest

from tacit.unbroken import unbroken


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal whose handler raises."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(request.param, stop)
    yield request.param
    assert signal.signal(request.param, before) is stop


def test_a_signal_takes_effect_when_the_outermost_block_has_ended(number):
    done = []

    def work():
        with unbroken():
            with unbroken():
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_a_block_that_fails_is_a_signal_all_the_same(number):
    def work():
        with unbroken():
            signal.raise_signal(number)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_an_ignored_signal_stays_ignored(number):
    raising = signal.signal(number, signal.SIG_IGN)
    with unbroken():
        signal.raise_signal(number)
    assert signal.signal(number, raising) is signal.SIG_IGN


def test_other_threads_get_none(number):
    came = []

    def work():
        with unbroken():
            came.append(signal.getsignal(number))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert came == [signal.getsignal(number)]

"""The board: every reader sees changes in order and ends with the newest, whoever writes when."""

import queue
import threading
from dataclasses import replace

import pytest

from server.status import Phase, Presence, SiteStatus, Status, StatusBoard

PATIENCE = 20
SITES = ("berlin", "lyon", "oslo")


@pytest.fixture
def board():
    ticks = iter(range(1, 1_000_000))
    return StatusBoard(
        Status("hospitals", "run-1", 10, tuple(SiteStatus(name) for name in SITES), 0.0),
        clock=lambda: float(next(ticks)),
    )


def to_round(number):
    return lambda status: replace(status, round=number)


def to_phase(phase):
    return lambda status: replace(status, phase=phase)


def read_on(board, wanted=lambda: True):
    """Read a board in a thread; gives the thread and a queue of what it saw."""
    seen = queue.SimpleQueue()

    def read():
        for status in board.watch(wanted):
            seen.put(status)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, seen


def ended(thread):
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_a_reader_gets_the_status_at_once_and_every_change_it_waits_for(board):
    thread, seen = read_on(board)
    assert seen.get(timeout=PATIENCE).round == 0
    for number in range(1, 6):
        board.update(to_round(number))
        assert seen.get(timeout=PATIENCE).round == number
    board.update(to_phase(Phase.FINISHED))
    assert seen.get(timeout=PATIENCE).phase is Phase.FINISHED
    assert ended(thread)
    assert seen.empty()


def test_a_slow_reader_goes_on_with_the_newest(board):
    reader = board.watch()
    assert next(reader).round == 0
    for number in range(1, 1001):
        board.update(to_round(number))
    assert next(reader).round == 1000
    board.update(to_phase(Phase.FINISHED))
    assert [status.round for status in reader] == [1000]


@pytest.mark.parametrize("phase", [Phase.FINISHED, Phase.FAILED, Phase.CALLED_OFF])
def test_a_run_that_is_over_is_read_once(board, phase):
    board.update(to_phase(phase))
    assert [status.phase for status in board.watch()] == [phase]


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.RESERVING, Phase.TRAINING])
def test_a_run_that_goes_on_is_waited_for(board, phase):
    board.update(to_phase(phase))
    thread, seen = read_on(board)
    assert seen.get(timeout=PATIENCE).phase is phase
    assert thread.is_alive()
    board.update(to_phase(Phase.FAILED))
    assert ended(thread)


def test_a_reader_that_leaves_is_let_go(board):
    gone = threading.Event()
    thread, seen = read_on(board, lambda: not gone.is_set())
    seen.get(timeout=PATIENCE)
    gone.set()
    board.wake()
    assert ended(thread)
    assert seen.empty()


def test_the_last_change_reaches_a_reader_that_is_told_to_leave(board):
    leave = threading.Event()
    reader = board.watch(lambda: not leave.is_set())
    next(reader)
    board.update(to_phase(Phase.FINISHED))
    leave.set()
    assert [status.phase for status in reader] == [Phase.FINISHED]


def test_many_writers_and_readers_lose_no_change(board):
    """Each writer adds one, many times: an update that was not one step would lose some."""
    writers, times = 8, 200
    readers = [read_on(board) for _ in range(8)]

    def write():
        for _ in range(times):
            board.update(lambda status: replace(status, round=status.round + 1))

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    board.update(to_phase(Phase.FINISHED))
    for thread, seen in readers:
        assert ended(thread)
        found = [seen.get_nowait() for _ in range(seen.qsize())]
        assert found[-1].round == writers * times
        assert found[-1].phase is Phase.FINISHED
        order = [status.round for status in found]
        assert order == sorted(order)


def test_a_change_that_fails_leaves_the_board_as_it_was(board):
    before = board.status

    def broken(status):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        board.update(broken)
    assert board.status == before
    board.update(to_round(1))  # and it is not locked
    assert board.status.round == 1


def done(board, number, **changes):
    asked = {"replied": SITES, "failed": {}, "seconds": 1.0, "epsilon": {}, "metrics": {}}
    board.round_done(number, **(asked | changes))


def test_a_round_says_who_replied_who_is_missing_and_who_refused(board):
    done(board, 1, epsilon={"berlin": 0.5, "lyon": 0.25, "oslo": 0.5})
    failed = {"lyon": "no_reply", "oslo": "noise_too_low"}
    seen_before = board.status.sites[1].last_seen
    done(board, 2, replied=["berlin"], failed=failed, epsilon={"berlin": 0.75})
    berlin, lyon, oslo = board.status.sites
    assert (berlin.state, berlin.reason, berlin.replied) == (Presence.PRESENT, None, 2)
    assert (lyon.state, lyon.reason, lyon.replied) == (Presence.MISSING, "no_reply", 1)
    assert (oslo.state, oslo.reason, oslo.replied) == (Presence.REFUSED, "noise_too_low", 1)
    assert [site.epsilon for site in board.status.sites] == [0.75, 0.25, 0.5]
    # A refusal is a sign of life, silence is none.
    assert lyon.last_seen == seen_before
    assert berlin.last_seen == oslo.last_seen > seen_before
    assert (board.status.phase, board.status.round) == (Phase.TRAINING, 2)


def test_a_site_that_is_back_has_no_reason_left(board):
    done(board, 1, replied=["berlin"], failed={"lyon": "no_reply", "oslo": "malformed"})
    assert board.status.sites[2].state is Presence.REFUSED
    done(board, 2)
    assert {(site.state, site.reason) for site in board.status.sites} == {(Presence.PRESENT, None)}


def test_who_was_not_asked_stays_as_they_were(board):
    done(board, 1, replied=["berlin"], failed={"lyon": "no_reply"})
    assert board.status.sites[2] == SiteStatus("oslo")


def test_time_left_follows_the_median_after_the_first_round(board):
    done(board, 1, seconds=60.0)  # the first round also starts what is slow to start
    assert (board.status.seconds_per_round, board.status.seconds_left) == (60.0, 540.0)
    done(board, 2, seconds=2.0)
    done(board, 3, seconds=4.0)
    done(board, 4, seconds=300.0)
    assert (board.status.seconds_per_round, board.status.seconds_left) == (4.0, 24.0)


def test_metrics_stay_until_there_are_new_ones(board):
    done(board, 1, metrics={"AUC": 0.7})
    done(board, 2)
    assert board.status.metrics == {"AUC": 0.7}
    done(board, 3, metrics={"AUC": float("nan")})
    assert board.status.metrics == {"AUC": None}


def test_answers_outside_a_round_count_no_round(board):
    board.heard(["berlin"], {"lyon": "no_reply", "oslo": "budget"})
    states = [site.state for site in board.status.sites]
    assert states == [Presence.PRESENT, Presence.MISSING, Presence.REFUSED]
    assert [site.replied for site in board.status.sites] == [0, 0, 0]
    assert board.status.phase is Phase.WAITING


def test_every_status_says_when_it_began(board):
    before = board.status.written
    board.update(to_round(1))
    assert board.status.written == before + 1

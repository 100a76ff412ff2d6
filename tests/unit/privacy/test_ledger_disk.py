"""A charge is on disk before anything else happens, and a full disk takes nothing back."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ledger_example import PLAN, POLICY, ROUND, head_of, kinds, open_ledger

from tacit.errors import RunDirectoryError
from tacit.privacy.chain import Chain
from tacit.privacy.ledger import LEAST_FREE_BYTES


def test_a_commit_waits_for_the_disk(ledger, path, monkeypatch):
    database = ledger._chain._database
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))
    ledger.reserve(PLAN, POLICY)
    assert len(synced) == 2, "the head file and its directory"


KILLED = """
import sys
from pathlib import Path
from ledger_example import PLAN, POLICY, ROUND, open_ledger
ledger = open_ledger(Path(sys.argv[1]))
ledger.reserve(PLAN, POLICY)
ledger.charge("a", "r1", ROUND, POLICY)
print("charged", flush=True)
sys.stdin.read()
"""


def test_a_charge_outlives_kill_9(path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout.readline() == "charged\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with open_ledger(path) as ledger:
        assert ledger.spent_events() == [ROUND]
        assert ledger.stored_reply("a", "r1") is None


def test_a_crash_between_the_row_and_the_head_keeps_the_row(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
        head = head_of(path).read_text()
        with monkeypatch.context() as patch:
            patch.setattr(Chain, "_write_head", full)
            with pytest.raises(RunDirectoryError, match="No space left"):
                ledger.charge("a", "r1", ROUND, POLICY)
    assert head_of(path).read_text() == head
    with open_ledger(path) as ledger:
        assert ledger.spent_events() == [ROUND]
    assert json.loads(head_of(path).read_text())["count"] == 3


def test_a_reply_without_room_is_not_charged_for(ledger, monkeypatch):
    ledger.reserve(PLAN, POLICY)
    free = 2 * 1000 + LEAST_FREE_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    ledger.check_room(1000)
    with pytest.raises(RunDirectoryError, match=r"the disk is full: 4\.0 MiB are left"):
        ledger.check_room(1001)


def test_a_full_disk_writes_nothing_and_says_so(ledger):
    ledger.reserve(PLAN, POLICY)
    database = ledger._chain._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    with pytest.raises(RunDirectoryError, match="full"):
        ledger.store_reply(charge, [bytes(100_000)])
    database.execute("PRAGMA max_page_count = 100000")
    assert kinds(ledger) == ["opened", "reserved", "charged"]
    ledger.store_reply(charge, [bytes(100_000)])
    ledger.verify()

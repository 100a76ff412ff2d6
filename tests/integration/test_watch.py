"""`tacit-watch` and a coordinator, each a process of its own, over mutual TLS on loopback."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from watch_folders import ELSEWHERE, EXPIRED, Authority

PROGRAM = Path(sys.executable).parent / "tacit-watch"
COORDINATOR = Path(__file__).with_name("watched_run.py")
ENV = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def served(authority, tmp_path):
    return authority.server(tmp_path / "served")


@pytest.fixture
def watcher(authority, tmp_path):
    return authority.watcher(tmp_path / "watcher")


class Coordinator:
    """A coordinator's process that does what it is told."""

    def __init__(self, folder, port=0):
        self.process = subprocess.Popen(
            [sys.executable, COORDINATOR, folder.path, f"127.0.0.1:{port}", "ward"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENV | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.port = int(self.process.stdout.readline())
        self.address = f"localhost:{self.port}"

    def does(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.communicate()


@contextmanager
def coordinator(folder, port=0):
    running = Coordinator(folder, port)
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def watching(address, watcher, *words, **more):
    """Start tacit-watch; gives its process, whose standard output is a pipe unless told."""
    process = subprocess.Popen(
        [PROGRAM, address, "--bundle", watcher.path, *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENV} | more,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def watch(address, watcher, *words):
    """Run tacit-watch to its end; gives exit code, standard output and standard error."""
    with watching(address, watcher, *words) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def statuses(process):
    for line in process.stdout:
        yield json.loads(line)


def test_every_change_is_seen_and_a_finished_run_ends_the_watch(served, watcher):
    with (
        coordinator(served) as run,
        watching(run.address, watcher, "--json") as process,
    ):
        seen = statuses(process)
        first = next(seen)
        assert (first["phase"], first["round"], first["experiment"]) == ("waiting", 0, "hospitals")
        for number in (1, 2):
            run.does(f"round {number}")
            status = next(seen)
            assert (status["phase"], status["round"]) == ("training", number)
            assert status["metrics"] == {"AUC": 0.5 + number / 10}
        sites = {site["name"]: site for site in status["sites"]}
        assert (sites["berlin"]["state"], sites["berlin"]["replied"]) == ("present", 2)
        assert (sites["berlin"]["epsilon"], sites["berlin"]["epsilon_budget"]) == (4.0, 8.0)
        assert (sites["lyon"]["state"], sites["lyon"]["reason"]) == ("missing", "no_reply")
        assert (sites["oslo"]["state"], sites["oslo"]["reason"]) == ("refused", "budget")
        run.does("phase finished")
        assert [status["phase"] for status in seen] == ["finished"]
        assert (process.wait(timeout=20), process.stderr.read()) == (0, "")


@pytest.mark.parametrize("phase", ["failed", "called off"])
def test_a_run_that_did_not_finish_ends_the_watch_as_incomplete(served, watcher, phase):
    with coordinator(served) as run:
        run.does(f"phase {phase}")
        with watching(run.address, watcher) as process:
            out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (4, "")
    assert out.splitlines()[-1].startswith(f"hospitals  {phase}  ")


def test_in_a_pipe_a_change_is_one_plain_line(served, watcher):
    with coordinator(served) as run, watching(run.address, watcher) as process:
        assert process.stdout.readline() == (
            "hospitals  waiting  round 0/4  0/3 sites  missing: berlin, lyon, oslo  "
            "ε 0.00 of 8.00\n"
        )
        run.does("round 1")
        assert process.stdout.readline() == (
            "hospitals  training  round 1/4  1/3 sites  missing: lyon (no_reply)  "
            "refused: oslo (budget)  ε 2.00 of 8.00  AUC 0.6  1 s left\n"
        )
        run.does("phase finished")
        out, _ = process.communicate(timeout=20)
        assert out.startswith("hospitals  finished  round 1/4")
        assert len(out.splitlines()) == 1


def test_a_terminal_shows_one_screen_that_ends_with_the_run(served, watcher):
    end, terminal = pty.openpty()
    shape = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with (
        coordinator(served) as run,
        watching(
            run.address, watcher, stdout=terminal, stderr=terminal, text=False, env=ENV | shape
        ) as process,
    ):
        os.close(terminal)
        text = _read_until(end, b"waiting")
        run.does("round 3")
        text += _read_until(end, b"round 3 of 4")
        run.does("phase finished")
        text += _read_until(end, None)
        assert process.wait(timeout=20) == 0
    os.close(end)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode()).rpartition("hospitals")[2]
    assert "finished" in last
    assert re.search(r"● berlin +present +1 +\d s +100 +\S+ 6\.00 of 8\.00", last)
    assert re.search(r"× oslo +refused .*\n +budget", last)
    assert "AUC 0.8" in last
    assert text.count(b"\x1b[?25l") == text.count(b"\x1b[?25h") == 1  # the cursor came back


def _read_until(end, word):
    """Read from a terminal until `word` came, or to its end."""
    text = b""
    while word is None or word not in text:
        try:
            some = os.read(end, 4096)
        except OSError:  # so Linux ends a terminal whose other side was closed
            break
        if not some:
            break
        text += some
    return text


def test_once_prints_one_status_and_ends(served, watcher):
    with coordinator(served) as run:
        run.does("phase failed")
        code, out, err = watch(run.address, watcher, "--once", "--json")
        assert (code, err, json.loads(out)["phase"]) == (0, "", "failed")
        code, out, err = watch(run.address, watcher, "--once")
        assert (code, err, len(out.splitlines())) == (0, "", 1)
        assert out.startswith("hospitals  failed")


def test_a_coordinator_that_is_killed_and_comes_back_is_watched_again(served, watcher):
    with coordinator(served) as run, watching(run.address, watcher, "--json") as process:
        seen = statuses(process)
        assert next(seen)["round"] == 0
        run.kill()
        assert re.fullmatch(
            rf"localhost:{run.port}: .*; trying again until it answers\n",
            process.stderr.readline(),
        )
        with coordinator(served, run.port) as again:
            again.does("round 3")
            again.does("phase finished")
            assert [status["round"] for status in seen][-1] == 3
            assert process.wait(timeout=20) == 0
        assert process.stderr.read().splitlines()[-1] == f"localhost:{run.port}: connected again"


def test_a_watch_may_begin_before_the_coordinator(served, watcher):
    with coordinator(served) as run:
        port = run.port
    with watching(f"localhost:{port}", watcher) as process:
        # gRPC may have a line of its own about a descriptor that a fork has closed.
        said = (process.stderr.readline() for _ in range(2))
        assert any("nothing listens there" in line for line in said)
        with coordinator(served, port) as run:
            run.does("phase finished")
            assert process.wait(timeout=30) == 0


def test_once_says_that_nothing_answers(served, watcher):
    with coordinator(served) as run:
        pass
    code, out, err = watch(run.address, watcher, "--once")
    assert (code, out) == (2, "")
    assert err == (f"error: {run.address}: nothing listens there: is the coordinator running?\n")


def refused(address, watcher):
    """Run tacit-watch, which must end with one line; gives the line."""
    code, out, err = watch(address, watcher)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


def test_somebody_who_is_not_entitled_is_turned_away(served, authority, tmp_path):
    stranger = authority.watcher(tmp_path / "stranger", "stranger")
    with coordinator(served) as run:
        said = refused(run.address, stranger)
    assert "'stranger' is not on the coordinator's list of watchers" in said


def test_the_bundle_of_another_coordinator_does_not_fit(served, tmp_path):
    with coordinator(served) as run:
        said = refused(run.address, Authority().watcher(tmp_path / "other"))
        assert "not of this bundle's CA" in said
        said = refused(run.address, Authority("Another CA").watcher(tmp_path / "another"))
        assert "not of this bundle's CA" in said


def test_a_certificate_that_only_the_coordinator_knows_to_be_foreign(authority, tmp_path):
    """Its own CA file differs from the one that signed it: it hangs up on every watcher."""
    served = authority.server(tmp_path / "served")
    watcher = authority.watcher(tmp_path / "watcher")
    other = Authority("Another CA")
    watcher.ca.write_bytes(authority.pem + other.pem)
    mixed = other.watcher(tmp_path / "mixed")
    mixed.ca.write_bytes(authority.pem + other.pem)
    with coordinator(served) as run:
        assert watch(run.address, watcher, "--once")[0] == 0
        assert "it hung up on this bundle's certificate" in refused(run.address, mixed)


def test_a_coordinator_under_another_name_is_not_believed(authority, watcher, tmp_path):
    with coordinator(authority.server(tmp_path / "far", names=ELSEWHERE)) as run:
        assert "its certificate is not for this name" in refused(run.address, watcher)


def test_an_expired_certificate_is_said_before_anything_is_sent(authority, tmp_path):
    old = authority.watcher(tmp_path / "old", days=EXPIRED)
    assert re.search(r"old/watch\.pem expired on \d\d \w+ 20\d\d", refused("localhost:1", old))


def test_a_key_that_others_may_read_is_refused(served, watcher):
    watcher.key.chmod(0o640)
    with coordinator(served) as run:
        said = refused(run.address, watcher)
        assert f"run chmod 600 {watcher.key}" in said
        watcher.key.chmod(0o600)
        assert watch(run.address, watcher, "--once")[0] == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_from_outside_ends_the_watch_at_once(served, watcher, sent, code):
    with coordinator(served) as run, watching(run.address, watcher) as process:
        process.stdout.readline()
        process.send_signal(sent)
        assert process.wait(timeout=20) == code


def test_a_reader_that_has_seen_enough_is_no_fault(served, watcher):
    with coordinator(served) as run, watching(run.address, watcher, "--json") as process:
        process.stdout.readline()
        process.stdout.close()
        run.does("round 1")
        run.does("phase finished")
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""


def test_help_and_slips_on_the_command_line(process, tmp_path):
    asked = process("tacit-watch", "--help")
    assert asked.code == 0
    assert "Usage: tacit-watch [OPTIONS] HOST:PORT" in asked.out
    assert "Ends with 0 when the run is finished" in asked.out
    assert (
        process("tacit-watch").err
        == "error: Missing argument 'HOST:PORT'. See tacit-watch --help.\n"
    )
    missing = process("tacit-watch", "localhost:1")
    assert missing.code == 2
    assert "there is no watch.pem: --bundle names the folder" in missing.err


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("server.watch", "torch flwr numpy grpc cryptography rich"),
        ("server.watch, server.watch_client, server.watch_screen", "torch flwr numpy"),
    ],
)
def test_neither_help_nor_a_watch_waits_for_what_it_does_not_need(modules, absent):
    code = f"import sys, {modules}; print(sorted(set({absent.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

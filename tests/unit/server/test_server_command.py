"""tacit-server's words: answered, divided, or refused in a line that says what to write instead."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from server import call_off, deployment
from server.command import USAGE, _main
from tacit.errors import ExitCode, RunDirectoryError

WORDS = ("server.bundle=prov/server", "domain=hospitals")


@pytest.fixture(autouse=True)
def logs_as_before():
    """A command sets up the log of its process, which here is pytest's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def server(command):
    return lambda *words: command(*words, main=_main)


class Reached(Exception):  # noqa: N818
    """Says that a command came as far as the run."""


@pytest.fixture
def reached(server, monkeypatch):
    """Call with words that are right; gives what the run was begun with."""

    def call(*words):
        seen = []

        def deploy(*given):
            seen.append(given)
            raise RunDirectoryError("far enough")

        monkeypatch.setattr(deployment, "deploy", deploy)
        ended = server(*words)
        assert ended.code == ExitCode.BAD_INPUT
        assert ended.err.endswith("error: far enough\n")
        return seen[0]

    return call


def refused(ended):
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    return ended.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_the_usage(server, word):
    assert server(word).out == USAGE
    assert server("call_off=true", word) == server(word)


def test_help_loads_nothing_heavy():
    heavy = ("torch", "numpy", "hydra", "flwr", "pydantic", "yaml", "rich", "uvicorn", "grpc")
    code = (
        "import sys\n"
        "sys.argv = ['tacit-server', '--help']\n"
        "from server.command import main\n"
        "try: main()\n"
        f"finally: print(*sorted(set(sys.modules) & set({heavy})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, USAGE, "\n")


def test_the_run_is_begun_with_what_the_words_come_to(reached):
    settings, config, own = reached(*WORDS, "training.rounds=3", "server.port=0", "run.dir=R")
    assert (settings.training.rounds, settings.run.dir) == (3, "R")
    assert config["training"]["rounds"] == 3
    assert (own.bundle, own.port) == (Path("prov/server"), 0)


@pytest.mark.parametrize("words", [(), ("compare=false",)])
def test_a_coordinator_compares_nothing_whatever_the_domain_recommends(reached, words):
    settings, config, _ = reached(*WORDS, *words)
    assert (settings.compare, config["compare"]) == (False, False)


def test_options_of_a_folder_count(reached, tmp_path):
    (tmp_path / "privacy").mkdir()
    (tmp_path / "privacy" / "strict.yaml").write_text(
        "kind: record\nunit: record\nepsilon: 0.25\ndelta: 1.0e-5\nclipping_norm: 1.0\n"
        "noise_seed: null\n"
    )
    settings, _, _ = reached(*WORDS, "privacy=strict", "--config-dir", tmp_path)
    assert settings.privacy.epsilon == 0.25


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "server.bundle: must be set"),
        (["domain=hospitals"], "server.bundle: must be set"),
        ([*WORDS, "server.prt=1"], "server.prt: there is no such key; did you mean 'server.port'?"),
        ([*WORDS, "rouds=1"], "rouds: there is no such key; did you mean 'training.rounds'?"),
        ([*WORDS, "server=1"], "server: there is no such key"),
        ([*WORDS, "training.rounds=0"], "training.rounds=0: must be at least 1"),
        ([*WORDS, "training.rounds=1,2"], "training.rounds=1,2: several values need --multirun"),
        ([*WORDS, "compare=true"], "compare=true: baselines need everybody's data"),
        ([*WORDS, "run.resume=R"], "run.resume=R: the same command again goes on"),
        ([*WORDS, "--multirun"], "--multirun, --show and --list belong to tacit-simulate"),
        ([*WORDS, "--show"], "--multirun, --show and --list belong to tacit-simulate"),
        ([*WORDS, "--list"], "--multirun, --show and --list belong to tacit-simulate"),
        ([*WORDS, "--prt"], "--prt: there is no such option"),
        ([*WORDS, "call_off=yes"], "call_off: there is no such key"),
        (["call_off=true"], "say which run: tacit-server run.dir=RUN call_off=true"),
        (["call_off=true", "run.dir="], "say which run"),
        (["call_off=true", "run.dir=a", "run.dir=b"], "say which run"),
        (["call_off=true", "run.dir=a", "seed=1"], "say which run"),
        (["call_off=true", "run.dir=none"], "run.dir=none: no coordinator works there"),
    ],
)
def test_words_that_cannot_be(server, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert refused(server(*words)).startswith(says)
    assert not any(tmp_path.iterdir())


def test_a_run_is_called_off_by_its_directory(server, monkeypatch):
    seen = []
    monkeypatch.setattr(call_off, "call_off", seen.append)
    assert server("run.dir=R", "call_off=true") == server("call_off=true", "run.dir=R")
    assert server("run.dir=R", "call_off=true").out == "R: called off\n"
    assert set(seen) == {Path("R")}


def test_the_log_is_set_up_before_the_run(server, monkeypatch, tmp_path):
    def deploy(*_):
        logging.getLogger("server.deployment").warning("here\nI am")
        raise RunDirectoryError("far enough")

    monkeypatch.setattr(deployment, "deploy", deploy)
    ended = server(*WORDS, "server.log=json")
    first, last = ended.err.splitlines()
    assert json.loads(first)["message"] == "here I am"
    assert json.loads(first)["who"] == "coordinator"
    assert last == "error: far enough"

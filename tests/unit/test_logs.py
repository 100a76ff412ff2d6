"""Logs: a line for each message, whoever wrote what into it."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit import logs

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  county  ")
BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.fixture(autouse=True)
def as_before():
    names = ("", *logs.QUIET)
    kept = {
        name: (logger.handlers[:], logger.level, logger.propagate)
        for name, logger in ((name, logging.getLogger(name)) for name in names)
    }
    yield
    logging.captureWarnings(False)
    for name, (handlers, level, propagate) in kept.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def said(capsys):
    """Gives what was written to stderr since it was asked last."""
    return lambda: capsys.readouterr().err


def test_a_line_says_when_who_and_what(said):
    logs.set_up("text", "county")
    logging.getLogger("client.fleet").info("the coordinator %s", "answers")
    logging.getLogger("client.fleet").warning("it is late")
    logging.getLogger("client.fleet").debug("unheard")
    first, second = said().splitlines()
    assert LINE.sub("", first) == "the coordinator answers"
    assert LINE.sub("", second) == "warning: it is late"


def test_an_object_says_the_same_and_how_bad(said):
    logs.set_up("json", "county")
    logging.getLogger("client.fleet").info("ε = %.1f", 0.5)
    logging.getLogger("client.fleet").error("it broke")
    first, second = map(json.loads, said().splitlines())
    assert first.keys() == {"at", "level", "who", "message"}
    assert (first["level"], first["who"], first["message"]) == ("info", "county", "ε = 0.5")
    assert second["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["at"])


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("newline", BREAKS, ids=ascii)
def test_a_message_is_one_line(said, form, newline):
    logs.set_up(form, f"county{newline}x")
    fake = f"a{newline}2027-01-01 00:00:00  county  all is well{newline}"
    logging.getLogger("client").info("the run %s is over", fake)
    (line,) = said().splitlines()
    assert line.endswith(
        "the run a 2027-01-01 00:00:00 county all is well is over" + '"}' * (form == "json")
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_steers_the_terminal(said, form):
    logs.set_up(form, "county")
    logging.getLogger("client").info("\x1b[2J\x07\x9b1A\u202e\ud800%s", "x\x00")
    text = said()
    assert all(letter.isprintable() for letter in text.rstrip("\n"))
    assert text.encode().endswith(b"x?" + b'"}' * (form == "json") + b"\n")


@given(st.text(st.characters(), max_size=30), st.sampled_from([logs._Text, logs._Json]))
def test_whatever_is_said_is_one_line(text, kind):
    for who, message in ((text, "x"), ("x", text)):
        record = logging.LogRecord("n", logging.INFO, "f", 1, "%s", (message,), None)
        line = kind(who).format(record)
        assert len(line.splitlines()) == 1
        line.encode()
        if kind is logs._Json:
            assert json.loads(line)["who"] == who


def broken(text):
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("client").exception("it broke")


def test_a_trace_follows_set_in_so_that_no_line_of_it_is_taken_for_the_logs(said):
    logs.set_up("text", "county")
    broken("odd\n2027-01-01 00:00:00  county  all is well\u2028\x1b[2J")
    first, *trace = said().splitlines()
    assert LINE.sub("", first) == "error: it broke"
    assert trace[0] == "    Traceback (most recent call last):"
    assert "    2027-01-01 00:00:00  county  all is well" in trace
    assert all(line.startswith("    ") and "\x1b" not in line for line in trace)


def test_a_trace_is_a_key_of_the_object(said):
    logs.set_up("json", "county")
    broken("odd\nvalue")
    (found,) = map(json.loads, said().splitlines())
    assert (found["level"], found["message"]) == ("error", "it broke")
    assert found["trace"].endswith("ValueError: odd\nvalue")


@pytest.mark.parametrize("name", [*logs.QUIET, "httpx._client", "uvicorn.error", "flwr.common"])
def test_a_library_is_heard_when_it_warns_and_only_once(said, name):
    library = logging.getLogger(name.partition(".")[0])
    library.addHandler(logging.StreamHandler(io.StringIO()))
    library.propagate = False
    logs.set_up("text", "county")
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("a warning")
    (line,) = said().splitlines()
    assert line.endswith("  warning: a warning")


def test_what_python_warns_of_is_a_line_of_the_log(said):
    logs.set_up("json", "county")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("secure noise\nis off", UserWarning, stacklevel=1)
    (found,) = map(json.loads, said().splitlines())
    assert found["level"] == "warning"
    assert "UserWarning: secure noise is off" in found["message"]


def test_setting_up_again_says_nothing_twice(said):
    logs.set_up("text", "county")
    logs.set_up("json", "coordinator")
    logging.getLogger("server").info("here")
    (line,) = said().splitlines()
    assert json.loads(line)["who"] == "coordinator"


def test_a_process_with_flower_writes_nothing_but_json_lines():
    code = (
        "import logging, warnings\n"
        "import flwr.serverapp, flwr.clientapp\n"
        "from flwr.common.logger import log\n"
        "from tacit.logs import set_up\n"
        "set_up('json', 'county')\n"
        "log(logging.INFO, 'chatter')\n"
        "log(logging.WARNING, 'a\\nwarning')\n"
        "warnings.warn('odd')\n"
        "logging.getLogger('client').info('ready ε')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert [each["level"] for each in found] == ["warning", "warning", "info"]
    assert found[0]["message"] == "a warning"
    assert "UserWarning: odd" in found[1]["message"]
    assert found[2]["message"] == "ready ε"

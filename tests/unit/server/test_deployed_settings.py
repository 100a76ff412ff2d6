"""server.KEY=VALUE: divided from the experiment's words, and whatever is wrong is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from commands.arguments import split
from server.command import USAGE
from server.deployed_settings import ServerSettings, split_words
from tacit.errors import ConfigurationError

BUNDLE = "server.bundle=prov/server"


def refusal(*words):
    with pytest.raises(ConfigurationError) as caught:
        split_words(words)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_the_words_are_divided_and_the_rest_keeps_its_order():
    own, rest = split_words(["domain=hospitals", BUNDLE, "run.dir=R", "server.port=0", "seed=1"])
    assert own == ServerSettings(Path("prov/server"), port=0)
    assert rest == ["domain=hospitals", "run.dir=R", "seed=1"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("server.host=::1", lambda own: own.host == "::1"),
        ("server.host=0.0.0.0", lambda own: own.host == "0.0.0.0"),
        ("server.host=off", lambda own: own.host == "off"),
        ("server.port=0", lambda own: own.port == 0),
        ("server.port=65535", lambda own: own.port == 65535),
        ("server.watch_port=0", lambda own: own.watch_port == 0),
        ("server.wait=1e3", lambda own: own.wait == 1000.0),
        ("server.wait=5", lambda own: (own.wait, type(own.wait)) == (5.0, float)),
        ("server.round_timeout=0.5", lambda own: own.round_timeout == 0.5),
        ("server.heartbeat=2", lambda own: own.heartbeat == 2.0),
        ("server.log=json", lambda own: own.log == "json"),
    ],
)
def test_what_may_be_said(word, found):
    own, rest = split_words([BUNDLE, word])
    assert found(own)
    assert rest == []


@pytest.mark.parametrize("path", ["a b", "[x", "a: b", "3", "{}", "'q'", "a=b", "2024-01-01", "é"])
def test_a_path_is_a_path_whatever_it_looks_like(path):
    assert split_words([f"server.bundle={path}"])[0].bundle == Path(path)


def test_a_path_in_somebodys_home_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    words = split(["server.bundle=~/prov"]).words
    assert split_words(words)[0].bundle == Path("/home/me/prov")


BAD = [
    # wrong types
    ("server.port=many", "server.port=many: must be a whole number"),
    ("server.port=9443.5", "server.port=9443.5: must be a whole number"),
    ("server.port=true", "server.port=true: must be a whole number"),
    ("server.port=[1]", "server.port=[1]: must be a whole number"),
    ("server.watch_port=x", "server.watch_port=x: must be a whole number"),
    ("server.wait=long", "server.wait=long: must be a number"),
    ("server.wait=null", "server.wait=null: must be a number"),
    ("server.round_timeout=x", "server.round_timeout=x: must be a number"),
    ("server.heartbeat=x", "server.heartbeat=x: must be a number"),
    ("server.log=xml", "server.log=xml: must be 'text' or 'json'"),
    # out of range
    ("server.bundle=", "server.bundle: a key needs its value: server.bundle=VALUE"),
    ("server.host=", "server.host: a key needs its value"),
    ("server.host", "server.host: a key needs its value"),
    ("server.port=-1", "server.port=-1: a port is from 0 to 65535"),
    ("server.port=65536", "server.port=65536: a port is from 0 to 65535"),
    ("server.watch_port=70000", "server.watch_port=70000: a port is from 0 to 65535"),
    ("server.port=9444", "server.port=9444 is server.watch_port too"),
    ("server.wait=0", "server.wait=0: must be more than 0"),
    ("server.wait=inf", "server.wait=inf: must be a number"),
    ("server.wait=1e999", "server.wait=inf: must be a finite number"),
    ("server.round_timeout=-1", "server.round_timeout=-1: must be more than 0"),
    ("server.heartbeat=0", "server.heartbeat=0: must be more than 0"),
    # unknown
    ("server.wiat=3", "server.wiat: there is no such key; did you mean 'server.wait'?"),
    ("server.port.x=3", "server.port.x: there is no such key; did you mean 'server.port'?"),
    ("server.=3", "server.: there is no such key"),
    ("server.tls=off", "server.tls: there is no such key; "),
]


@pytest.mark.parametrize(("word", "message"), BAD)
def test_what_is_wrong_is_named(word, message):
    others = [] if word.startswith("server.bundle") else [BUNDLE]
    assert refusal(*others, word).startswith(message)


def test_every_key_has_wrong_values_in_the_table():
    keys = {word.partition("=")[0] for word, _ in BAD}
    assert {f"server.{field.name}" for field in fields(ServerSettings)} <= keys


def test_a_bundle_must_be_named():
    assert refusal("domain=hospitals") == "server.bundle: must be set"


def test_a_key_is_said_once():
    said = refusal(BUNDLE, "server.port=1", "server.port=2")
    assert said == "server.port=2: server.port=1 was said before"


def test_all_errors_are_told_at_once_each_with_its_key():
    said = refusal(BUNDLE, "server.wait=0", "server.log=xml")
    assert said == "server.wait=0: must be more than 0; server.log=xml: must be 'text' or 'json'"


def test_any_two_ports_may_be_left_to_the_machine():
    own, _ = split_words([BUNDLE, "server.port=0", "server.watch_port=0"])
    assert (own.port, own.watch_port) == (0, 0)


def test_the_usage_names_every_key():
    for field in fields(ServerSettings):
        assert f"server.{field.name}" in USAGE

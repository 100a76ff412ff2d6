"""A client that is not ours, found and called: its forms, and everything that goes wrong."""

import random
import sys

import numpy as np
import pytest
import torch

from audits.command import _main
from audits.target.app import Target
from audits.target.rows import Rows
from audits.target.words import read_words
from commands import entry
from tacit.domains.domain import Examples
from tacit.errors import ExitCode

BROKEN = """
import sys
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

no_app = "app"
heard = []

def weights():
    return [np.ones((2, 3), np.float32), np.array(7)]

def text():
    return "weights"

def whole_numbers():
    return [np.array(7)]

def fails():
    raise OSError("there is no such file")

def app_of(answer):
    app = ClientApp()
    @app.train()
    def train(message, context):
        print("chatter")
        heard.append((message, context))
        return answer(message)
    return app

def raising(message):
    raise ZeroDivisionError("a norm of 0")

def other_shape(message):
    arrays = ArrayRecord([np.ones((3, 2), np.float32), np.array(7)])
    return Message(RecordDict({"arrays": arrays}), reply_to=message)

def moved(message):
    layer, count = message.content["arrays"].to_numpy_ndarrays()
    content = {
        "arrays": ArrayRecord([layer + np.float32(np.random.rand()), np.asarray(count + 1)]),
        "m": MetricRecord({"n": 5}),
    }
    return Message(RecordDict(content), reply_to=message)

good = app_of(moved)
raises = app_of(raising)
leaves = app_of(lambda message: sys.exit(0))
silent = app_of(lambda message: None)
shaped = app_of(other_shape)
empty = app_of(lambda message: Message(RecordDict(), reply_to=message))
refuses = app_of(lambda message: Message(Error(1, "not today"), reply_to=message))
not_finite = app_of(lambda m: Message(RecordDict({"a": ArrayRecord(
    [np.full((2, 3), np.nan, np.float32), np.array(7)])}), reply_to=m))
"""
CLAIM = ("claim.unit=client", "claim.epsilon=1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "broken_client.py").write_text(BROKEN)
    (tmp_path / "no_import.py").write_text("import no_such_package\n")
    (tmp_path / "dies.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("broken_client", "no_import", "dies"):
        sys.modules.pop(name, None)


def words(app="good", weights="weights", *more):
    return [f"target=broken_client:{app}", f"target.weights=broken_client:{weights}", *CLAIM, *more]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["target=a:b"], "target.weights=PACKAGE.MODULE:NAME is missing"),
        (["target.weights=a:b"], "target=PACKAGE.MODULE:NAME is missing"),
        (["target=broken_client:good", "target.weights=broken_client:weights"], "claim: say"),
        (words("good", "weights", "target.wieghts=1"), "did you mean 'target.weights'"),
        (words("good", "weights", "target.rows=a:b"), "target.rows=PACKAGE.MODULE:NAME and domain"),
        (words("good", "weights", "domain=digits"), "target.rows=PACKAGE.MODULE:NAME and domain"),
        (words("good", "weights", "claim.unit=record"), "claim.unit is there twice"),
        (words("good", "weights", "out=nowhere/a.json"), "out=nowhere/a.json: there is no folder"),
        (words("good", "weights", "target.config.a"), "a word is KEY=VALUE"),
        (
            words("good", "weights", "target.rows=broken_client:fails", "domain=digit"),
            "domain=digit: there is no such option; did you mean 'digits'?",
        ),
        (words("good", "weights", "target.rows=broken_client:no_app", "domain=digits"), "no funct"),
        (
            words("good", "weights", "target.rows=broken_client:weights", "domain=digits"),
            "target.rows=broken_client:weights failed: TypeError",
        ),
        (["target=nowhere:app", "target.weights=a:b", *CLAIM], "target=nowhere:app: cannot be imp"),
        (["target=no_import:app", "target.weights=a:b", *CLAIM], "no_such_package"),
        (["target=dies:app", "target.weights=a:b", *CLAIM], "ZeroDivisionError"),
        (["target=broken_client", "target.weights=a:b", *CLAIM], "say PACKAGE.MODULE:NAME"),
        (words("nothing"), "broken_client has no nothing"),
        (words("no_app"), "is a str, not a flwr ClientApp"),
        (words("good", "text"), "target.weights gives a str"),
        (words("good", "no_app"), "is a str, no function"),
        (words("good", "fails"), "OSError: there is no such file"),
        (words("good", "whole_numbers"), "no arrays of floating-point numbers"),
        (words("raises"), "the client failed: ZeroDivisionError: a norm of 0"),
        (words("leaves"), "the client failed: SystemExit: 0"),
        (words("silent"), "the client returned a NoneType"),
        (words("shaped"), "no record of the arrays that were sent"),
        (words("empty"), "no record of the arrays that were sent"),
        (words("refuses"), "the client refuses: not today"),
        (words("not_finite"), "the reply to usual rows is not finite"),
    ],
)
def test_what_cannot_be_audited_is_said_in_a_line(folder, capsys, given, said):
    with pytest.raises(SystemExit) as left:
        entry.run(lambda: _main(given))
    output = capsys.readouterr()
    assert left.value.code == ExitCode.BAD_INPUT
    assert said in output.err
    assert len(output.err.splitlines()) == 1
    assert "chatter" not in output.out


def test_a_message_is_what_a_server_sends(folder):
    target = Target(
        read_words(
            words(
                "good",
                "weights",
                "target.run_config.local-epochs=2",
                "target.run_config.lr=1e-3",
                "target.node_config.partition-id=3",
                "target.config.proximal=true",
                "target.config.name=nan",
            )
        )
    )
    reply = target.ask()
    message, context = sys.modules["broken_client"].heard[-1]
    assert message.content["config"] == {"server-round": 1, "proximal": True, "name": "nan"}
    assert context.run_config == {"local-epochs": 2, "lr": 1e-3}
    assert context.node_config == {"partition-id": 3, "num-partitions": 1}
    assert reply.update.shape == (6,)
    assert reply.entries["m/n"] == 5
    assert reply.entries["arrays/1"] == 8


def test_seeds_are_the_messages_own_and_generators_come_back(folder):
    target = Target(read_words(words()))
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    one, two, other = (target.ask(seed=seed).update for seed in (1, 1, None))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def rows(count):
    return Rows(Examples(torch.zeros(count, 2), torch.zeros(count)))


def test_batches_are_seen_as_a_loader_reads_them():
    some = rows(10)
    list(torch.utils.data.DataLoader(some, batch_size=4, shuffle=True))
    assert [len(batch) for batch in some.batches] == [4, 4, 2]
    assert some.shuffled()
    copied = rows(10)
    list(copied)
    assert not copied.batches
    assert not copied.shuffled()
    drawn = rows(3)
    drawn.__getitems__([0, 1])
    drawn.__getitems__([1])
    assert not drawn.shuffled()

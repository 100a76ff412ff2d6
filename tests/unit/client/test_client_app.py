"""The ClientApp: refusals say nothing about data, and a server that forgets or lies is found."""

import io
import logging
import shutil

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from site_example import app_of, ask, kinds, make_site, open_ledger, zero_weights

import client.task
from client import door
from strategies.records import to_record
from tacit.messages import LEDGER
from tacit.privacy.chain import Receipt
from tacit.privacy.policy import Reason

SECRET = "patient Meier, row 17, chol=603"


@pytest.mark.parametrize("fault", [RuntimeError, ValueError, ArithmeticError, ZeroDivisionError])
def test_what_broke_in_learning_stays_at_the_site(ledger, monkeypatch, caplog, fault):
    def breaks(*arguments, **more):
        raise fault(SECRET)

    monkeypatch.setattr(client.task, "train_round", breaks)
    with caplog.at_level(logging.ERROR):
        reply = app_of(make_site(ledger))(ask())
    assert (reply.error.code, reply.error.reason) == (door.REFUSED, Reason.NOT_AVAILABLE)
    assert not reply.has_content()
    assert "Meier" not in repr(vars(reply)) + repr(vars(reply.error))
    # The data owner's terminal hears it.
    assert SECRET in caplog.text


def test_a_refusal_that_repeats_the_message_would_be_seen(monkeypatch, ledger):
    """The check above, shown to fail: a door that sends the text of the error."""

    def breaks(*arguments, **more):
        raise RuntimeError(SECRET)

    honest = door.Error
    monkeypatch.setattr(client.task, "train_round", breaks)
    monkeypatch.setattr(door, "Error", lambda code, reason: honest(code, f"{reason}: {SECRET}"))
    reply = app_of(make_site(ledger))(ask())
    assert "Meier" in repr(vars(reply.error))
    assert reply.error.reason not in set(Reason)


def test_a_pickle_in_a_message_is_never_opened(ledger, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    content = io.BytesIO()
    np.save(content, np.array([Bomb()], dtype=object), allow_pickle=True)
    bias = Array("object", (1,), "numpy.ndarray", content.getvalue())
    arrays = ArrayRecord({**to_record(zero_weights()), "head.bias": bias})
    reply = app_of(make_site(ledger))(ask(arrays=arrays))
    assert reply.error.reason == Reason.PLAN_DIFFERS
    assert not (tmp_path / "exploded").exists()
    assert kinds(ledger) == ["opened", "reserved"]
    # The bomb is live: only that nobody opens it keeps it quiet.
    content.seek(0)
    np.load(content, allow_pickle=True)
    assert (tmp_path / "exploded").exists()


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    key=st.sampled_from(["run", "model", "plan-steps", "plan-clipping-norm", "plan-unit", "odd"]),
    value=st.one_of(
        st.text(max_size=8), st.integers(-9, 0), st.floats(max_value=0.9), st.booleans()
    ),
)
def test_an_odd_request_gets_a_reason_of_the_closed_list(ledger, key, value):
    reply = app_of(make_site(ledger))(ask(**{key: value}))
    assert reply.error.reason in set(Reason)
    assert kinds(ledger) == ["opened", "reserved"]


def receipt_of(reply):
    record = reply.content[LEDGER]
    return Receipt(int(record["count"]), str(record["head"]))


def test_a_true_receipt_is_taken(ledger):
    app = app_of(make_site(ledger))
    first = app(ask())
    assert app(ask(round=2, receipt=receipt_of(first))).has_content()


@pytest.mark.parametrize(
    "lie",
    [
        lambda true: Receipt(true.count + 7, true.head),
        lambda true: Receipt(true.count, "0" * 64),
        lambda true: Receipt(true.count - 1, true.head),
        lambda true: Receipt(-1, true.head),
    ],
)
def test_a_receipt_of_another_ledger_stops_the_site(ledger, lie):
    app = app_of(make_site(ledger))
    first = app(ask())
    rows = len(ledger.rows())
    reply = app(ask(round=2, receipt=lie(receipt_of(first))))
    assert reply.error.reason == Reason.LEDGER_DAMAGED
    assert len(ledger.rows()) == rows


def test_a_restored_old_copy_is_found_by_the_coordinators_receipt(tmp_path):
    """Database and head put back together: only somebody else's receipt can tell."""
    now, old = tmp_path / "now", tmp_path / "old"
    now.mkdir()
    with open_ledger(now) as ledger:
        app_of(make_site(ledger))(ask())
    shutil.copytree(now, old)
    with open_ledger(now) as ledger:
        second = app_of(make_site(ledger))(ask(round=2))
    shutil.rmtree(now)
    old.rename(now)
    with open_ledger(now) as ledger:
        app = app_of(make_site(ledger))
        reply = app(ask(round=3, receipt=receipt_of(second)))
        assert reply.error.reason == Reason.LEDGER_DAMAGED
        # Without the receipt the site could not have known: the budget would be spent again.
        assert app(ask(round=3)).has_content()


@pytest.mark.parametrize("kind", ["evaluate", "query", "query.run_code", "train.run_code"])
def test_a_message_that_no_site_answers_is_refused_and_ends_nothing(ledger, caplog, kind):
    message = ask()
    vars(message.metadata)["_message_type"] = kind
    reply = app_of(make_site(ledger))(message)
    assert reply.error.reason == Reason.PLAN_DIFFERS
    assert repr(kind) in caplog.text
    assert kinds(ledger) == ["opened", "reserved"]

"""One door: what leaves a site is built in one place, after its charge, every byte accounted."""

import ast
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from secure_example import Sum, advertise, joint_of, sums_of
from site_example import (
    ROUND,
    ROUNDS,
    RUN,
    TERMS,
    app_of,
    ask,
    kinds,
    make_site,
    open_ledger,
    query,
    zero_weights,
)

import client
from client import door
from client.site import admit, learn
from strategies.records import from_record
from tacit.errors import RefusedError, TacitError
from tacit.messages import ARRAYS, LEDGER, SECURE, SITE, RunRequest
from tacit.privacy.book import Charge
from tacit.privacy.chain import Receipt
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Reason

FOLDER = Path(client.__file__).parent
BUILDERS = {
    "Array",
    "ArrayRecord",
    "ConfigRecord",
    "Error",
    "Message",
    "MetricRecord",
    "RecordDict",
    "to_record",
}
METHODS = {"create_reply", "create_error_reply"}


def builders_called(source):
    """Names of what builds a reply or a part of one that a module calls, under any alias."""
    tree = ast.parse(source)
    aliases = {name: name for name in BUILDERS}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: a.name for a in node.names if a.name in BUILDERS}
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in aliases:
            found.add(aliases[node.func.id])
        if isinstance(node.func, ast.Attribute) and node.func.attr in BUILDERS | METHODS:
            found.add(node.func.attr)
    return found


def sets_content(source):
    """Whether a module writes to a message that exists already."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"content", "error"}
        and isinstance(node.ctx, ast.Store)
        for node in ast.walk(ast.parse(source))
    )


def test_only_the_door_builds_replies():
    called = {p.name: builders_called(p.read_text()) for p in FOLDER.rglob("*.py")}
    assert called.pop("door.py") == {
        *("Array", "ArrayRecord", "ConfigRecord", "Error", "Message", "RecordDict", "to_record")
    }
    # The state of a context, which stays in the process and is empty.
    assert called.pop("fleet.py") == {"RecordDict"}
    assert (FOLDER / "fleet.py").read_text().count("RecordDict(") == 1
    assert "RecordDict()" in (FOLDER / "fleet.py").read_text()
    assert len(called) >= 3
    assert {name: found for name, found in called.items() if found} == {}
    # What comes in gets its content there, once, from what was pulled.
    incoming = (FOLDER / "connection.py").read_text()
    assert incoming.count(".content = ") == 1
    assert "message.content = unpack(tree.object_id, contents, self._most)" in incoming
    setting = [p.name for p in FOLDER.rglob("*.py") if sets_content(p.read_text())]
    assert setting == ["connection.py"]


@pytest.mark.parametrize(
    "planted",
    [
        "from flwr.app import Message\nreply = Message(content, reply_to=message)",
        "from flwr.app import Message as M\nreply = M(content, reply_to=message)",
        "import flwr.app\nreply = flwr.app.Message(content, reply_to=message)",
        "reply = message.create_reply(content)",
        "from flwr.app import MetricRecord\nmetrics = MetricRecord({'loss': 0.5})",
    ],
)
def test_a_second_door_is_seen(planted):
    assert builders_called(planted)


def test_writing_to_a_message_is_seen():
    assert sets_content("message.content = records")
    assert not sets_content("records = message.content")


METADATA = {
    "_created_at",
    "_delivered_at",
    "_dst_node_id",
    "_dst_task_id",
    "_group_id",
    "_message_id",
    "_message_type",
    "_reply_to_message_id",
    "_run_id",
    "_src_node_id",
    "_src_task_id",
    "_ttl",
}


def npy_bytes(numbers, shape):
    """The one way to write fp32 numbers of a shape in the .npy format."""
    written = io.BytesIO()
    np.save(written, np.asarray(numbers, np.float32).reshape(shape), allow_pickle=False)
    return written.getvalue()


def odd_envelope(request, reply):
    """What of a reply, its content apart, is neither the request's own nor the time."""
    odd = []
    about, asked = vars(reply.metadata), request.metadata
    odd += sorted(about.keys() ^ METADATA)
    expected = {
        "_run_id": asked.run_id,
        "_message_id": "",
        "_src_node_id": asked.dst_node_id,
        "_dst_node_id": asked.src_node_id,
        "_src_task_id": asked.dst_task_id,
        "_dst_task_id": asked.src_task_id,
        "_reply_to_message_id": asked.message_id,
        "_group_id": asked.group_id,
        "_message_type": asked.message_type,
        "_delivered_at": "",
    }
    odd += [key for key, value in expected.items() if about.get(key) != value]
    return odd + sorted(vars(reply).keys() ^ {"_metadata", "_content", "_error"})


def unaccounted(request, reply, charge_count, receipt):
    """What is in a reply and is neither weights, ledger head, the request's own, nor the time."""
    odd = odd_envelope(request, reply)
    if reply.has_error():
        if reply.error.code != door.REFUSED or reply.error.reason not in set(Reason):
            odd.append("error")
        return odd
    content = reply.content
    odd += sorted(set(content) ^ {ARRAYS, LEDGER})
    if ARRAYS not in content or LEDGER not in content:
        return odd
    if dict(content[LEDGER]) != {"count": receipt.count, "head": receipt.head}:
        odd.append("ledger")
    like = zero_weights()
    odd += sorted(content[ARRAYS].keys() ^ like.keys())
    odd += [
        name
        for name, array in content[ARRAYS].items()
        if name in like and array.data != npy_bytes(array.numpy(), like[name].shape)
    ]
    if charge_count != 1:
        odd.append("charge")
    return odd


@pytest.fixture
def site(tmp_path):
    with open_ledger(tmp_path) as ledger:
        yield make_site(ledger)


def answer(site, **request):
    """Ask, and give what is unaccounted for in the reply beside the reply."""
    charged = kinds(site.ledger).count("charged")
    message = ask(**request)
    reply = app_of(site)(message)
    # The receipt in a reply is of the charge: storing the reply is one row more.
    rows = site.ledger.rows()
    stored = [r for r in rows if '"kind":"replied/1"' in r.body]
    last = rows[stored[-1].number - 2] if stored else rows[-1]
    new = kinds(site.ledger).count("charged") - charged
    return reply, unaccounted(message, reply, new, Receipt(last.number, last.hash))


def test_every_action_is_known(site):
    from client.app import build_client_app

    app = build_client_app(lambda context: site)
    # An action that is added here needs its own walk through its reply, below.
    assert set(app._registered_funcs) == {
        "query.enrol",
        "query.reserve",
        "query.secure",
        "query.end",
        "train.default",
    }


def test_every_byte_of_an_introduction_is_accounted_for(site):
    message = query("enrol")
    reply = app_of(site)(message)
    assert odd_envelope(message, reply) == []
    stated = {
        "name": site.name,
        "epsilon": site.policy.epsilon_per_run,
        "delta": site.policy.delta_per_run,
        "least-noise-multiplier": 0.0,
        "most-rounds": 0,
        "predictable": False,
    }
    assert reply.content == RecordDict({SITE: ConfigRecord(stated)})


def test_every_byte_of_a_confirmation_is_accounted_for(site):
    message = query("reserve", RunRequest(RUN, ROUNDS, TERMS, ROUND, 1.0, 1e-5).to_config())
    reply = app_of(site)(message)
    assert odd_envelope(message, reply) == []
    receipt = site.ledger.receipt()
    head = ConfigRecord({"count": receipt.count, "head": receipt.head})
    assert reply.content == RecordDict({LEDGER: head})


def test_every_byte_of_a_stage_of_a_secure_sum_is_accounted_for(site):
    message = query("secure")
    message.content[SECURE] = ConfigRecord(advertise(joint_of()).to_config())
    reply = app_of(replace(site, sums=sums_of("north")))(message)
    assert odd_envelope(message, reply) == []
    (said,) = reply.content[SECURE].values()
    assert reply.content == RecordDict({SECURE: ConfigRecord({"content": said})})
    # Whatever it is, the coordinator's machine takes it for this site's keys and nothing else.
    there = Sum().server
    there.receive("north", said)
    assert there.faults == {}
    assert kinds(site.ledger) == ["opened", "reserved"]


def test_every_byte_of_a_reply_is_accounted_for(site):
    reply, odd = answer(site)
    assert reply.has_content()
    assert odd == []


def test_every_byte_of_a_refusal_is_accounted_for(site):
    reply, odd = answer(site, model="0" * 64)
    assert reply.error.reason == Reason.MODEL_DIFFERS
    assert odd == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda c: c.update(metrics=MetricRecord({"num-examples": 16})), ["metrics"]),
        (lambda c: c.update(more=ConfigRecord({"loss": 0.25})), ["more"]),
        (lambda c: c[LEDGER].update(rows=16), ["ledger"]),
        (lambda c: c[LEDGER].update(head="0" * 64), ["ledger"]),
        (lambda c: c[ARRAYS].update(sums=c[ARRAYS]["head.bias"]), ["sums"]),
        (lambda c: setattr(c[ARRAYS]["head.bias"], "data", c[ARRAYS]["head.bias"].data + b"+"),
         ["head.bias"]),
    ],
)  # fmt: skip
def test_what_slips_through_the_door_is_seen(site, monkeypatch, change, found):
    honest = door.replay

    def planted(message, packed):
        reply = honest(message, packed)
        change(reply.content)
        return reply

    monkeypatch.setattr(door, "replay", planted)
    _, odd = answer(site)
    assert odd == found


def test_a_reply_without_a_charge_is_seen(site, monkeypatch):
    answer(site)
    monkeypatch.setattr(
        Ledger, "charge", lambda ledger, run, request, event, policy: Charge(3, *[""] * 4)
    )
    monkeypatch.setattr(
        door, "release", lambda ledger, message, leaving: door.replay(message, door._pack(leaving))
    )
    _, odd = answer(site, round=2)
    assert "charge" in odd


def leaving(site):
    admitted = admit(site, ask())
    return door.Release(learn(site, admitted), admitted.charge, site.ledger.receipt())


def test_no_event_no_release(site):
    release = leaving(site)
    forged = replace(release, charge=replace(release.charge, number=release.charge.number + 1))
    other = replace(release, charge=replace(release.charge, request="another"))
    for unpaid in (forged, other):
        with pytest.raises(TacitError, match="not of this ledger"):
            door.release(site.ledger, ask(), unpaid)
    assert kinds(site.ledger) == ["opened", "reserved", "charged"]


def test_one_charge_pays_for_one_reply(site):
    release = leaving(site)
    door.release(site.ledger, ask(), release)
    with pytest.raises(TacitError, match="has a reply"):
        door.release(site.ledger, ask(), release)


def test_a_reply_is_stored_before_it_is_built(site, monkeypatch):
    honest = door.replay
    seen = []
    monkeypatch.setattr(
        door, "replay", lambda *a: (seen.append(kinds(site.ledger)[-1]), honest(*a))[1]
    )
    door.release(site.ledger, ask(), leaving(site))
    assert seen == ["replied"]


def test_a_reply_is_a_function_of_the_stored_bytes(site):
    release = leaving(site)
    packed = door._pack(release)
    one, two = door.replay(ask(), packed), door.replay(ask(), packed)
    assert one.content == two.content
    back = from_record(one.content[ARRAYS])
    assert list(back) == list(release.weights)
    for name, array in release.weights.items():
        assert back[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_never_leave(site, value):
    release = leaving(site)
    release.weights["head.bias"][1] = value
    with pytest.raises(RefusedError) as caught:
        door.release(site.ledger, ask(), release)
    assert caught.value.reason == Reason.NOT_AVAILABLE
    assert "replied" not in kinds(site.ledger)


@given(st.text())
def test_a_refusal_carries_a_reason_of_the_closed_list(text):
    reply = door.refuse(ask(), text)
    assert reply.error.reason in set(Reason)
    assert text in set(Reason) or reply.error.reason == Reason.NOT_AVAILABLE


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_the_closed_list_gets_through(reason):
    assert door.refuse(ask(), reason).error.reason == reason.value

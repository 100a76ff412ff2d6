"""Mail in the server's memory: who gets what, what is taken, and that nothing is left."""

import logging
import threading
import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Message
from flwr.proto.message_pb2 import ObjectTree
from superlink_example import (
    KEYS,
    NODES,
    PUBLIC,
    announce,
    arrive,
    ask,
    calling,
    content,
    left,
    mailbox,
    reply_to,
)

from server.grid import MailGrid
from server.superlink import TOO_LARGE, UNREADABLE, Mailbox
from strategies.objects import ids, pack
from tacit.errors import ConfigurationError

ONE = np.ones(3, np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("server.superlink.HOLD", 0.05)
    monkeypatch.setattr("server.superlink._LOOK", 0.02)


@pytest.fixture
def box():
    made = mailbox()
    arrive(made, "north", "south")
    return made


def to(site, answer=None):
    return Message(answer or content(ONE), NODES[site], "train")


def test_nodes_are_the_same_at_every_start():
    assert mailbox().names == mailbox().names == {NODES[n]: n for n in KEYS}
    assert mailbox().get_node_id_by_public_key(next(iter(mailbox().members))) in NODES.values()


def test_two_sites_with_one_key():
    with pytest.raises(ConfigurationError, match="same key"):
        Mailbox({"a": PUBLIC["north"], "b": PUBLIC["north"]}, heartbeat=1, most=1)


def test_a_message_and_its_reply(box):
    grid = MailGrid(box)
    assert sorted(grid.get_node_ids()) == sorted(NODES.values())
    (name,) = grid.push_messages([to("north")])
    assert ask(box, "south") is None
    request = ask(box, "north")
    assert request.metadata.message_id == name
    assert list(grid.pull_messages([name])) == []
    assert reply_to(box, "north", request, content(2 * ONE))
    (reply,) = grid.pull_messages([name])
    assert reply.metadata.src_node_id == NODES["north"]
    assert np.array_equal(reply.content["arrays"]["0"].numpy(), 2 * ONE)
    assert left(box) == 0


def test_a_reply_is_handed_out_once(box):
    name = box.post(to("north"))
    reply_to(box, "north", ask(box, "north"), content(ONE))
    assert len(box.collect([name], time.monotonic())) == 1
    assert box.collect([name], None) == {name: None}
    assert MailGrid(box).pull_messages([name]) == []


def test_one_object_less_is_no_reply(box):
    name = box.post(to("north"))
    reply = Message(content(2 * ONE), reply_to=ask(box, "north"))
    _, session, missing, parcel = announce(box, "north", reply)
    *most, (last, make) = parcel.contents(missing)
    with calling("north"):
        for other, made in most:
            assert box.store_object(reply.metadata.run_id, session, other, made())
        assert box.collect([name], time.monotonic()) == {}
        assert box.store_object(reply.metadata.run_id, session, last, make())
    assert box.collect([name], time.monotonic())[name].has_content()


def test_waiting_ends_with_the_reply_and_not_with_a_look(box, monkeypatch):
    monkeypatch.setattr("server.superlink._LOOK", 60.0)
    monkeypatch.setattr("server.superlink.HOLD", 60.0)

    def site():
        reply_to(box, "north", ask(box, "north"), content(ONE))

    thread = threading.Thread(target=site)
    thread.start()
    begun = time.monotonic()
    replies = MailGrid(box).send_and_receive([to("north")], timeout=50)
    thread.join()
    assert len(replies) == 1
    assert time.monotonic() - begun < 10


def test_in_time_or_not_at_all(box, caplog):
    with caplog.at_level(logging.WARNING):
        assert MailGrid(box).send_and_receive([to("north")], timeout=0.05) == []
    assert "site north: no reply in time" in caplog.text
    assert left(box) == 0


def test_a_site_that_is_not_there_gets_nothing(box, caplog):
    with calling("south") as node:
        box.deactivate_node(node)
    assert MailGrid(box).send_and_receive([to("south")], timeout=None) == []
    assert "site south: not there" in caplog.text


def test_a_site_that_goes_is_not_waited_for(caplog):
    box = mailbox(heartbeat=0.05)
    arrive(box, "north")
    assert MailGrid(box).send_and_receive([to("north")], timeout=None) == []
    assert "site north: went away before it replied" in caplog.text
    assert left(box) == 0


def test_a_message_that_did_not_arrive_comes_again(box):
    name = box.post(to("north"))
    assert ask(box, "north").metadata.message_id == name
    assert ask(box, "north").metadata.message_id == name


def test_a_message_that_did_arrive_comes_once(box, caplog):
    name = box.post(to("north"))
    box.object_store.delete(ask(box, "north").metadata.message_id)  # confirmed
    assert ask(box, "north") is None
    assert box.collect([name], None) == {name: None}
    assert "site north: asks for more before it replied" in caplog.text


def test_a_reply_that_was_cut_goes_on_where_it_was(box):
    name = box.post(to("north"))
    reply = Message(content(2 * ONE), reply_to=ask(box, "north"))
    _, session, missing, parcel = announce(box, "north", reply)
    (first, make), *_ = parcel.contents(missing)
    with calling("north"):
        box.store_object(reply.metadata.run_id, session, first, make())
    _, session, again, parcel = announce(box, "north", reply)
    assert set(again) == set(missing) - {first}
    with calling("north"):
        for other, made in parcel.contents(again):
            assert box.store_object(reply.metadata.run_id, session, other, made())
    assert box.collect([name], None)[name].has_content()


def test_no_site_replies_for_another(box, caplog):
    name = box.post(to("north"))
    request = ask(box, "north")
    forged = Message(content(2 * ONE), reply_to=request)
    stored, *_ = announce(box, "south", forged)
    assert not stored
    assert "site south: a reply that is not its own" in caplog.text
    stored, session, missing, parcel = announce(box, "north", forged)
    with calling("south"):
        assert not any(
            box.store_object(forged.metadata.run_id, session, other, made())
            for other, made in parcel.contents(missing)
        )
    assert box.collect([name], time.monotonic()) == {}


def test_a_reply_under_another_name(box):
    box.post(to("north"))
    reply = Message(content(ONE), reply_to=ask(box, "north"))
    tree = ObjectTree(object_id="0" * 64)
    stored, *_ = announce(box, "north", reply, tree=tree)
    assert not stored


def test_a_second_reply(box):
    name = box.post(to("north"))
    request = ask(box, "north")
    assert reply_to(box, "north", request, content(2 * ONE))
    assert not reply_to(box, "north", request, content(3 * ONE))
    reply = box.collect([name], None)[name]
    assert np.array_equal(reply.content["arrays"]["0"].numpy(), 2 * ONE)
    assert not reply_to(box, "north", request, content(3 * ONE))


def test_a_reply_that_is_too_large():
    box = mailbox(most=1 << 16)
    arrive(box, "north")
    name = box.post(to("north"))
    reply_to(box, "north", ask(box, "north"), content(np.zeros(1 << 16, np.float32)))
    assert box.collect([name], None)[name].error.reason == TOO_LARGE
    assert left(box) == 0


def test_a_reply_that_cannot_be_read(box, monkeypatch, caplog):
    name = box.post(to("north"))
    lying = content(ONE)
    lying["arrays"]["0"].data = b"no array"
    assert reply_to(box, "north", ask(box, "north"), lying)
    reply = box.collect([name], None)[name]
    assert reply.error.reason == UNREADABLE
    assert reply.metadata.src_node_id == NODES["north"]
    assert "site north: a message cannot be read" in caplog.text


def test_a_tree_that_would_hold_its_objects(box):
    box.post(to("north"))
    reply = Message(content(2 * ONE), reply_to=ask(box, "north"))
    root = pack(reply).id
    inner = ObjectTree(object_id="1" * 64, children=[ObjectTree(object_id=root)])
    tree = ObjectTree(object_id=root, children=[inner])
    assert announce(box, "north", reply, tree=tree)[0]
    box.forget([reply.metadata.reply_to_message_id])
    assert left(box) == 0


def test_another_process_waits_until_the_first_is_gone():
    box = mailbox(heartbeat=0.1)
    arrive(box, "north")
    with calling("north", "two") as node:
        assert not box.activate_node(node, 30)
        assert box.instance_of(node) == "one"
        until = time.monotonic() + 5
        while node in box.present_nodes():
            assert time.monotonic() < until
        assert box.activate_node(node, 30)
        assert box.instance_of(node) == "two"


def test_the_same_process_comes_again(box):
    arrive(box, "north", "north")


def test_a_site_cannot_say_that_it_stays_for_long():
    box = mailbox(heartbeat=0.05)
    with calling("north") as node:
        box.activate_node(node, 1800)
        box.acknowledge_node_heartbeat(node, 1800)
        until = time.monotonic() + 5
        while node in box.present_nodes():
            assert time.monotonic() < until


def test_who_waits_is_let_go_at_the_end(box, monkeypatch):
    monkeypatch.setattr("server.superlink.HOLD", 60.0)
    name = box.post(to("south"))
    thread = threading.Thread(target=ask, args=(box, "north"))
    thread.start()
    box.close()
    thread.join(10)
    assert not thread.is_alive()
    assert box.collect([name], None) == {name: None}


def test_a_site_confirms_only_what_is_its_own(box):
    name = box.post(to("north"))
    ask(box, "north")
    with calling("south"):
        box.delivered(name)
    assert box.get_object(box.run.run_id, name)
    assert name in box.object_store
    with calling("north"):
        box.delivered(name)
    assert not box.get_object(box.run.run_id, name)
    assert name not in box.object_store
    assert len(box.collect([name], time.monotonic())) == 0


def test_weights_are_not_held_twice_while_they_are_sent(box):
    array = np.ones(1 << 24, np.float32)
    message = to("north", content(array))
    tracemalloc.start()
    try:
        box.post(message)
        assert tracemalloc.get_traced_memory()[1] < array.nbytes / 4
    finally:
        tracemalloc.stop()
    assert all(box.get_object(box.run.run_id, name) for name in ids(pack(message).tree))

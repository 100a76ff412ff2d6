"""A mailbox with two sites, and what a site's requests do to it, without a network."""

from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, Message, RecordDict

from server.guard import Caller, caller
from server.superlink import Mailbox, node_of
from strategies.objects import pack

KEYS = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("north", "south")}
PUBLIC = {name: key.public_key() for name, key in KEYS.items()}
NODES = {name: node_of(key) for name, key in PUBLIC.items()}


def mailbox(heartbeat=30.0, most=1 << 20):
    return Mailbox(PUBLIC, heartbeat=heartbeat, most=most)


@contextmanager
def calling(site, instance="one"):
    """Be a request of this site."""
    token = caller.set(Caller(NODES[site], site, instance))
    try:
        yield NODES[site]
    finally:
        caller.reset(token)


def arrive(box, *sites):
    for site in sites:
        with calling(site) as node:
            assert box.activate_node(node, 30)


def content(*arrays):
    return RecordDict({"arrays": ArrayRecord({str(i): Array(a) for i, a in enumerate(arrays)})})


def ask(box, site):
    """Return the next message of a site with its content, as Flower's handlers do."""
    with calling(site) as node:
        return next(iter(box.get_message_ins(node, 1)), None)


def announce(box, site, reply, *, tree=None):
    """Announce a reply; return the session and what the server misses."""
    parcel = pack(reply)
    with calling(site):
        session = box.start_session(reply.metadata.run_id)
        announced = Message(metadata=reply.metadata, content=RecordDict())
        stored, missing = box.store_message_and_object_tree(announced, tree or parcel.tree, session)
    return stored, session, missing, parcel


def reply_to(box, site, request, answer):
    """Reply as a site does; return whether all of it was taken."""
    reply = Message(answer, reply_to=request)
    stored, session, missing, parcel = announce(box, site, reply)
    with calling(site):
        return stored and all(
            box.store_object(reply.metadata.run_id, session, name, make())
            for name, make in parcel.contents(missing)
        )


def left(box):
    return len(box.object_store) + box.num_message_ins() + box.num_message_res()

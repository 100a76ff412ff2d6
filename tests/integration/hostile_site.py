"""A site that answers as it should but for its weights: ``hostile_site.py SITE_FILE``.

It answers its first round as it should, when a line comes in; then it spoils each reply in another
way; after the last it is honest again.
"""

import io
import sys
import threading
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from client.app import build_client_app
from client.command import _settings
from client.fleet import serve
from client.ledger_home import open_ledger
from client.resident import open_bundle
from client.setup import make_site, take_stock
from client.site_file import read_site_file
from strategies.records import from_record, to_record
from tacit.logs import set_up
from tacit.messages import ARRAYS, LEDGER
from tacit.privacy.events import Relation, Unit


def changed(**changes):
    """Replace weights of the reply, or take them away."""

    def spoil(weights, content):
        found = {name.replace(".", "_"): array for name, array in weights.items()}
        found |= {name: change(found.get(name)) for name, change in changes.items()}
        kept = {n.replace("_", "."): a for n, a in found.items() if a is not None}
        return {**content, ARRAYS: to_record(kept)}

    return spoil


def filled(value):
    return lambda array: np.full_like(array, value)


def raw(data, dtype="float32", shape=(2,)):
    """Put an array of these bytes in place of a weight."""
    array = Array(dtype, shape, "numpy.ndarray", data)
    return lambda weights, content: {
        **content,
        ARRAYS: ArrayRecord({**to_record(weights), "head.bias": array}),
    }


def receipt(**fields):
    return lambda weights, content: {**content, LEDGER: ConfigRecord(fields)}


def lie():
    head = io.BytesIO()
    claimed = {"descr": "<f4", "fortran_order": False, "shape": (2**48,)}
    np.lib.format.write_array_header_1_0(head, claimed)
    return head.getvalue() + bytes(8)


def pickled():
    data = io.BytesIO()
    np.save(data, np.array([print], dtype=object), allow_pickle=True)
    return data.getvalue()


def many_names(count, size):
    """One array under very many names."""
    array = Array(np.ones(size, np.float32))
    record = ArrayRecord()
    for number in range(count):
        record[str(number)] = array
    return lambda weights, content: {**content, ARRAYS: record}


ATTACKS = {
    "NaN": changed(head_weight=filled(np.nan)),
    "infinity": changed(head_bias=filled(-np.inf)),
    "another shape": changed(head_weight=lambda array: array.T),
    "another type": changed(head_bias=lambda array: array.astype(np.float64)),
    "whole numbers": changed(head_bias=lambda array: array.astype(np.int32)),
    "an extra weight": changed(extra=lambda array: np.zeros(3, np.float32)),
    "a missing weight": changed(head_bias=lambda array: None),
    "no weights": lambda weights, content: {LEDGER: content[LEDGER]},
    "numbers for weights": lambda weights, content: {
        **content,
        ARRAYS: MetricRecord({"head.bias": [1.0, 2.0]}),
    },
    "no receipt": lambda weights, content: {ARRAYS: content[ARRAYS]},
    "a receipt of text": receipt(count="many", head="0" * 64),
    "a receipt that is no hash": receipt(count=4, head="0" * 64 + "\n\x1b[2J"),
    "nothing": lambda weights, content: {},
    "a petabyte in a header": raw(lie()),
    "a pickle": raw(pickled(), "object", (1,)),
    "ten gigabytes in a few bytes": many_names(2500, 1 << 20),
    # A million are refused for the same reason, but take their sender ten seconds.
    "very many keys": many_names(150_000, 2),
    "twenty thousand keys": many_names(20_000, 2),
    "very many facts": lambda weights, content: {
        **content,
        "more": ConfigRecord({f"{number:50}": number for number in range(100_000)}),
    },
    "a hundred records": lambda weights, content: {
        **content,
        **{str(number): MetricRecord({"x": number}) for number in range(100)},
    },
}


def main(path):
    file = read_site_file(path)
    set_up(file.log, file.name)
    holdings = take_stock(file, _settings(file, path, None))
    attacks = [None, *ATTACKS.values()]
    with open_ledger(
        file.ledger,
        file.data_set,
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=file.limits.lifetime_delta,
    ) as ledger:
        site = make_site(file, holdings, ledger)
        honest = build_client_app(lambda context: site)

        def app(message, context):
            reply = honest(message, context)
            if message.metadata.message_type == "train" and reply.has_content() and attacks:
                if (spoil := attacks.pop(0)) is None:
                    sys.stdin.readline()
                else:
                    content = dict(reply.content)
                    reply.content = RecordDict(spoil(from_record(content[ARRAYS]), content))
            return reply

        serve(
            address=file.address,
            ca=open_bundle(file).ca,
            node_key=open_bundle(file).node_key,
            app=app,
            name=file.name,
            stop=threading.Event(),
            on_state=lambda state: None,
            heartbeat=file.heartbeat,
            largest=1 << 30,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A coordinator that asks for what no site should give: ``hostile_server.py MODEL PORT``.

It has the keys of the coordinator of the folder that it is started in, and Flower's whole protocol.
``county`` demands no secure sum and is asked nearly everything; ``referral`` demands one among 3
others. Each line that it prints is a case, and what a site said to it.
"""

import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from server.link import superlink
from strategies.records import to_record
from tacit.joint_plan import JointPlan
from tacit.learning.plan import Part, RoundPlan
from tacit.messages import (
    ARRAYS,
    CONFIG,
    SECURE,
    RunRequest,
    SecureRequest,
    SecureStage,
    Terms,
    TrainRequest,
)
from tacit.privacy.chain import NO_ROWS, Receipt
from tacit.privacy.grid import finest_grid
from tacit.trust.bundle import load_server_bundle

PLAN = RoundPlan(
    steps=1,
    sampling_rate=0.1,
    divisor=10.0,
    learning_rate=0.1,
    clipping_norm=1.0,
    noise_multiplier=10.0,
)
KNOWN = {"county": 70, "referral": 70, "screening": 40}
"""Sites of the roster, and their declared sizes."""
SHAPES = {"head.weight": (2, 8), "head.bias": (2,)}
GRID = finest_grid(32, 18, 8, 128.0)
PART = Part(GRID.bits, GRID.spacing, GRID.dimension, GRID.sites, GRID.largest, 1.0)
TYPES = {
    "an evaluation": "evaluate",
    "an unknown question": "query.run_code",
    "an unknown training": "train.run_code",
}
NO_TYPE = "\n\x1b[2J"


def request(model, others):
    """What an honest coordinator would ask the site to reserve: one round."""
    return RunRequest("run-1", 1, Terms("hospitals", model, "fedavg", others), PLAN, 1.0, 1e-5)


def reservations(model, others):
    """Config of each request that reserves what it should not."""
    honest = request(model, others)
    plain = honest.to_config()

    def planned(**changes):
        return replace(honest, plan=replace(PLAN, **changes)).to_config()

    def about(**changes):
        return replace(honest, terms=replace(honest.terms, **changes)).to_config()

    return {
        "more ε": plain | {"epsilon": 50.0},
        "more δ": plain | {"delta": 0.01},
        "more ε than declared": planned(noise_multiplier=1.0, sampling_rate=1.0) | {"rounds": 40},
        "less noise": planned(noise_multiplier=0.1),
        "no noise": planned(noise_multiplier=None, clipping_norm=None)
        | {"epsilon": float("inf"), "delta": 0.0},
        "more rounds": plain | {"rounds": 10**6},
        "another unit": plain | {"plan-unit": "person"},
        "another model": about(model="0" * 64),
        "another domain": about(domain="fleets"),
        "another strategy": about(strategy="fedadam"),
        "code to reserve": plain | {"code": "__import__('os').system('touch owned')"},
        "numbers that are none": plain | {"epsilon": float("nan")},
    }


def trainings(model):
    """Content of each training request that should not be answered, once a round is reserved."""
    honest = TrainRequest("run-1", 1, 1, model, PLAN, Receipt(0, NO_ROWS))
    config = honest.to_config()
    weights = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}

    def content(changes=None, arrays=None):
        return RecordDict(
            {
                ARRAYS: to_record(weights) if arrays is None else arrays,
                CONFIG: ConfigRecord(config | (changes or {})),
            }
        )

    class Bomb:
        def __reduce__(self):
            return (Path("owned").touch, ())

    pickled = io.BytesIO()
    np.save(pickled, np.array([Bomb()], dtype=object), allow_pickle=True)
    large = Array(np.ones(1 << 20, np.float32))
    return {
        "a run that is not reserved": content({"run": "run-2"}),
        "fewer steps counted": content({"plan-steps": 5}),
        "less noise than reserved": content({"plan-noise-multiplier": 5.0}),
        "a smaller clip than reserved": content({"plan-clipping-norm": 9.0}),
        "all rows and not a sample": content({"plan-sampling-rate": 1.0}),
        "another model in training": content({"model": "0" * 64}),
        "a round that is none": content({"server-round": 2}),
        "another ledger": content({"receipt-count": 99}),
        "code to train": content({"code": "raise SystemExit"}),
        "weights that are not finite": content(
            arrays=to_record(weights | {"head.bias": np.array([np.nan, 0], np.float32)})
        ),
        "weights of other shapes": content(
            arrays=to_record({name: np.zeros(3, np.float32) for name in SHAPES})
        ),
        "no weights": RecordDict({CONFIG: ConfigRecord(config), "x": MetricRecord({"y": 1})}),
        "a pickle": content(
            arrays=ArrayRecord(
                {
                    **to_record(weights),
                    "head.bias": Array("object", (1,), "numpy.ndarray", pickled.getvalue()),
                }
            )
        ),
        "ten gigabytes": content(arrays=many_names(large, 2500)),
        "twenty thousand keys": content({f"key-{n}": n for n in range(20_000)}),
        "many more keys": content({f"{n:50}": n for n in range(100_000)}),
        "an array that lies": content(
            arrays=ArrayRecord({"head.bias": Array("float32", (2,), "numpy.ndarray", lie())})
        ),
    }


def stages(model):
    """Record of each stage of a secure sum that no site does; none was begun before."""
    summed = replace(PLAN, part=PART)
    terms = Terms("hospitals", model, "fedavg", 2)

    def joint(names):
        plans = {name: replace(summed, divisor=0.1 * KNOWN.get(name, 100)) for name in names}
        return JointPlan.of("run-1", 1, terms, plans).text()

    def begun(content, **changes):
        request = SecureRequest("run-1", 1, SecureStage.ADVERTISE, content, "0" * 64)
        return request.to_config() | changes

    three = joint(KNOWN)
    return {
        "a sum with strangers": begun(joint([*KNOWN, "made-up"])),
        "a sum with names that steer a terminal": begun(joint([*KNOWN, "\n\x1b[2J" * 10_000])),
        "a sum of two": begun(joint([*KNOWN][:2])),
        "a joint plan that is none": begun(b"{}"),
        "a joint plan that is large": begun(bytes(5 << 20)),
        "a joint plan that is deep": begun(b"[" * 1_000_000),
        "a joint plan of numbers that are none": begun(
            three.replace(b'"rounds":1', b'"rounds":NaN')
        ),
        "a joint plan of eight bits": begun(three.replace(b'bits":32', b'bits":8')),
        "a joint plan of half a site": begun(three.replace(b'dimension":18', b'dimension":"many"')),
        "weights that are no hash": begun(three, weights="none"),
        "a sum before the first": begun(three, number=-1),
        "an unknown stage": begun(three, stage="open_all"),
        "code in a stage": begun(three, code="raise SystemExit"),
        "a stage that is not text": begun(three, stage=1),
        "shares for a sum that did not begin": begun(b"", stage="share", weights=""),
        "survivors of a sum that did not begin": begun(b"", stage="agree", weights=""),
        "opening a sum that did not begin": begun(b"", stage="reveal", weights=""),
    }


def many_names(array, count):
    """One array under very many names: as little for who sends it as it gets."""
    record = ArrayRecord()
    for number in range(count):
        record[str(number)] = array
    return record


def lie():
    """An array of a few bytes whose header claims a petabyte."""
    head = io.BytesIO()
    claimed = {"descr": "<f4", "fortran_order": False, "shape": (2**48,)}
    np.lib.format.write_array_header_1_0(head, claimed)
    return head.getvalue() + bytes(8)


def main(model, port):
    bundle = load_server_bundle(Path("trial/server"))
    members = {member.name: member.node_key for member in bundle.roster.members}
    with superlink(
        host="127.0.0.1",
        port=int(port),
        certificate=bundle.certificate,
        key=bundle.key,
        nodes=members,
        heartbeat=2.0,
    ) as link:
        print(f"sites at port {link.port}", flush=True)
        nodes = {site: node for node, site in link.names.items()}
        while len(link.present()) < 2:
            time.sleep(0.05)

        def ask(case, kind, content, site="county"):
            while site not in link.present():
                time.sleep(0.05)  # what it takes to make some cases keeps this process busy
            begun = time.perf_counter()
            message = Message(content, nodes[site], "train")
            # Flower would not make some of these.
            vars(message.metadata)["_message_type"] = kind
            replies = link.grid.send_and_receive([message], timeout=30)
            said = "no reply"
            for reply in replies:
                said = reply.error.reason if reply.has_error() else "answered"
            seconds = time.perf_counter() - begun
            print(json.dumps({"site": site, "case": case, "said": said, "seconds": seconds}))
            sys.stdout.flush()

        def reserve(case, config, site="county"):
            ask(case, "query.reserve", RecordDict({CONFIG: ConfigRecord(config)}), site)

        def stage(case, config, site="county"):
            ask(case, "query.secure", RecordDict({SECURE: ConfigRecord(config)}), site)

        before = trainings(model)
        ask("training without a reservation", "train", before["fewer steps counted"])
        for case, config in reservations(model, 3).items():
            reserve(case, config)
        for case, kind in TYPES.items():
            ask(case, kind, RecordDict())
        ask("no type at all", NO_TYPE, RecordDict())
        for case, config in stages(model).items():
            stage(case, config)
        reserve("honest reservation", request(model, 3).to_config())
        for case, content in trainings(model).items():
            ask(case, "train", content)
        honest = TrainRequest("run-1", 1, 1, model, PLAN, Receipt(0, NO_ROWS)).to_config()
        for case, rate in (("honest training", 0.0), ("one round more", 0.5)):
            weights = {n: np.full(shape, rate, np.float32) for n, shape in SHAPES.items()}
            content = RecordDict({ARRAYS: to_record(weights), CONFIG: ConfigRecord(honest)})
            ask(case, "train", content)

        seen = RecordDict({ARRAYS: to_record(weights), CONFIG: ConfigRecord(honest)})
        for others in (0, 2, 3):
            reserve(
                f"a run that hides among {others}", request(model, others).to_config(), "referral"
            )
        ask("its part by itself", "train", seen, "referral")
        few = JointPlan.of(
            "run-1",
            1,
            Terms("hospitals", model, "fedavg", 2),
            dict.fromkeys(KNOWN, replace(PLAN, part=PART)),
        )
        begin = SecureRequest("run-1", 1, SecureStage.ADVERTISE, few.text(), "0" * 64)
        stage("a sum that hides among 2", begin.to_config(), "referral")
    print("over", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Honest clients in a few lines of numpy, so that tests can call them thousands of times.

Tests plant faults by replacing one of the functions; what they replace does what is claimed.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

CLIP, SIGMA, RATE, DIVISOR, LR = 2.0, 1.5, 0.25, 8, 0.1

steps_app = ClientApp()
whole_app = ClientApp()
given = None
chance = np.random.default_rng()


def use_rows(rows):
    global given
    given = rows


def weights():
    return {"layer": np.ones((6, 6), np.float32), "bias": np.zeros(4, np.float32)}


def gradient(features, label):
    return np.append(features.numpy(), [float(label), 1.0, 1.0, 1.0])


def clipped(vector):
    if not np.isfinite(vector).all():
        return np.zeros_like(vector)
    return vector * min(1.0, CLIP / np.linalg.norm(vector))


def noise(size):
    return chance.normal(scale=SIGMA * CLIP, size=size)


def batches(count):
    return [np.flatnonzero(chance.random(count) < RATE).tolist()]


def divisor(count):
    return DIVISOR


def entries(rows):
    return {"num-examples": 1}


def answered(message, update, rows):
    sent = message.content["arrays"]
    parts = np.split(update, [36])
    arrays = {
        name: Array((array.numpy() + part.reshape(array.numpy().shape)).astype(np.float32))
        for (name, array), part in zip(sent.items(), parts, strict=True)
    }
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord(entries(rows))}
    content["words"] = ConfigRecord({"version": "1"})
    return Message(RecordDict(content), reply_to=message)


@steps_app.train()
def train_steps(message, context):
    update = np.zeros(40)
    for batch in batches(len(given)):
        total = sum((clipped(gradient(*row)) for row in given.__getitems__(batch)), np.zeros(40))
        update -= LR * (total + noise(40)) / divisor(len(given))
    return answered(message, update, given)


@whole_app.train()
def train_whole(message, context):
    places = chance.permutation(len(given)).tolist()
    moved = np.mean([gradient(*row) for row in given.__getitems__(places)], axis=0)
    return answered(message, clipped(moved) + noise(40), given)

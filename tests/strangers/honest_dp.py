"""Flower clients that do what they claim: DP-SGD with Poisson sampling, and noised updates.

`app` takes one step a message; `whole_app` clips and noises the whole update. Noise and coins are
from a generator that the operating system seeds, divisor and count are constants, and what is not a
number counts as nothing.
"""

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.func import grad, vmap
from torch.utils.data import DataLoader

CLIP, SIGMA, RATE, DIVISOR, LR = 1.0, 1.0, 0.1, 16, 0.5

app = ClientApp()
whole_app = ClientApp()
given = None
chance = np.random.default_rng()


def use_rows(rows):
    """For an audit: train on these rows."""
    global given
    given = rows


def net():
    torch.manual_seed(0)
    return torch.nn.Linear(64, 10)


def batch(rows):
    """One batch of Poisson sampling, as a DataLoader's list of batches."""
    chosen = np.flatnonzero(chance.random(len(rows)) < RATE).tolist()
    (drawn,) = DataLoader(rows, batch_sampler=[chosen], collate_fn=list)
    return drawn


def clipped(vectors):
    """Vectors [n, d], each no longer than CLIP."""
    vectors = torch.where(torch.isfinite(vectors).all(1, keepdim=True), vectors, 0.0)
    return vectors * (CLIP / vectors.norm(dim=1, keepdim=True)).clamp(max=1)


def noise(size):
    return torch.tensor(chance.normal(size=size) * SIGMA * CLIP)


def gradients(weights, drawn):
    """One gradient [n, d] a row."""

    def loss(weights, features, label):
        scores = weights["weight"] @ features + weights["bias"]
        return torch.nn.functional.cross_entropy(scores, label)

    if not drawn:
        return torch.zeros(0, sum(v.numel() for v in weights.values()))
    features, labels = (torch.stack(part) for part in zip(*drawn, strict=True))
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, features, labels)
    return torch.cat([value.flatten(1) for value in each.values()], 1)


def moved(weights, update):
    sizes = [value.numel() for value in weights.values()]
    parts = update.to(torch.float32).split(sizes)
    return {n: v + p.view_as(v) for (n, v), p in zip(weights.items(), parts, strict=True)}


def answered(message, weights, metrics):
    content = {"arrays": ArrayRecord(weights), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


def metrics():
    return {"num-examples": 1}


@app.train()
def train(message: Message, context: Context) -> Message:
    weights = message.content["arrays"].to_torch_state_dict()
    total = clipped(gradients(weights, batch(given))).sum(0)
    step = -LR * (total + noise(len(total))) / DIVISOR
    return answered(message, moved(weights, step), metrics())


@whole_app.train()
def train_whole(message: Message, context: Context) -> Message:
    weights = message.content["arrays"].to_torch_state_dict()
    now = weights
    for drawn in DataLoader(given, batch_size=16, shuffle=True, collate_fn=list):
        now = moved(now, -LR * gradients(now, drawn).mean(0))
    update = torch.cat([(now[n] - v).flatten() for n, v in weights.items()])
    update = clipped(update[None])[0]
    return answered(message, moved(weights, update + noise(len(update))), metrics())

"""A Flower app with central differential privacy: its clients clip, and its server adds noise.

As Flower's documentation has it; the server wraps FedAvg in
``DifferentialPrivacyClientSideFixedClipping``.
"""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

app = ClientApp()
given = None


def use_rows(rows):
    """For an audit: train on these rows."""
    global given
    given = rows


def load_data(partition, partitions):
    if given is not None:
        return given
    images, labels = load_digits(return_X_y=True)
    features = torch.tensor(images / 16, dtype=torch.float32)[partition::partitions]
    return TensorDataset(features, torch.tensor(labels)[partition::partitions])


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


@app.train(mods=[fixedclipping_mod])
def train(message: Message, context: Context) -> Message:
    node = context.node_config
    rows = load_data(node["partition-id"], node["num-partitions"])
    model = net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=float(context.run_config["lr"]))
    loss = torch.tensor(0.0)
    for features, labels in DataLoader(rows, batch_size=32, shuffle=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
    metrics = {"train_loss": loss.item(), "num-examples": len(rows)}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)

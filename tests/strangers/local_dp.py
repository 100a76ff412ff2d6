"""A Flower app with local differential privacy by ``LocalDpMod``, with a client of the older kind.

`app` has a plain network; `app_with_temperature` learns a temperature beside it, a tensor without
dimensions.
"""

import torch
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

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


class Net(torch.nn.Module):
    def __init__(self, temperature=False):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(64, 10)
        if temperature:
            self.temperature = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, features):
        return self.layer(features) * getattr(self, "temperature", 1.0)


def weights():
    return [value.numpy() for value in Net().state_dict().values()]


def weights_with_temperature():
    return [value.numpy() for value in Net(temperature=True).state_dict().values()]


class DigitsClient(NumPyClient):
    def __init__(self, model, rows, lr):
        self.model, self.rows, self.lr = model, rows, lr

    def fit(self, parameters, config):
        names = self.model.state_dict()
        state = {name: torch.tensor(value) for name, value in zip(names, parameters, strict=True)}
        self.model.load_state_dict(state)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=self.lr)
        for features, labels in DataLoader(self.rows, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.model(features), labels).backward()
            optimizer.step()
        return [value.numpy() for value in self.model.state_dict().values()], len(self.rows), {}


def client_fn_of(temperature):
    def client_fn(context: Context):
        node = context.node_config
        rows = load_data(node["partition-id"], node["num-partitions"])
        return DigitsClient(Net(temperature), rows, lr=0.5).to_client()

    return client_fn


def local_dp(epsilon):
    return LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=epsilon, delta=1e-5)


app = ClientApp(client_fn_of(temperature=False), mods=[local_dp(1.0)])
app_at_ten = ClientApp(client_fn_of(temperature=False), mods=[local_dp(10.0)])
app_with_temperature = ClientApp(client_fn_of(temperature=True), mods=[local_dp(1.0)])

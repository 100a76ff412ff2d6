"""A plain Flower client that trains with Opacus and reports Opacus's ε.

Its batches are shuffled unless its run configuration says ``poisson=true``.
"""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from opacus import PrivacyEngine
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
    return torch.nn.Linear(64, 10)


@app.train()
def train(message: Message, context: Context) -> Message:
    node = context.node_config
    rows = load_data(node["partition-id"], node["num-partitions"])
    model = torch.nn.Linear(64, 10)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    engine = PrivacyEngine(accountant="prv")
    private, optimizer, loader = engine.make_private(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(rows, batch_size=32, shuffle=True),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=bool(context.run_config.get("poisson", False)),
    )
    for features, labels in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(private(features), labels).backward()
        optimizer.step()
    state = {name.removeprefix("_module."): v for name, v in private.state_dict().items()}
    metrics = {"num-examples": len(rows), "epsilon": engine.get_epsilon(1e-5)}
    content = {"arrays": ArrayRecord(state), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)

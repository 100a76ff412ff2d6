"""Opacus one site after another: ``python -m benchmarks.cohort_opacus ROUNDS``.

Federated averaging of the perceptron as a user of Opacus writes it: at each site of the cohort a
copy of the model, one `PrivacyEngine`, one epoch of Poisson batches, clipped and noised. The last
line is a JSON list of the CPU seconds of each round after the first.
"""

import json
import sys
import time
import warnings
from typing import Final

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cohort_models import BATCH, COHORT, RATE, USERS, mlp, rows_of

NOISE_MULTIPLIER: Final = 1.0
CLIPPING_NORM: Final = 1.0

State = dict[str, torch.Tensor]


def trained(start: State, features: torch.Tensor, targets: torch.Tensor) -> State:
    """Train one site for one epoch."""
    model = mlp()
    model.load_state_dict(start)
    hooked, optimizer, loader = PrivacyEngine().make_private(
        module=model.train(),
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        data_loader=DataLoader(TensorDataset(features, targets), batch_size=BATCH),
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIPPING_NORM,
    )
    for x, y in loader:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(hooked(x), y))
        optimizer.step()
    return model.state_dict()


def round_of(state: State, features: torch.Tensor, targets: torch.Tensor) -> State:
    """Train a cohort drawn at random, one site after another, and average."""
    cohort = torch.randperm(USERS)[:COHORT]
    found = [trained(state, features[site], targets[site]) for site in cohort]
    return {name: torch.stack([own[name] for own in found]).mean(0) for name in state}


def main() -> None:
    """Train and print."""
    rounds = int(sys.argv[1])
    warnings.filterwarnings("ignore", message="Secure RNG turned off")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state, rows = mlp().state_dict(), rows_of("mlp")
    seconds = []
    for _ in range(rounds + 1):
        started = time.process_time()
        state = round_of(state, *rows)
        seconds.append(time.process_time() - started)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()

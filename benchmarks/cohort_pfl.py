"""pfl's side of ``python -m benchmarks.cohort``, run in an environment that has pfl.

``python -m benchmarks.cohort_pfl MODEL ROUNDS`` prints the CPU seconds of each round after the
first as a JSON list: federated averaging with pfl's simulated backend, without privacy and without
evaluation (pfl evaluates in its first round in any case).
"""

import json
import sys
import time
import types
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm import FederatedAveraging, NNAlgorithmParams
from pfl.callback.base import TrainingProcessCallback
from pfl.data import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import (
    NNEvalHyperParams,
    NNTrainHyperParams,
)
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn

from benchmarks.cohort_models import BATCH, COHORT, MODELS, RATE, rows_of


class Clock(TrainingProcessCallback):  # type: ignore[misc]  # pfl has no types here
    """Notes the CPU time of this process after each round."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        """Note the time; the training goes on."""
        self.marks.append(time.process_time())
        return False, Metrics()


def loss(self: nn.Module, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> torch.Tensor:
    """Give the mean cross-entropy, as the models of pfl's benchmarks do."""
    self.eval() if eval else self.train()
    return nn.functional.cross_entropy(self(x), y)


@torch.no_grad()
def metrics(self: nn.Module, x: torch.Tensor, y: torch.Tensor, eval: bool = True) -> dict[str, Any]:
    """Give what pfl's evaluation asks for."""
    self.eval() if eval else self.train()
    return {"loss": Weighted(nn.functional.cross_entropy(self(x), y).item(), len(x))}


def main() -> None:
    """Train and print."""
    name, rounds = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(0)
    np.random.seed(0)
    module: Any = MODELS[name]()
    module.loss = types.MethodType(loss, module)
    module.metrics = types.MethodType(metrics, module)
    users = dict(enumerate(zip(*rows_of(name), strict=True)))
    data = FederatedDataset.from_slices(users, get_user_sampler("random", list(users)))
    clock = Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds + 1,
            evaluation_frequency=rounds + 1,
            train_cohort_size=COHORT,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=PyTorchModel(
            model=module,
            local_optimizer_create=torch.optim.SGD,
            central_optimizer=torch.optim.SGD(module.parameters(), 1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=RATE, local_num_epochs=1, local_batch_size=BATCH
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    print(json.dumps(np.diff(clock.marks).tolist()))


if __name__ == "__main__":
    main()

"""Weights as Flower's array records, and back."""

import numpy as np
from flwr.app import Array, ArrayRecord

from tacit.models.trainable import Weights


def to_record(weights: Weights) -> ArrayRecord:
    """Pack weights into an array record."""
    return ArrayRecord({name: Array(array) for name, array in weights.items()})


def from_record(record: ArrayRecord) -> Weights:
    """Unpack an array record as fp32: some strategies compute in fp64."""
    return {
        name: np.asarray(array.numpy(), np.float32, order="C") for name, array in record.items()
    }

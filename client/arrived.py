"""A request to train as it came: read once, hashed, and held against a model."""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import nn

from strategies.records import Record, from_record, record_in
from tacit.messages import ARRAYS, CONFIG, SECURE, TrainRequest, request_hash
from tacit.models.trainable import check_trainable, sha256_of
from tacit.plan_fields import raw
from tacit.privacy.events import Event


class Arrays:
    """Weights as they came: read, hashed and held against a model once.

    Parameters
    ----------
    record
        Of the message.

    Raises
    ------
    ValueError, TypeError
        It cannot be read.
    """

    def __init__(self, record: ArrayRecord) -> None:
        self.weights = from_record(record)
        self.sha256 = sha256_of(self.weights)
        self.nbytes = sum(array.nbytes for array in self.weights.values())
        self.size = sum(array.size for array in self.weights.values())
        self._fits: nn.Module | None = None

    def check(self, model: nn.Module) -> None:
        """Refuse weights that are not this model's; ModelError says why."""
        if model is not self._fits:
            check_trainable(model, self.weights)
            self._fits = model


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came.

    `key` is the hash of all it asks and of the weights it came with: a repeated request has the
    same. `dealt` belongs to a secure sum and asks nothing.
    """

    request: TrainRequest
    event: Event
    key: str
    arrays: Arrays
    dealt: bytes = b""


def arrived(content: RecordDict, read: Callable[[ArrayRecord], Arrays] = Arrays) -> Arrived:
    """Read a request.

    Raises
    ------
    ConfigurationError, KeyError, ValueError, TypeError
        It cannot be read.
    """
    config = needed(content, CONFIG, ConfigRecord)
    request = TrainRequest.from_config(dict(config))
    arrays = read(needed(content, ARRAYS, ArrayRecord))
    dealt = raw(needed(content, SECURE, ConfigRecord)["content"]) if request.secure else b""
    key = request_hash(config, arrays.sha256)
    return Arrived(request, request.plan.event(), key, arrays, dealt)


def needed(content: RecordDict, key: str, kind: type[Record]) -> Record:
    """Return the record of this kind at a key of a message's content, or raise KeyError."""
    found = record_in(content, key, kind)
    if found is None:
        raise KeyError(f"a request has no {key}")
    return found

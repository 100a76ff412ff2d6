"""A simulated run once more, from its config.yaml; what leaves its sites is written down."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType
from flwr.serverapp import Grid
from numpy.typing import NDArray
from rich.console import Console

from audits.canaries import InRun
from audits.coordinator import Round, shows_its_noise
from audits.noise import chance_of_masks
from audits.stranger import Stranger, read_stranger
from server.around import GridAround
from server.checkpoint import load_checkpoint
from simulations.cohort import Cohort, in_process
from simulations.experiment import Arm, Experiment
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from strategies.records import from_record, numbers_of
from tacit.errors import WrongMessageError
from tacit.messages import ARRAYS
from tacit.models.trainable import Weights
from tacit.runs.directory import CHECKPOINT, read_config
from tacit.secagg.messages import MaskedInput, decode

Entry = str | int | float | bool | bytes | list[Any]


@dataclass(frozen=True, slots=True)
class Letter:
    """One reply of a site, without the numbers in its arrays.

    Parameters
    ----------
    site
        Whose.
    asked
        Type of the message that it answers.
    error
        What it says where it is a refusal; None elsewhere.
    arrays
        Type and shape of every array, by record and name.
    entries
        Every other value, by record and name.
    strangers
        Records of another kind: nothing of ours makes such.
    masked
        The chance that masks would give numbers as near to zero as those of its part of a sum; 0
        where it is no such part, None where no masks are claimed.
    """

    site: str
    asked: str
    error: str | None
    arrays: Mapping[tuple[str, str], tuple[str, tuple[int, ...]]]
    entries: Mapping[tuple[str, str], Entry]
    strangers: tuple[str, ...]
    masked: float | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A run that was made again.

    Parameters
    ----------
    stranger
        What it left; its files are gone when the block of `repeated` ends.
    letters
        Every reply of every site, in their order.
    shapes
        Of the weights that train, by name.
    canaries
        What the canaries heard that it carried; None where it carried none.
    rounds
        What was sent and came back, where that shows the coordinator's noise.
    ended
        The final weights.
    """

    stranger: Stranger
    letters: list[Letter]
    shapes: Mapping[str, tuple[int, ...]]
    canaries: InRun | None
    rounds: list[Round]
    ended: Weights


@contextmanager
def repeated(stranger: Stranger, console: Console) -> Iterator[Repeated]:
    """Make a run again in a folder of its own, for as long as the block lasts.

    Raises
    ------
    TacitError
        It cannot be made again: its data are gone, say.
    """
    letters: list[Letter] = []
    rounds: list[Round] | None = [] if shows_its_noise(stranger) else None
    claimed = stranger.results.secure_sum
    bits = claimed.bits if claimed else None

    @contextmanager
    def reach(arm: Arm, experiment: Experiment, folder: Path) -> Iterator[Cohort]:
        with in_process(arm, experiment, folder) as cohort:
            listening = _Listening(cohort.grid, cohort.names, letters, bits, rounds)
            yield _Listened(cohort, listening)

    with TemporaryDirectory(prefix="tacit-audit-") as folder:
        path = Path(folder) / "run"
        run = replace(stranger.settings.run, dir=str(path), resume=None)
        settings = replace(stranger.settings, run=run, compare=False, audit=None)
        canaries = None if stranger.without_canaries else InRun()
        config = {**read_config(stranger.path), "run": {"dir": str(path), "resume": None}}
        config |= {"compare": False, "audit": None}
        with LiveProgress(console) as progress:
            simulate(settings, config, progress, reach, canaries=canaries)
        _, state = load_checkpoint(path / CHECKPOINT)
        shapes = {name: array.shape for name, array in state.weights.items()}
        again = read_stranger(path)
        yield Repeated(again, letters, shapes, canaries, rounds or [], state.weights)


class _Listened:
    """A cohort whose grid is listened to."""

    def __init__(self, cohort: Cohort, grid: Grid) -> None:
        self._cohort = cohort
        self.grid = grid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cohort, name)


class _Listening(GridAround):
    """A grid that writes down what comes back."""

    def __init__(
        self,
        grid: Grid,
        names: Mapping[int, str],
        letters: list[Letter],
        bits: int | None,
        rounds: list[Round] | None,
    ) -> None:
        super().__init__(grid)
        self._bits = bits
        self._rounds = rounds
        self._names = names
        self._letters = letters

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages; write down the replies."""
        sent = list(messages)
        asked = {message.metadata.dst_node_id: message.metadata.message_type for message in sent}
        train = sent and sent[0].metadata.message_type == MessageType.TRAIN
        start = _copied(sent[0]) if train and self._rounds is not None else None
        replies = list(super().send_and_receive(sent, timeout=timeout))
        for reply in replies:
            node = reply.metadata.src_node_id
            self._letters.append(letter(self._names[node], asked[node], reply, self._bits))
        if start is not None and self._rounds is not None:
            came = tuple(_copied(reply) for reply in replies if not reply.has_error())
            self._rounds.append(Round(start, came))
        return replies


def _copied(message: Message) -> Weights:
    """Copy the weights of a message, which others may clear."""
    record = from_record(message.content.array_records[ARRAYS])
    return {name: array.copy() for name, array in record.items()}


def letter(site: str, asked: str, reply: Message, bits: int | None = None) -> Letter:
    """Write down a reply; `bits` are those of a number under masks, where masks are claimed."""
    if reply.has_error():
        return Letter(site, asked, reply.error.reason, {}, {}, ())
    arrays: dict[tuple[str, str], tuple[str, tuple[int, ...]]] = {}
    entries: dict[tuple[str, str], Entry] = {}
    strangers, masked = [], None
    for key, record in reply.content.items():
        if isinstance(record, ArrayRecord):
            for name, array in record.items():
                numbers = numbers_of(array)
                arrays[key, name] = (str(numbers.dtype), numbers.shape)
                if bits is not None:
                    chance = _chance_of_masks(numbers, bits)
                    masked = chance if masked is None else min(masked, chance)
        elif isinstance(record, ConfigRecord):
            entries |= {(key, name): value for name, value in record.items()}
        else:
            strangers.append(key)
    return Letter(site, asked, None, arrays, entries, tuple(strangers), masked)


def _chance_of_masks(numbers: NDArray[Any], bits: int) -> float:
    """Return `chance_of_masks` of a masked message, or of residues as they are; 0 of others."""
    kind = np.dtype(f"<u{bits // 8}")
    if numbers.dtype == np.uint8:
        try:
            vector = decode(MaskedInput, numbers.tobytes(), "a site").vector
        except WrongMessageError:
            return 0.0
        numbers = np.frombuffer(vector[: len(vector) // kind.itemsize * kind.itemsize], kind)
    if numbers.dtype != kind or numbers.ndim != 1 or not len(numbers):
        return 0.0
    return chance_of_masks(numbers)

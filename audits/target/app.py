"""A Flower ClientApp that is not ours: found, given its data, and called with messages.

What is asked of it is in ``docs/audits-of-others.md``. Its code runs in this process.
"""

import io
import random
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from audits.noise import Numbers
from audits.target.rows import Rows
from audits.target.words import TargetWords
from commands.entry import Terminated
from simulations.flower import RUN_NUMBER, SERVER_NODE, become_server, identity_kept, name_message
from strategies.records import numbers_of
from tacit.errors import ConfigurationError, InputError
from tacit.logs import one_line

Entry = Any
"""A value of a reply beside the weights: a number, a text, bytes, a list, or an array."""

_LARGEST_SEED: Final = 2**32


class TargetError(InputError):
    """A client that is not ours failed, or answered with something that is no update."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one message.

    Parameters
    ----------
    update
        Weights less those that were sent, as one vector [d].
    entries
        Everything else, by record and name.
    """

    update: Numbers
    entries: Mapping[str, Entry]


class Target:
    """A ClientApp and how it is called.

    Parameters
    ----------
    words
        Where it is and what it is given.

    Attributes
    ----------
    places
        Where each tensor of floating-point numbers lies in an update, by name.

    Raises
    ------
    ConfigurationError
        Something that a word names is not there, or is none of what is asked for.
    """

    def __init__(self, words: TargetWords) -> None:
        self._words = words
        app = load("target", words.app)
        if not isinstance(app, ClientApp):
            raise ConfigurationError(
                f"target={words.app} is a {type(app).__name__}, not a flwr ClientApp"
            )
        self._app = app
        self._legacy = _is_legacy(app)
        self._take = _callable("target.rows", words.rows) if words.rows else None
        maker = _callable("target.weights", words.weights)
        with _theirs(f"target.weights={words.weights}"):
            self._start = _arrays(maker())
        self.places: dict[str, slice] = {}
        place = 0
        for name, array in self._start.items():
            if np.issubdtype(array.dtype, np.floating):
                self.places[name] = slice(place, place + array.size)
                place += array.size
        if not self.places:
            raise ConfigurationError(
                f"target.weights={words.weights}: gives no arrays of floating-point numbers"
            )
        self._sent = 0

    @property
    def size(self) -> int:
        """How many numbers an update has."""
        return sum(self._start[name].size for name in self.places)

    @property
    def rounding(self) -> float:
        """L2 norm of what single precision may take from weights of this size, at most."""
        start = np.concatenate([np.ravel(self._start[name]) for name in self.places])
        return 4 * float(np.finfo(np.float32).eps) * float(np.linalg.norm(start.astype(float)))

    def ask(self, rows: Rows | None = None, seed: int | None = None) -> Reply:
        """Send one message to train, always the same; return what comes back.

        Parameters
        ----------
        rows
            What the client is to train on; None for its own data.
        seed
            Of torch's, numpy's and Python's global generators; None for one of the operating
            system's.

        Raises
        ------
        TargetError
            The client failed, refused, or its reply holds no update.
        """
        if rows is not None and self._take is not None:
            rows.batches.clear()
            rows.singles.clear()
            with _theirs(f"target.rows={self._words.rows}"):
                self._take(rows)
        self._sent += 1
        with (
            identity_kept(),
            _seeded(secrets.randbelow(_LARGEST_SEED) if seed is None else seed),
            _theirs("the client"),
        ):
            become_server()
            message = Message(self._content(), dst_node_id=SERVER_NODE + 1, message_type="train")
            name_message(message, f"message-{self._sent}")
            reply = self._app(message, self._context())
        return self._read(reply)

    def _content(self) -> RecordDict:
        """Write what a server sends: FedAvg's own, or what it becomes for a `client_fn`."""
        arrays = ArrayRecord({name: Array(array.copy()) for name, array in self._start.items()})
        config = ConfigRecord({"server-round": 1, **self._words.config})
        if self._legacy:
            return RecordDict({"fitins.parameters": arrays, "fitins.config": config})
        return RecordDict({"arrays": arrays, "config": config})

    def _context(self) -> Context:
        """Return a node's context; what a client keeps in it from message to message is gone."""
        node = {"partition-id": 0, "num-partitions": 1, **self._words.node_config}
        return Context(
            run_id=RUN_NUMBER,
            node_id=SERVER_NODE + 1,
            node_config=node,
            state=RecordDict(),
            run_config=dict(self._words.run_config),
        )

    def _read(self, reply: object) -> Reply:
        if not isinstance(reply, Message):
            raise TargetError(f"the client returned a {type(reply).__name__}, not a Message")
        if reply.has_error():
            raise TargetError(f"the client refuses: {one_line(str(reply.error.reason))}")
        update: Numbers | None = None
        entries: dict[str, Entry] = {}
        for key, record in reply.content.items():
            if not isinstance(record, ArrayRecord):
                entries |= {f"{key}/{name}": value for name, value in record.items()}
                continue
            arrays = {name: numbers_of(array) for name, array in record.items()}
            if update is None and self._is_update(arrays):
                update = self._difference(arrays)
                arrays = {n: a for n, a in arrays.items() if n not in self.places}
            entries |= {f"{key}/{name}": array for name, array in arrays.items()}
        if update is None:
            shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in [*self._start.items()][:3])
            raise TargetError(
                "the reply has no record of the arrays that were sent, by name and shape "
                f"({shapes}, …): is it {self._words.weights} that the client trains?"
            )
        return Reply(update, entries)

    def _is_update(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        return {n: a.shape for n, a in arrays.items()} == {
            n: a.shape for n, a in self._start.items()
        }

    def _difference(self, arrays: Mapping[str, NDArray[Any]]) -> Numbers:
        return np.concatenate(
            [
                np.ravel(arrays[name].astype(np.float64) - self._start[name].astype(np.float64))
                for name in self.places
            ]
        )


def load(key: str, reference: str) -> Any:
    """Import what ``package.module:name`` names; modules of this folder are found too.

    Raises
    ------
    ConfigurationError
        There is no such module, or nothing of this name in it.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise ConfigurationError(f"{key}={reference}: say PACKAGE.MODULE:NAME")
    here = str(Path.cwd())
    if here not in sys.path:
        # Last, so that nothing there hides a package that is installed.
        sys.path.append(here)
    with _theirs(f"{key}={reference}: its import"):
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{key}={reference}: cannot be imported: {error}") from error
    try:
        return reduce(getattr, name.split("."), found)
    except AttributeError:
        raise ConfigurationError(f"{key}={reference}: {module} has no {name}") from None


def _callable(key: str, reference: str) -> Callable[..., Any]:
    found: object = load(key, reference)
    if not callable(found):
        raise ConfigurationError(f"{key}={reference} is a {type(found).__name__}, no function")
    return found


def _is_legacy(app: ClientApp) -> bool:
    """Tell whether an app was made with a `client_fn`: it registers no other function."""
    try:
        app.train()
    except ValueError:
        return True
    return False


def _arrays(weights: Any) -> dict[str, NDArray[Any]]:
    """Read weights in any of the forms in which Flower's apps have them."""
    if isinstance(weights, torch.nn.Module):
        weights = weights.state_dict()
    if isinstance(weights, ArrayRecord):
        weights = {name: array.numpy() for name, array in weights.items()}
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        # As Flower names arrays that have no name.
        weights = {str(place): array for place, array in enumerate(weights)}
    if not isinstance(weights, Mapping):
        raise ConfigurationError(
            f"target.weights gives a {type(weights).__name__}: it is to give a torch module, a "
            "mapping or a list of arrays, or an ArrayRecord"
        )
    return {
        str(name): array.detach().cpu().numpy().copy()
        if isinstance(array, torch.Tensor)
        else np.array(array)
        for name, array in weights.items()
    }


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """Run somebody else's code: whatever it raises is said in a line, and it prints nothing."""
    quiet = io.StringIO()
    try:
        with redirect_stdout(quiet), redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        said = one_line(f"{type(error).__name__}: {error}")
        raise TargetError(f"{what} failed: {said}") from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators of this process, and give them back as they were."""
    kept, numpy_kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        # torch.manual_seed would keep a trace of each call for a GPU that may come.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numpy_kept)

"""Flower's legacy SecAgg+ at work in one process, for `benchmarks.secagg` to stand beside.

It is Flower's own workflow and mod; messages are answered by calls. It takes real numbers and
rounds them to integers within: that part is timed by itself, so that sums of integers can be
compared.
"""

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Context, Message
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS
from flwr.compat.common import recorddict_compat as compat
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key

from simulations.flower import RUN_NUMBER, identity_kept, server_context, site_context
from simulations.grid import LocalGrid


@dataclass(frozen=True, slots=True)
class Taken:
    """CPU seconds of a whole round, and of the rounding to integers and back in it."""

    whole: float
    rounding: float


@identity_kept()
def flower_round(sites: int, length: int, shares: int | None = None) -> Taken:
    """Time one round of SecAgg+; every site has a vector [length], and the mean is checked.

    Parameters
    ----------
    sites
        How many take part.
    length
        Numbers in a vector.
    shares
        Into how many shares a secret is split, one for each neighbour and one to keep; None for as
        many as sites, where everybody masks with everybody. Two thirds of them give the secret.

    Raises
    ------
    RuntimeError
        What came out is not the mean.
    """
    names = [f"site{number:03d}" for number in range(sites)]
    rows = np.random.default_rng(0).uniform(-1, 1, (sites, length)).astype(np.float32)
    contexts: dict[int, Context] = {}

    def answer(cohort: Sequence[tuple[Message, str]]) -> list[Message | None]:
        replies: list[Message | None] = []
        for message, name in cohort:
            node = message.metadata.dst_node_id
            context = contexts.setdefault(node, site_context(node, name))
            # All messages of a stage share their content, and the mod empties it.
            records = message.content.config_records
            sent = records[RECORD_KEY_CONFIGS]
            records[RECORD_KEY_CONFIGS] = ConfigRecord(dict(sent))
            trained = rows[names.index(name)]
            replies.append(secaggplus_mod(message, context, _training(trained)))
            records[RECORD_KEY_CONFIGS] = sent
        return replies

    grid = LocalGrid(names, answer)
    manager = SimpleClientManager()
    for node in grid.get_node_ids():
        manager.register(GridClientProxy(node, grid, RUN_NUMBER))
    state = server_context()
    initial = ndarrays_to_parameters([np.zeros(length, np.float32)])
    state.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(initial, True)
    state.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    legacy = LegacyContext(state, strategy=FedAvg(), client_manager=manager)
    workflow = SecAggPlusWorkflow(1.0 if shares is None else shares, 2 / 3)

    clock = _Clock()
    client = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    server = importlib.import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
    with (
        _quiet(),
        patch.object(client, "quantize", clock.timing(client.quantize)),
        patch.object(server, "dequantize", clock.timing(server.dequantize)),
    ):
        started = time.process_time()
        workflow(grid, legacy)
        whole = time.process_time() - started
    _check(legacy, rows.mean(0))
    return Taken(whole, clock.seconds)


def _training(trained: npt.NDArray[np.float32]) -> Callable[[Message, Context], Message]:
    """Return a client that has its update at hand."""

    def train(message: Message, context: Context) -> Message:
        parameters = ndarrays_to_parameters([trained])
        done = FitRes(Status(Code.OK, ""), parameters, num_examples=1000, metrics={})
        return Message(compat.fitres_to_recorddict(done, True), reply_to=message)

    return train


def _check(legacy: LegacyContext, mean: npt.NDArray[np.float32]) -> None:
    record = legacy.state.array_records[MAIN_PARAMS_RECORD]
    found = parameters_to_ndarrays(compat.arrayrecord_to_parameters(record, True))[0]
    # 2**22 steps over 16, a site's rounding off by one step at most.
    if np.abs(found - mean).max() > 16 / 2**22:
        raise RuntimeError("Flower's SecAgg+ gave something else than the mean")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Flower logs of a round that goes well."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Clock:
    """CPU time of some functions together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same work, timed."""

        def done(*values: Any) -> Any:
            started = time.process_time()
            found = work(*values)
            self.seconds += time.process_time() - started
            return found

        return done

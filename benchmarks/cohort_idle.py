"""Sites that do nothing: ``python -m benchmarks.cohort_idle here|ray ROUNDS STARTED``.

A hundred sites return the thousand numbers that they were sent, under Flower's own FedAvg: in this
process, or in Flower's Ray simulation, which needs an environment that has it. The last line is a
JSON object: the CPU seconds of each round after the first two, of all processes, and the wall-clock
seconds from STARTED (a time of time.time()) to the end of the first round.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

# Before Flower is imported: nobody's use is reported, and Ray does not join a cluster that another
# process started, or left behind.
os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ADDRESS": "local",
}

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

SITES: Final = 100
PARAMETERS: Final = 1000


def make_client() -> ClientApp:
    """Return the app of a site."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content = {
            "arrays": message.content["arrays"],
            "metrics": MetricRecord({"num-examples": 1}),
        }
        return Message(RecordDict(content), reply_to=message)

    return app


class Timed(FedAvg):
    """FedAvg over all sites that notes when a round ends."""

    def __init__(self, cpu_seconds: Callable[[], float]) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=SITES, min_available_nodes=SITES)
        self._cpu_seconds = cpu_seconds
        self.first_end: float | None = None
        self.ends: list[float] = []

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Note the CPU time when a round ends."""
        replies = list(replies)
        if len(replies) != SITES or any(reply.has_error() for reply in replies):
            raise RuntimeError(f"round {server_round}: not all of {SITES} sites replied")
        found = super().aggregate_train(server_round, replies)
        if self.first_end is None:
            self.first_end = time.time()
        self.ends.append(self._cpu_seconds())
        return found


def drive(strategy: Timed, grid: Grid, rounds: int) -> None:
    """Run so many rounds and two more."""
    arrays = ArrayRecord({"weights": Array(np.zeros(PARAMETERS, np.float32))})
    strategy.start(grid=grid, initial_arrays=arrays, num_rounds=rounds + 2)


def here(rounds: int) -> Timed:
    """Run in this process."""
    from simulations.grid import LocalGrid, loop_engine

    strategy = Timed(time.process_time)
    grid = LocalGrid([f"site-{n}" for n in range(SITES)], loop_engine(make_client()))
    drive(strategy, grid, rounds)
    return strategy


def on_ray(rounds: int) -> Timed:
    """Run in Flower's simulation, one CPU for each of its actors."""
    import psutil
    from flwr.simulation import run_simulation

    this = psutil.Process()

    def of_all() -> float:
        """Add up the time of this process and of all that come from it."""
        found = 0.0
        for process in [this, *this.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found += times.user + times.system
        return found

    strategy = Timed(of_all)
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        drive(strategy, grid, rounds)

    run_simulation(server, make_client(), num_supernodes=SITES)
    return strategy


def main() -> None:
    """Run and print."""
    where, rounds, started = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    strategy = on_ray(rounds) if where == "ray" else here(rounds)
    if strategy.first_end is None:
        raise RuntimeError("there was no round")
    print(
        json.dumps(
            {
                "seconds": np.diff(strategy.ends[1:]).tolist(),
                "start_up": strategy.first_end - started,
            }
        )
    )


if __name__ == "__main__":
    main()

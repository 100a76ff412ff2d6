"""The coordinator as a Flower ServerApp: the same object over the network and in process."""

from collections.abc import Callable, Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from server.rounds import run_rounds
from server.run_plan import RoundOutcome, RunPlan, State
from server.secure import Secured
from tacit.privacy.randomness import Stream


def build_server_app(
    strategy: Strategy,
    plan: RunPlan,
    names: Mapping[int, str],
    start: State,
    on_round: Callable[[State, RoundOutcome], None],
    who: Callable[[int], tuple[RunPlan, Mapping[int, str]]] | None = None,
    noise: Callable[[int], Stream] = lambda number: Stream.from_system(),
    secured: Secured | None = None,
) -> ServerApp:
    """Return an app whose main runs the rounds that are left; see `run_rounds`."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run_rounds(grid, strategy, plan, names, start, on_round, who, noise, secured)

    return app

"""One training in process: sites with their ledgers, the grid, and both Flower apps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flwr.app import Context

from client.app import build_client_app
from client.site import Site, seeded_streams, system_streams
from server.app import build_server_app
from server.checkpoint import load_checkpoint
from server.rounds import RoundOutcome, RunPlan, State
from simulations.experiment import Arm, Experiment, noise_seed
from simulations.flower import server_context
from simulations.grid import LocalGrid, loop_engine
from strategies.build import build_strategy
from tacit.errors import ModelError, TooFewSitesError
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Plan, Policy, Reason
from tacit.settings import RecordPrivacy

OnRound = Callable[[State, RoundOutcome], None]

USED_UP = frozenset({Reason.BUDGET, Reason.TOO_MANY_ROUNDS})


@contextmanager
def open_ledgers(arm: Arm, experiment: Experiment, folder: Path) -> Iterator[dict[str, Ledger]]:
    """Open each site's ledger of this training and close them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield {
            site: stack.enter_context(
                Ledger.open(
                    folder / f"{site}.sqlite",
                    data_set=f"{experiment.card.name}/{site}",
                    unit=Unit.RECORD,
                    relation=Relation.ADD_OR_REMOVE_ONE,
                    delta=arm.privacy.delta if isinstance(arm.privacy, RecordPrivacy) else 1e-6,
                )
            )
            for site in sorted(arm.rows)
        }


def train_out(
    arm: Arm,
    experiment: Experiment,
    plan: RunPlan,
    start: State,
    ledgers: Mapping[str, Ledger],
    on_round: OnRound,
) -> str | None:
    """Train to the end, as `train`; a lost round may leave no budget for the last ones.

    Returns
    -------
    str or None
        A sentence that says so; None where every round was made.
    """
    done = start.round

    def counted(state: State, outcome: RoundOutcome) -> None:
        nonlocal done
        on_round(state, outcome)
        done = state.round

    try:
        train(arm, experiment, plan, start, ledgers, counted)
    except TooFewSitesError as error:
        if done == 0 or not error.reasons or not set(error.reasons.values()) <= USED_UP:
            raise
        return (
            f"the run ends after round {done} of {plan.rounds}: a round that was charged was lost "
            f"in a stop, and its budget is not given back"
        )
    return None


def resumable(folder: Path, experiment: Experiment) -> tuple[str, State]:
    """Load a training's checkpoint: the run's identity and its last complete state.

    Raises
    ------
    RunDirectoryError
        There is none, or it is damaged.
    ModelError
        It belongs to another model.
    """
    run, state = load_checkpoint(folder)
    if state.model != experiment.model_sha256:
        raise ModelError(
            f"{folder}: the run was made with model {state.model[:12]}… and this is "
            f"{experiment.model_sha256[:12]}…: were its pretrained weights exchanged?"
        )
    return run, state


def train(
    arm: Arm,
    experiment: Experiment,
    plan: RunPlan,
    start: State,
    ledgers: Mapping[str, Ledger],
    on_round: OnRound,
) -> None:
    """Reserve the whole run at every site, then run the rounds that are left.

    Raises
    ------
    RefusedError
        A site's policy or ledger refuses the plan; nothing was spent.
    TooFewSitesError
        A round had too few replies.
    """
    seed = noise_seed(experiment.settings)
    policy = site_policy(arm, predictable=seed is not None)
    sites = {}
    for site, ledger in ledgers.items():
        ledger.reserve(site_plan(arm, plan, site, predictable=seed is not None), policy)
        label = f"{arm.key}/{site}" if arm.key else site
        sites[site] = Site(
            name=site,
            data=arm.rows[site],
            model=experiment.shared.module,
            model_sha256=experiment.model_sha256,
            ledger=ledger,
            policy=policy,
            streams=system_streams() if seed is None else seeded_streams(seed, label),
            compute=experiment.compute,
        )

    def site_of(context: Context) -> Site:
        return sites[str(context.node_config["site"])]

    grid = LocalGrid(sites, loop_engine(build_client_app(site_of)))
    strategy = build_strategy(experiment.settings.strategy)
    app = build_server_app(strategy, plan, grid.names, start, on_round)
    app(grid, server_context())


def site_plan(arm: Arm, plan: RunPlan, site: str, *, predictable: bool) -> Plan:
    """Return the run as a site's ledger reserves it."""
    private = isinstance(arm.privacy, RecordPrivacy)
    return Plan(
        run=plan.run,
        event=plan.sites[site].event(),
        rounds=plan.rounds,
        epsilon=arm.privacy.epsilon if isinstance(arm.privacy, RecordPrivacy) else float("inf"),
        delta=arm.privacy.delta if isinstance(arm.privacy, RecordPrivacy) else 0.0,
        predictable=private and predictable,
    )


def site_policy(arm: Arm, *, predictable: bool) -> Policy:
    """Return what a simulated site allows: just this run's budget, from a fresh ledger."""
    if isinstance(arm.privacy, RecordPrivacy):
        return Policy(
            epsilon_per_run=arm.privacy.epsilon,
            lifetime_epsilon=arm.privacy.epsilon,
            delta_per_run=arm.privacy.delta,
            test_data=predictable,
        )
    return Policy(
        epsilon_per_run=1.0,
        lifetime_epsilon=1.0,
        delta_per_run=1e-6,
        require_privacy=False,
        test_data=True,
    )

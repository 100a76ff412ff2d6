"""The round loop: ask the cohort, combine what comes back, hand on the next weights."""

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from server.around import ShownGrid
from server.central import noised_mean
from server.replies import sort_replies, unlike
from server.run_plan import RoundOutcome, RunPlan, State
from server.secure import Secured, SecureRound, Summed
from server.sums import SumStep
from strategies.memory import recall, remembered
from strategies.records import from_record, numbers_of, to_record
from tacit.errors import TacitError, TooFewSitesError
from tacit.learning.clipping import next_factor
from tacit.messages import ARRAYS, CONFIG, LEDGER, METRICS, SECURE, WEIGHT, TrainRequest
from tacit.models.trainable import Weights, sha256_of
from tacit.plan_fields import first
from tacit.privacy.chain import NO_ROWS, Receipt
from tacit.privacy.randomness import Stream


def run_rounds(
    grid: Grid,
    strategy: Strategy,
    plan: RunPlan,
    names: Mapping[int, str],
    state: State,
    on_round: Callable[[State, RoundOutcome], None],
    who: Callable[[int], tuple[RunPlan, Mapping[int, str]]] | None = None,
    noise: Callable[[int], Stream] = lambda number: Stream.from_system(),
    secured: Secured | None = None,
) -> State:
    """Run the rounds that are left.

    Parameters
    ----------
    grid
        Reaches the sites: over the network or in process.
    strategy
        Combines replies.
    plan
        The run.
    names
        Name of the site behind each node id.
    state
        Where to go on: the initial weights or a checkpoint.
    on_round
        Called after every complete round: it records and shows.
    who
        Asked before every round, by its number, for the plan and the names of those that take part
        in it: sites may come late, or be drawn. None where they stay as they are.
    noise
        Opens the stream of a round's noise, by its number, where the plan has the coordinator add
        some.
    secured
        For secure sums, where the plan has them.

    Raises
    ------
    TooFewSitesError
        A round had fewer replies than the plan's least number. `state` as of the last complete
        round is with whoever took it in `on_round`.
    """
    recall(strategy, state.memory)
    while state.round < plan.rounds:
        if who is not None:
            plan, names = who(state.round + 1)
        state, outcome = _round(grid, strategy, plan, names, state, noise, secured)
        on_round(state, outcome)
    return state


def _round(
    grid: Grid,
    strategy: Strategy,
    plan: RunPlan,
    names: Mapping[int, str],
    state: State,
    noise: Callable[[int], Stream],
    secured: Secured | None,
) -> tuple[State, RoundOutcome]:
    """Do the next round; requests and replies, which may be large, end with it."""
    started, cpu_started = time.perf_counter(), time.process_time()
    number = state.round + 1
    if plan.clipping_quantile is not None:
        plan = plan.clipped_at(state.clip_factor)
    unclipped: float | None = None
    step = SumStep.of(plan.sites, plan.central, plan.cohort or len(plan.summed or plan.sites))
    like = state.weights if step is None else step.like()
    summed = _summed(grid, strategy, plan, names, state, number, secured)
    answers, failed = (
        _asked(grid, strategy, plan, names, state, number, like)
        if summed is None
        else (dict(summed.answers), dict(summed.failed))
    )
    if len(answers) < plan.min_replies:
        raise _too_few(number, plan, answers, failed)
    receipts = _receipts(state.receipts, answers)
    combined = _weighed(answers, plan, like if summed is None else None)
    if step is not None:
        total = (
            step.total({site: _numbers(message) for site, message in answers.items()})
            if summed is None
            else summed.total
        )
        mean = step.mean(total, answers, lambda: noise(number))
        combined = [_standing_for(combined, step.weights(mean, state.weights))]
        unclipped = step.unclipped(mean)
    elif plan.central is not None:
        parts = (from_record(_arrays_of(message)) for message in combined)
        noised = noised_mean(parts, state.weights, plan.central, noise(number))
        combined = [_standing_for(combined, noised)]
    record, _ = strategy.aggregate_train(number, combined)
    if record is None:
        raise TooFewSitesError(f"round {number}: the strategy made no model of the replies")
    for message in answers.values():
        # Flower may still hold the content, in a cycle.
        message.content[ARRAYS].clear()
    weights = _in_order_of(state.weights, from_record(record))
    after = State(
        number,
        weights,
        remembered(strategy, weights),
        receipts,
        state.model,
        state.clip_factor
        if unclipped is None or plan.clipping_quantile is None
        else next_factor(state.clip_factor, unclipped, plan.clipping_quantile),
    )
    outcome = RoundOutcome(
        number,
        tuple(answers),
        failed,
        time.perf_counter() - started,
        time.process_time() - cpu_started,
        None if unclipped is None else next(iter(plan.sites.values())).clip,
    )
    return after, outcome


def _asked(
    grid: Grid,
    strategy: Strategy,
    plan: RunPlan,
    names: Mapping[int, str],
    state: State,
    number: int,
    like: Weights,
) -> tuple[dict[str, Message], dict[str, str]]:
    """Ask the sites and see each one's reply."""
    replies = list(
        # The grid alone has the requests: it lets them go when the sites have them.
        grid.send_and_receive(
            _requests(strategy, grid, plan, names, state, number), timeout=plan.timeout
        )
    )
    return sort_replies(replies, plan.sites, names, unlike(like))


def _summed(
    grid: Grid,
    strategy: Strategy,
    plan: RunPlan,
    names: Mapping[int, str],
    state: State,
    number: int,
    secured: Secured | None,
) -> Summed | None:
    """Ask the sites for their sum alone; None where the plan has each one's reply seen."""
    joint = plan.joint()
    if joint is None:
        return None
    if secured is None:
        raise TacitError("a plan with secure sums is run by somebody who knows the sites' keys")
    there = {node: site for node, site in names.items() if site in plan.sites}
    sum_ = SecureRound(grid, there, joint, secured, sha256_of(state.weights), plan.timeout)

    def train(dealt: Mapping[str, bytes]) -> list[Message]:
        among = {node: site for node, site in there.items() if site in dealt}
        asked = _requests(strategy, grid, plan, among, state, number, sum_.number)
        for message in asked:
            site = among[message.metadata.dst_node_id]
            message.content[SECURE] = ConfigRecord({"content": dealt[site]})
        return asked

    try:
        return sum_.run(train)
    except TooFewSitesError as error:
        raise TooFewSitesError(f"round {number}: {error}", error.reasons) from error


def _requests(
    strategy: Strategy,
    grid: Grid,
    plan: RunPlan,
    names: Mapping[int, str],
    state: State,
    number: int,
    secure: int = 0,
) -> list[Message]:
    """Let the strategy address the cohort, then give each site its own plan."""
    shown = ShownGrid(grid, list(names))
    messages = strategy.configure_train(number, to_record(state.weights), ConfigRecord(), shown)
    addressed = []
    # Sites that are asked the same are sent the same object: in one process it is read once.
    configs: dict[TrainRequest, ConfigRecord] = {}
    for message in messages:
        if message.metadata.dst_node_id not in names:
            continue  # a node without a site in this run
        site = names[message.metadata.dst_node_id]
        receipt = state.receipts.get(site, Receipt(0, NO_ROWS))
        request = TrainRequest(
            plan.run, number, plan.rounds, plan.terms.model, plan.sites[site], receipt, secure
        )
        if request not in configs:
            configs[request] = ConfigRecord(dict(request.to_config()))
        message.content = RecordDict({ARRAYS: message.content[ARRAYS], CONFIG: configs[request]})
        addressed.append(message)
    return sorted(addressed, key=lambda message: names[message.metadata.dst_node_id])


def _weighed(answers: Mapping[str, Message], plan: RunPlan, like: Weights | None) -> list[Message]:
    """Give every answer its weight: the declared size, whatever the site may have said.

    The arrays, where they are seen, get the model's order too: some strategies go by their place
    and not by their name.
    """
    for site, message in answers.items():
        content = message.content
        for key in content.keys() - {ARRAYS, LEDGER}:
            del content[key]
        arrays = cast(ArrayRecord, content[ARRAYS])
        if like is not None and list(arrays) != list(like):
            content[ARRAYS] = _in_place_of(like, arrays)
        content[METRICS] = MetricRecord({WEIGHT: plan.declared_sizes[site]})
    return list(answers.values())


def _arrays_of(message: Message) -> ArrayRecord:
    return cast(ArrayRecord, message.content[ARRAYS])


def _numbers(message: Message) -> dict[str, Any]:
    return {name: numbers_of(array) for name, array in _arrays_of(message).items()}


def _standing_for(answers: list[Message], mean: Weights) -> Message:
    """Let one answer stand for all: a mean is all that a strategy gets to see."""
    for message in answers:
        message.content[ARRAYS] = ArrayRecord()
    answers[0].content[ARRAYS] = to_record(mean)
    return answers[0]


def _receipts(
    known: Mapping[str, Receipt], answers: Mapping[str, Message]
) -> Mapping[str, Receipt]:
    latest = dict(known)
    for site, message in answers.items():
        record = message.content[LEDGER]
        latest[site] = Receipt(int(str(record["count"])), str(record["head"]))
    return latest


def _in_place_of(like: Weights, record: ArrayRecord) -> ArrayRecord:
    ordered = ArrayRecord()
    for name in like:
        ordered[name] = record[name]
    return ordered


def _in_order_of(like: Weights, weights: Weights) -> Weights:
    return {name: np.asarray(weights[name], np.float32, order="C") for name in like}


def _too_few(
    number: int, plan: RunPlan, answers: Mapping[str, Message], failed: Mapping[str, str]
) -> TooFewSitesError:
    """Say who is missing and why."""
    missing = first([f"{site} ({reason})" for site, reason in failed.items()])
    return TooFewSitesError(
        f"round {number}: {len(answers)} of {len(plan.sites)} sites replied, "
        f"{plan.min_replies} are needed; missing: {missing}",
        failed,
    )

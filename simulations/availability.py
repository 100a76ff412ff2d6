"""Who is there and who replies in time, of a round's sites: a network that loses some.

Which messages are lost follows from the seed and the round, and from no site's data.
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType
from numpy.typing import NDArray

from simulations.grid import Engine
from strategies.records import record_in
from tacit.messages import CONFIG
from tacit.settings import Availability, DelayKind

_PURPOSE: Final = 0x64656C6179
"""Keeps this seed's numbers apart from those of others."""


def lossy(engine: Engine, chosen: Availability, seed: int) -> Engine:
    """Return an engine some of whose requests to train do not arrive, and some replies come late.

    A site that is not reached knows nothing of the round. One that is late has charged and trained,
    and what it sends is lost.

    Parameters
    ----------
    engine
        Answers what arrives.
    chosen
        How many are lost.
    seed
        Of the experiment.
    """

    def answer(cohort: Sequence[tuple[Message, str]]) -> list[Message | None]:
        there, in_time = _luck(cohort, chosen, seed)
        came = _answered(engine, cohort, there.tolist())
        return [reply if on_time else None for reply, on_time in zip(came, in_time, strict=True)]

    return answer


def without(engine: Engine, missing: Collection[str]) -> Engine:
    """Return an engine by which no request to train reaches some sites, in any round.

    Parameters
    ----------
    engine
        Answers what arrives.
    missing
        Names of these sites.
    """

    def answer(cohort: Sequence[tuple[Message, str]]) -> list[Message | None]:
        return _answered(
            engine, cohort, [site not in missing or not _trains(asked) for asked, site in cohort]
        )

    return answer


def _answered(
    engine: Engine, cohort: Sequence[tuple[Message, str]], there: Sequence[bool]
) -> list[Message | None]:
    """Ask those who are there; of the others nothing comes."""
    reached = [asked for asked, is_there in zip(cohort, there, strict=True) if is_there]
    replies = iter(engine(reached))
    return [next(replies) if is_there else None for is_there in there]


def _trains(message: Message) -> bool:
    return message.metadata.message_type == MessageType.TRAIN


def _luck(
    cohort: Sequence[tuple[Message, str]], chosen: Availability, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw who is there and who is in time; questions that are not about training always are."""
    everybody = np.ones(len(cohort), dtype=np.bool_)
    if not cohort or not _trains(cohort[0][0]):
        return everybody, everybody
    asked = record_in(cohort[0][0].content, CONFIG, ConfigRecord) or ConfigRecord()
    random = np.random.default_rng([_PURPOSE, seed, int(str(asked["server-round"]))])
    there = random.random(len(cohort)) >= chosen.dropout
    if chosen.deadline is None:
        return there, everybody
    return there, _delays(chosen, len(cohort), random) <= chosen.deadline


def _delays(chosen: Availability, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    if chosen.delay is DelayKind.EXPONENTIAL:
        return random.exponential(chosen.delay_mean, count)
    # The mean of a log-normal is exp(m + s²/2).
    middle = np.log(chosen.delay_mean) - chosen.delay_spread**2 / 2
    return random.lognormal(middle, chosen.delay_spread, count)

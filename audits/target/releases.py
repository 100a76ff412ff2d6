"""What a client that is not ours sends beside its update, and whether that follows its data."""

from collections.abc import Iterator, Sequence
from math import comb
from typing import Final

import numpy as np

from audits import levels
from audits.target.app import Entry, Reply, Target
from audits.target.claims import Claim, NoiseBy
from audits.target.rows import MadeUp, alike
from tacit.runs.audited import Finding

REPLIES: Final = 9
"""To each of two data sets: all of the one above all of the other by chance with 2/C(18, 9)."""
_FEWER, _MORE = 12, 24


def releases(target: Target, claim: Claim, made_up: MadeUp | None) -> Iterator[Finding]:
    """Compare entries of replies to two data sets, of another row and another size.

    Raises
    ------
    TargetError
        The client fails.
    """
    test = "what left"
    first = target.ask(alike(made_up.row(1), _FEWER) if made_up else None)
    if not first.entries:
        yield Finding(test, "the reply holds the weights that were sent, and nothing else")
        return
    if made_up is None:
        yield Finding(
            test,
            f"beside the update there are {_listed(sorted(first.entries))}: whether they follow "
            "the data is not seen without target.rows",
            tested=False,
        )
        return
    some = [first, *(target.ask(alike(made_up.row(1), _FEWER)) for _ in range(REPLIES - 1))]
    others = [target.ask(alike(made_up.row(2), _MORE)) for _ in range(REPLIES)]
    names = sorted({name for reply in (*some, *others) for name in reply.entries})
    level = levels.TARGET_ENTRIES / len(names)
    follows, unclear, public = [], [], []
    for name in names:
        one, two = _values(some, name), _values(others, name)
        if not claim.count_is_private and _counts(one, _FEWER) and _counts(two, _MORE):
            public.append(name)
        elif _all_same([*one, *two]):
            continue
        elif _follows(one, two, level):
            follows.append(name + (" (how many rows)" if _counts(one, _FEWER) else ""))
        else:
            unclear.append(name)
    if claim.noise_by is NoiseBy.SERVER:
        yield Finding(
            test,
            f"{_listed(follows)} follow the client's data exactly, or nearly: the claim trusts "
            "the server with them, and what it publishes of them is not seen"
            if follows
            else "the claim trusts the server with replies; what it publishes is not seen",
            tested=False,
        )
        return
    yield Finding(
        test,
        f"{_listed(follows)}: follows the client's data, and no event of the claim pays for it"
        if follows
        else "nothing beside the update follows the data"
        + (f", but the number of rows, which is public ({_listed(public)})" if public else ""),
        bool(follows),
        {"entries": float(len(names))},
    )
    if unclear:
        yield Finding(
            "what else left",
            f"{_listed(unclear)}: changes from reply to reply, and whether with the data is not "
            "seen",
            tested=False,
        )


def _values(replies: Sequence[Reply], name: str) -> list[Entry]:
    return [reply.entries.get(name) for reply in replies]


def _all_same(values: Sequence[Entry]) -> bool:
    return all(np.array_equal(np.asarray(values[0]), np.asarray(each)) for each in values)


def _counts(values: Sequence[Entry], rows: int) -> bool:
    return all(np.ndim(value) == 0 and value == rows for value in values)


def _follows(one: Sequence[Entry], two: Sequence[Entry], level: float) -> bool:
    """Tell two data sets by an entry: always the one or the other, or all above all."""
    if _all_same(one) and _all_same(two):
        return True
    if not all(isinstance(value, int | float) for value in (*one, *two)):
        return False
    apart = max(one) < min(two) or max(two) < min(one)
    return apart and 2 / comb(len(one) + len(two), len(one)) < level


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)

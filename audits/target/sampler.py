"""Which rows a client that is not ours reads into each step, against Poisson sampling."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from audits import findings
from audits.target.app import Target
from audits.target.claims import Claim, epsilon_of
from audits.target.rows import MadeUp, Rows, alike
from tacit.runs.audited import Finding

BATCHES: Final = 200
MOST_REPLIES: Final = 100
MOST_ROWS: Final = 100_000


def sampler(target: Target, claim: Claim, made_up: MadeUp | None) -> Iterator[Finding]:
    """Give a client as many rows as its claim implies (divisor ÷ rate), and see which it reads.

    Raises
    ------
    TargetError
        The client fails.
    """
    test = "sampler"
    if claim.sampling_rate == 1:
        yield Finding(test, "no sampling is claimed: every row may be in every step")
        return
    why = claim.lacks("sampling_rate", "divisor")
    if made_up is None:
        why = "which rows are read is seen with target.rows only"
    count = 0 if why else round((claim.divisor or 0.0) / (claim.sampling_rate or 1.0))
    if count > MOST_ROWS:
        why = f"divisor ÷ rate are {count} rows, more than the audit makes"
    if why or made_up is None:
        yield Finding(test, why, tested=False)
        return
    rows = alike(made_up.row(1), count)
    sizes: list[int] = []
    shuffled, longest, replies = True, 0, 0
    while len(sizes) < BATCHES and replies < MOST_REPLIES:
        target.ask(rows)
        replies += 1
        shuffled = shuffled and rows.shuffled()
        longest = max(longest, len(rows.batches))
        sizes += [len(batch) for batch in rows.batches]
        if not sizes and replies > 1:
            break
    if shuffled:
        yield _shuffled(claim, rows, replies)
    elif sizes:
        rate = claim.sampling_rate or 1.0
        yield findings.rate(np.array(sizes), count, rate)
        yield findings.spread(np.array(sizes), count, rate)
    else:
        why = "rows are not read batch by batch in this process: which are in a step is not seen"
        yield Finding(test, why, tested=False)
    if sizes:
        yield _counted(claim, longest)


def _shuffled(claim: Claim, rows: Rows, replies: int) -> Finding:
    """Say what holds whatever the order of rows: each pass is one Gaussian with every row in it."""
    read = sum(map(len, rows.batches)) or len(rows.singles)
    passes = read // len(rows)
    honest = None
    if claim.noise_multiplier is not None and claim.delta is not None:
        whole = replace(claim, sampling_rate=1.0, steps=passes)
        honest = epsilon_of(whole, claim.noise_multiplier, claim.delta)
    said = (
        f"in all of {replies} replies each of {len(rows)} rows was read once a pass: shuffled "
        "batches, and the claim counts Poisson sampling, whose ε does not hold for them"
    )
    if honest is not None:
        said += f"; without its amplification ε is {honest:.4g}"
    return Finding("sampler", said, True, {} if honest is None else {"epsilon": honest})


def _counted(claim: Claim, longest: int) -> Finding:
    """Whether a reply holds more steps than are counted."""
    if why := claim.lacks("steps"):
        return Finding("steps", why, tested=False)
    steps = claim.steps or 0
    return Finding(
        "steps",
        f"a reply holds {longest} steps of which {steps} are counted",
        longest > steps,
        {"steps": float(longest)},
    )

"""What must hold of a deployment after any fault, told from what lies on its disks."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Deployment
from tacit.errors import TacitError
from tacit.privacy.events import from_json
from tacit.privacy.ledger_view import read_ledger
from tacit.privacy.policy import steps_of
from tacit.runs.directory import HISTORY, REPORT, RESULTS


class BrokenError(TacitError):
    """Something does not hold; the message says what, where."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a site's ledger says.

    Parameters
    ----------
    rows
        Every row, oldest first.
    charged
        Net steps of every charge, by the number of its row.
    replies
        The charge that paid for a reply, by the SHA-256 of what was kept.
    """

    rows: list[Mapping[str, Any]]
    charged: Mapping[int, int]
    replies: Mapping[str, int]


def ledger_of(deployment: Deployment, site: str) -> Ledger:
    """Read a site's ledger beside whoever writes it, and check every row and its second place."""
    path = deployment.ledger(site)
    head = deployment.folder / "state" / "tacit" / "heads" / f"{path.stem}.head"
    with read_ledger(path, head) as view:
        view.verify()
        view.check_head()
        rows = [json.loads(row.body) for row in view.rows()]
    charged: dict[int, int] = {}
    replies: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        match row["kind"]:
            case "charged/1":
                charged[number] = steps_of(from_json(row["event"]))
            case "settled/1":
                charged[row["charge"]] = row["steps_begun"]
            case "replied/1":
                replies[row["sha256"]] = row["charge"]
    return Ledger(rows, charged, replies)


def left(deployment: Deployment, site: str) -> list[tuple[str, str]]:
    """Return what left a site: what its ledger was given to keep, and the weights."""
    path = deployment.folder / "faults" / site / "left"
    if not path.exists():
        return []
    pairs = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
    return [(kept, weights) for kept, weights in pairs]


def check_site(deployment: Deployment, site: str) -> None:
    """Hold what left a site against its ledger.

    Raises
    ------
    BrokenError
        Something left that no charge paid for, or two things left for one charge.
    LedgerError
        The ledger is not whole.
    """
    # The ledger last: what it pays for was written there before.
    gone, told = set(left(deployment, site)), rounds(deployment.run_dir, site)
    book = ledger_of(deployment, site)
    for kept, weights in gone:
        if kept not in book.replies:
            raise BrokenError(f"{site}: weights {weights[:12]} left, and no row of the ledger pays")
        if not book.charged[book.replies[kept]]:
            raise BrokenError(f"{site}: weights {weights[:12]} left for a charge of no steps")
    paid = Counter(book.replies[kept] for kept, _ in gone)
    if twice := [charge for charge, times in paid.items() if times > 1]:
        raise BrokenError(f"{site}: more than one thing left for the charges {twice}")
    asked = {row["request"] for row in book.rows if row["kind"] == "charged/1"}
    if len(told) > len(asked):
        raise BrokenError(f"{site}: replied to rounds {told} and was charged for {len(asked)}")


def rounds(run: Path, site: str | None = None) -> list[int]:
    """Return the rounds of a run's history, or those that a site replied to."""
    path = run / HISTORY
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return sorted({line["round"] for line in lines if site is None or site in line["replied"]})


def check(deployment: Deployment) -> None:
    """Check every site that has a ledger, and that no process was left behind.

    Raises
    ------
    BrokenError, LedgerError
        Something does not hold.
    """
    for site in deployment.sites:
        if list((deployment.site_file(site).parent / "ledger").glob("*.sqlite")):
            check_site(deployment, site)
    if orphans := deployment.orphans():
        raise BrokenError(f"processes were left behind: {orphans}")


def check_end(deployment: Deployment) -> Mapping[str, Any]:
    """Check a run that has ended and return its results.

    Raises
    ------
    BrokenError
        A file is missing, the history has a gap, or the report says less than a ledger.
    """
    check(deployment)
    for name in (RESULTS, REPORT):
        if not (deployment.run_dir / name).is_file():
            raise BrokenError(f"the run has ended and {name} is missing")
    results: Mapping[str, Any] = json.loads((deployment.run_dir / RESULTS).read_text())
    done = rounds(deployment.run_dir)
    if done != list(range(1, results["rounds"] + 1)):
        raise BrokenError(f"{results['rounds']} rounds were done and the history has {done}")
    for site, spending in results["privacy"]["guarantees"][0]["sites"].items():
        book = ledger_of(deployment, site)
        repeats = {n for n, r in enumerate(book.rows, 1) if r.get("repeat")}
        steps = sum(steps for number, steps in book.charged.items() if number not in repeats)
        if steps > spending["steps"]:
            raise BrokenError(f"{site}: {steps} steps were charged and {spending['steps']} told")
    return results

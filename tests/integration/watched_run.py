"""A coordinator's process whose run does what its standard input says, a word at a time.

Started as ``python watched_run.py FOLDER ADDRESS ENTITLED``; it prints its port.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from server.status import Phase, SiteStatus, Status, StatusBoard
from server.watch_service import watch_service

ROUNDS = 4


def board():
    sites = tuple(
        SiteStatus(name, epsilon=0.0, epsilon_budget=8.0, declared_size=100)
        for name in ("berlin", "lyon", "oslo")
    )
    return StatusBoard(Status("hospitals", "run-1", ROUNDS, sites, time.time()))


def act(shown, words):
    match words:
        case ["round", number]:
            shown.round_done(
                int(number),
                replied=["berlin"],
                failed={"lyon": "no_reply", "oslo": "budget"},
                seconds=0.25,
                epsilon={"berlin": 2.0 * int(number)},
                metrics={"AUC": 0.5 + int(number) / 10},
            )
        case ["phase", *phase]:
            shown.update(lambda status: replace(status, phase=Phase(" ".join(phase))))
        case _:
            raise SystemExit(f"what is {words}?")


def main():
    folder, address, entitled = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    shown = board()
    with watch_service(
        shown,
        address=address,
        certificate=folder / "server.pem",
        key=folder / "server.key",
        ca=folder / "ca.pem",
        entitled=lambda name, pem: name == entitled,
    ) as port:
        print(port, flush=True)
        for line in sys.stdin:
            act(shown, line.split())


if __name__ == "__main__":
    main()

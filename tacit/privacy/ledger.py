"""What a named data set has spent: reserved before a run, charged before each round, on disk first.

A run goes ``reserve`` once, then for each round ``charge``, and ``store_reply`` before the reply
leaves. ``settle`` gives back steps that never began. Nothing is ever given back otherwise: after a
crash the charge stands, whether or not anything left.

>>> ledger = Ledger.open(path, data_set="ward 3", unit=unit, relation=relation, delta=1e-5)
>>> ledger.reserve(plan, policy)
>>> charge = ledger.charge(plan.run, request, event, policy)   # on disk before data is touched
>>> ledger.store_reply(charge, reply)                          # on disk before it is sent
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tacit.errors import ConfigurationError, RunDirectoryError, TacitError
from tacit.privacy.book import OPENED, Charge, Fixed
from tacit.privacy.chain import Chain, write_head
from tacit.privacy.events import Event, Relation, Unit, to_json
from tacit.privacy.ledger_view import LedgerView, reply_sha256
from tacit.privacy.policy import Plan, Policy
from tacit.privacy.reserving import reservation

LEAST_FREE_BYTES = 4 * 2**20
"""Room that a ledger leaves for what is smaller than a reply."""


class Ledger(LedgerView):
    """The ledger of one data set, to spend from; made by `Ledger.open`.

    Several processes may hold one ledger open: each call reads what the others wrote, checks and
    writes in one transaction, so that no budget is spent twice.
    """

    keeps_replies = True

    def __init__(self, chain: Chain, fixed: Fixed) -> None:
        super().__init__(chain, fixed)
        self._chain = chain
        self._fixed = fixed

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        data_set: str,
        unit: Unit,
        relation: Relation,
        delta: float,
        head_path: Path | None = None,
    ) -> Self:
        """Open a ledger and check all of it, or make a new one.

        Parameters
        ----------
        path
            The SQLite file.
        head_path
            Second place for the count of rows and the last hash; by default ``<path>.head``.

        Raises
        ------
        ConfigurationError
            The ledger was opened for another data set, unit, relation or δ, or cannot be opened.
        LedgerError
            It is damaged, cut or an old copy.
        RunDirectoryError
            The disk is full, or another process holds the file.
        """
        if not data_set or not 0 < delta < 1:
            raise ConfigurationError(
                f"data_set={data_set!r} must have a name and delta={delta} must be between 0 and 1"
            )
        fixed = Fixed(data_set, unit, relation, delta)
        ledger = cls(Chain(path, head_path or path.with_name(path.name + ".head")), fixed)
        try:
            ledger._begin(fixed)
            ledger.verify()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def reserve(self, plan: Plan, policy: Policy) -> None:
        """Set a run's whole budget aside before its first round, or refuse the run.

        The same plan again, when a run goes on after a break, is checked against the policy of
        today and writes nothing.

        Raises
        ------
        RefusedError
            The policy or the budget says no, with the reason.
        """
        policy.check_plan(plan)
        policy.check_cost(plan)
        with self._transaction():
            found = reservation(plan, policy, self._book, self._fixed)
            if found is not None:
                under = found[1]
                self._write("reserved/1", plan=plan.to_fields(), filter=under and asdict(under))

    def check_room(self, reply: int) -> None:
        """Refuse while there is no room for a reply: its charge would be spent for nothing.

        Parameters
        ----------
        reply
            Bytes of the reply, which lies in SQLite's log and in the file.

        Raises
        ------
        RunDirectoryError
            The disk is full.
        """
        check_free(self.path, 2 * reply)

    def charge(self, run: str, request: str, event: Event, policy: Policy) -> Charge:
        """Charge the most that a round can cost, before it touches data.

        Ask `stored_reply` first. A request without one is charged anew: what came of the charge
        before it, say at a crash, is not known. In a plan with predictable noise the new charge is
        a `repeat` and is no further round: a deterministic function of the same request releases
        the same output, so the ε that a deployment would have does not grow.

        Parameters
        ----------
        request
            Hash of the message that asks for the round.
        event
            At most the event of the reserved plan.

        Raises
        ------
        RefusedError
            The run is not reserved or is used up, the event is not the plan's, or the policy has
            changed.
        TacitError
            A reply to this request is kept.
        """
        with self._transaction():
            known = self._book.open_run(run)
            policy.check_plan(known.plan)
            repeat = known.repeats(request)
            number = self._write(
                "charged/1", run=run, request=request, event=to_json(event), repeat=repeat
            )
        return self._book.charges[number].charge

    def settle(self, charge: Charge, steps_begun: int) -> None:
        """Lower a charge to the steps that began: once, and never after a reply was stored.

        Only for steps that never began for a public cause, never on the word of anybody else.

        Raises
        ------
        TacitError
            The charge is not this ledger's, is settled or replied to, or would not go down.
        """
        with self._transaction():
            self._write("settled/1", charge=self._book.number(charge), steps_begun=steps_begun)

    def store_reply(self, charge: Charge, reply: Sequence[bytes]) -> None:
        """Keep a reply, before it leaves, in place of the run's reply before it.

        Parameters
        ----------
        reply
            Its bytes in one or more parts: what is a gigabyte need not lie in one piece.

        Raises
        ------
        TacitError
            The charge is not this ledger's, was settled to nothing or has a reply.
        """
        with self._transaction():
            number = self._book.number(charge)
            self._write("replied/1", charge=number, sha256=reply_sha256(reply))
            self._chain.keep_reply(charge.run, reply)

    def let_go(self, charge: Charge) -> None:
        """Refuse: what leaves from here is kept first, by `store_reply`.

        Raises
        ------
        TacitError
            Always.
        """
        raise TacitError(f"{self.path} keeps replies: store the reply to {charge}")

    def stored_reply(self, run: str, request: str) -> list[bytes] | None:
        """Give the parts of the reply to a request byte for byte, or None when it is not kept.

        Raises
        ------
        LedgerError
            The kept bytes are missing or are not those that were stored.
        """
        with self._transaction():
            latest = self._book.runs[run].latest if run in self._book.runs else None
            if latest is None or latest.charge.request != request:
                return None
            return self._reply(latest)

    def close_run(self, run: str) -> None:
        """End a run for good: what it reserved and did not charge is free again.

        Raises
        ------
        RefusedError
            The run was never reserved. One that is closed stays so.
        """
        with self._transaction():
            known = self._book.runs.get(run)
            if known is None or not known.closed:
                self._write("closed/1", run=run)
            self._chain.drop_reply(run)

    def move(self, target: Path, head_path: Path | None = None) -> None:
        """Go on in a new file; this one refuses from then on, also to whoever has it open.

        The copy is whole, checked and on disk before this file says that it was moved. A crash
        before that leaves two copies of which this one goes on; the head tells them apart as soon
        as anything is charged.

        Parameters
        ----------
        target
            The new file.
        head_path
            Where its head is kept, if it moves too.

        Raises
        ------
        ConfigurationError
            There is such a file, or no such folder.
        LedgerError
            This ledger or the copy is damaged.
        """
        new_head = head_path or self.head_path
        with self._transaction():
            self._chain.copy_to(target)
            self._check_copy(target)
            if new_head != self.head_path:
                write_head(new_head, self._chain.tail)
            self._chain.leave(target)

    def _begin(self, wanted: Fixed) -> None:
        """Write the first row, or compare it."""
        with self._transaction():
            if not self._book.rows:
                self._write(OPENED, **wanted.to_fields())
            fixed = Fixed.from_row(self._book.rows[0]).to_fields()
        for key, value in wanted.to_fields().items():
            if fixed[key] != value:
                raise ConfigurationError(
                    f"{self.path} is the ledger of {key}={fixed[key]!r}, not {value!r}: a "
                    "data set keeps what its ledger began with; another one needs its own ledger"
                )

    def _write(self, kind: str, **fields: object) -> int:
        """Append a row and read it back under the rules; returns its number."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._chain.append({"kind": kind, "at": at, **fields})
        self._read()
        return self._chain.tail.count


def check_free(path: Path, needed: int) -> None:
    """Refuse while the disk of a ledger has no room for so many bytes and what is smaller.

    Raises
    ------
    RunDirectoryError
        The disk is full.
    """
    needed += LEAST_FREE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise RunDirectoryError(
            f"{path}: the disk is full: {free / 2**20:.1f} MiB are left and a reply needs "
            f"{needed / 2**20:.1f}: free space; nothing was charged"
        )

"""What a named data set has spent: reserved before a run, charged before each round, on disk first.

A run goes ``reserve`` once, then for each round ``charge``, and ``store_reply`` before the reply
leaves. ``settle`` gives back steps that never began. Nothing is ever given back otherwise: after a
crash the charge stands, whether or not anything left.

>>> ledger = Ledger.open(path, data_set="ward 3", unit=unit, relation=relation, delta=1e-5)
>>> ledger.reserve(plan, policy)
>>> charge = ledger.charge(plan.run, request, event, policy)   # on disk before data is touched
>>> ledger.store_reply(charge, reply)                          # on disk before it is sent
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tacit.errors import ConfigurationError, LedgerError, RefusedError, TacitError
from tacit.privacy.book import Book, Charge, Charged
from tacit.privacy.chain import NO_ROWS, Chain, Receipt, Row
from tacit.privacy.events import Event, Relation, Unit, to_json
from tacit.privacy.policy import Plan, Policy, Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """ε of everything charged so far, at the ledger's lifetime δ, by both accountants."""

    delta: float
    pld: float
    rdp: float


class Ledger:
    """The ledger of one data set, by the name its officer gives; made by `Ledger.open`.

    Several processes may hold one ledger open: each call reads what the others wrote, checks and
    writes in one transaction, so that no budget is spent twice.

    Attributes
    ----------
    data_set, unit, relation, delta
        What its first row fixed for good: the data set's name, whose presence is hidden, between
        which data sets, and the δ at which everything ever released is counted.
    """

    def __init__(
        self, chain: Chain, *, data_set: str, unit: Unit, relation: Relation, delta: float
    ) -> None:
        self.data_set = data_set
        self.unit = unit
        self.relation = relation
        self.delta = delta
        self._chain = chain
        self._forget()

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
        chain = Chain(path, head_path or path.with_name(path.name + ".head"))
        ledger = cls(chain, data_set=data_set, unit=unit, relation=relation, delta=delta)
        try:
            ledger._begin()
            ledger.verify()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def reserve(self, plan: Plan, policy: Policy) -> None:
        """Set a run's whole budget aside before its first round, or refuse the run.

        The same plan again, when a run goes on after a break, is checked against the policy of
        today and writes nothing. Runs whose ε is infinite (exact releases, predictable noise) need
        test data and stand only beside their like: ε of such a ledger is infinite already, and one
        that anybody may rely on is never made so.

        Raises
        ------
        RefusedError
            The policy or the budget says no, with the reason.
        """
        policy.check_plan(plan)
        policy.check_cost(plan)
        with self._transaction():
            self._check_lifetime(plan, policy)
            known = self._book.runs.get(plan.run)
            if known is None or known.closed or known.plan != plan:
                self._write("reserved/1", plan=plan.to_fields())

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

    def store_reply(self, charge: Charge, reply: bytes) -> None:
        """Keep a reply, before it leaves, in place of the run's reply before it.

        Raises
        ------
        TacitError
            The charge is not this ledger's, was settled to nothing or has a reply.
        """
        with self._transaction():
            digest = hashlib.sha256(reply).hexdigest()
            self._write("replied/1", charge=self._book.number(charge), sha256=digest)
            self._chain.keep_reply(charge.run, reply)

    def stored_reply(self, run: str, request: str) -> bytes | None:
        """Give the reply to a request byte for byte, or None when it is not kept.

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

    def spent_events(self, run: str | None = None) -> list[Event]:
        """Give all that was charged, net of settlements: one event a run."""
        with self._transaction():
            runs = [each for name, each in self._book.runs.items() if run in (None, name)]
            return [event for each in runs for event in each.spent()]

    def standing(self) -> Standing:
        """Compute ε of everything charged so far; infinite once noise was predictable or absent."""
        from tacit.privacy.accounting import Accountant, epsilon

        events = self.spent_events()
        if any(run.spent() and not run.plan.private for run in self._book.runs.values()):
            return Standing(self.delta, math.inf, math.inf)
        pld, rdp = (
            epsilon(events, self.delta, accountant)
            for accountant in (Accountant.PLD, Accountant.RDP)
        )
        return Standing(self.delta, pld, rdp)

    def rows(self) -> list[Row]:
        """Give every row, oldest first."""
        with self._transaction():
            return list(self._book.rows)

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash, for somebody else to keep."""
        with self._transaction():
            return self._chain.tail

    def check_receipt(self, receipt: Receipt, keeper: str = "the receipt") -> None:
        """Refuse when this ledger does not go on from a receipt that it gave before.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        with self._transaction():
            self._chain.check_receipt(receipt, keeper)

    def verify(self) -> None:
        """Read everything from the disk again and check every row, the head and the kept replies.

        Raises
        ------
        LedgerError
            Anything was changed, is missing or could not have come about.
        """
        self._forget()
        with self._transaction():
            for run in self._book.runs.values():
                if run.latest is not None:
                    self._reply(run.latest)

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        """Write the first row, or compare it."""
        wanted: dict[str, object] = {
            "data_set": self.data_set,
            "unit": self.unit,
            "relation": self.relation,
            "delta": self.delta,
        }
        with self._transaction():
            if not self._book.rows:
                self._write("opened/1", **wanted)
            fixed = json.loads(self._book.rows[0].body)
        for key, value in wanted.items():
            if fixed[key] != value:
                raise ConfigurationError(
                    f"{self._chain.path} is the ledger of {key}={fixed[key]!r}, not {value!r}: a "
                    "data set keeps what its ledger began with; another one needs its own ledger"
                )

    def _check_lifetime(self, plan: Plan, policy: Policy) -> None:
        for event in plan.events():
            if event.unit != self.unit:
                raise RefusedError(
                    Reason.UNIT_DIFFERS, f"unit={event.unit} is not the data set's, {self.unit}"
                )
            if event.relation != self.relation:
                raise RefusedError(
                    Reason.RELATION_DIFFERS,
                    f"relation={event.relation} is not the data set's, {self.relation}",
                )
        others = [
            run for name, run in self._book.runs.items() if name != plan.run and run.committed()
        ]
        if any(run.plan.private != plan.private for run in others):
            raise RefusedError(
                Reason.BUDGET,
                f"run {plan.run!r} and the runs before it do not go together: some have a finite ε "
                "and some have none (exact releases, predictable noise); use another ledger",
            )
        if plan.private:
            policy.check_lifetime(plan, [e for run in others for e in run.committed()], self.delta)

    def _reply(self, charged: Charged) -> bytes:
        reply = self._chain.reply(charged.charge.run)
        if reply is None or hashlib.sha256(reply).hexdigest() != charged.reply:
            raise LedgerError(
                f"{self._chain.path} is damaged: the reply kept for run {charged.charge.run!r} is "
                "not the one that was stored"
            )
        return reply

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the ledger alone with all its rows read; what is written is kept whole or not."""
        on_disk = None
        try:
            with self._chain.transaction():
                self._catch_up()
                on_disk = self._chain.tail
                yield
        except BaseException:
            # Memory must never hold a row that the disk may not.
            if self._chain.tail != on_disk:
                self._forget()
            raise

    def _catch_up(self) -> None:
        try:
            self._read()
        except LedgerError:
            raise
        except (TacitError, KeyError, TypeError, ValueError) as error:
            raise LedgerError(
                f"{self._chain.path}: row {self._chain.tail.count + 1} cannot stand: {error}"
            ) from error

    def _read(self) -> None:
        for row in self._chain.unread():
            self._book.enter(row)

    def _write(self, kind: str, **fields: object) -> int:
        """Append a row and read it back under the rules; returns its number."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._chain.append({"kind": kind, "at": at, **fields})
        self._read()
        return self._chain.tail.count

    def _forget(self) -> None:
        self._book = Book()
        self._chain.tail = Receipt(0, NO_ROWS)

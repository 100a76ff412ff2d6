"""One site's part of a ledger that many keep together."""

from collections.abc import Sequence
from dataclasses import dataclass

from tacit.errors import TacitError
from tacit.privacy.book import Charge
from tacit.privacy.chain import Receipt
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.events import Event
from tacit.privacy.ledger import check_free
from tacit.privacy.policy import Plan, Policy


@dataclass(frozen=True, slots=True)
class Page:
    """One site's part of a `CohortLedger`: a `tacit.privacy.spending.Spending`."""

    ledger: CohortLedger
    site: str
    keeps_replies: bool = False

    def spent_events(self, run: str) -> list[Event]:
        """Give all that the site was charged for a run, net of settlements."""
        return self.ledger.spent(run, self.site)

    def reserve(self, plan: Plan, policy: Policy) -> None:
        """Set a run's whole budget aside before its first round, or refuse the run.

        Raises
        ------
        RefusedError
            The policy or the budget says no, with the reason.
        """
        self.ledger.reserve(self.site, plan, policy)

    def check_room(self, reply: int) -> None:
        """Refuse while the disk is full: no reply is kept, and a row is small.

        Raises
        ------
        RunDirectoryError
            The disk is full.
        """
        check_free(self.ledger.path, 0)

    def charge(self, run: str, request: str, event: Event, policy: Policy) -> Charge:
        """Charge the most that a round can cost; inside `together` it is on disk at its end.

        Raises
        ------
        RefusedError
            The run is not reserved or is used up, the event is not the plan's, or the policy has
            changed.
        """
        return self.ledger.charge(self.site, run, request, event, policy)

    def settle(self, charge: Charge, steps_begun: int) -> None:
        """Lower a charge to the steps that began: once, by the process that made it.

        Raises
        ------
        TacitError
            The charge is not this site's, is settled, has left, or would not go down.
        """
        self.ledger.settle(self.site, charge, steps_begun)

    def store_reply(self, charge: Charge, reply: Sequence[bytes]) -> None:
        """No reply is kept here.

        Raises
        ------
        TacitError
            Always.
        """
        raise TacitError(f"{self.ledger.path} keeps no replies: let {charge} go")

    def let_go(self, charge: Charge) -> None:
        """Note that what a charge paid for leaves.

        Raises
        ------
        TacitError
            The charge is not this site's.
        """
        self.ledger.let_go(self.site, charge)

    def stored_reply(self, run: str, request: str) -> None:
        """Give nothing: no reply is kept here."""

    def close_run(self, run: str) -> None:
        """End a run for good.

        Raises
        ------
        RefusedError
            The run was never reserved.
        """
        self.ledger.close_run(self.site, run)

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash of the whole ledger."""
        return self.ledger.receipt()

    def check_receipt(self, receipt: Receipt) -> None:
        """Refuse when the ledger does not go on from a receipt that it gave before.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        self.ledger.check_receipt(receipt)

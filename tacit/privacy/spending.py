"""What a site needs of its ledger, whoever keeps it."""

from collections.abc import Sequence
from typing import Protocol

from tacit.privacy.book import Charge
from tacit.privacy.chain import Receipt
from tacit.privacy.events import Event
from tacit.privacy.policy import Plan, Policy


class Spending(Protocol):
    """One data set's ledger, to spend from.

    A deployed site has a `tacit.privacy.ledger.Ledger`; those that a simulation trains together
    have a `tacit.privacy.ledger_page.Page` each.
    """

    @property
    def keeps_replies(self) -> bool:
        """Whether a reply is kept, so that a repeated request gets its bytes again."""
        ...

    def reserve(self, plan: Plan, policy: Policy) -> None:
        """Set a run's whole budget aside before its first round, or refuse the run."""
        ...

    def check_room(self, reply: int) -> None:
        """Refuse while there is no room for what a charge and a reply of so many bytes need."""
        ...

    def charge(self, run: str, request: str, event: Event, policy: Policy) -> Charge:
        """Charge the most that a round can cost, before it touches data."""
        ...

    def settle(self, charge: Charge, steps_begun: int) -> None:
        """Lower a charge to the steps that began, while nothing has left."""
        ...

    def store_reply(self, charge: Charge, reply: Sequence[bytes]) -> None:
        """Keep a reply before it leaves; `settle` is over then."""
        ...

    def let_go(self, charge: Charge) -> None:
        """Note that a reply which is not kept leaves; `settle` is over then."""
        ...

    def stored_reply(self, run: str, request: str) -> Sequence[bytes] | None:
        """Give the parts of the reply to a request, or None where it is not kept."""
        ...

    def close_run(self, run: str) -> None:
        """End a run for good: what it reserved and did not charge is free again."""
        ...

    def receipt(self) -> Receipt:
        """Give the count of rows and the last hash, for somebody else to keep."""
        ...

    def check_receipt(self, receipt: Receipt) -> None:
        """Refuse when this ledger does not go on from a receipt that it gave before."""
        ...

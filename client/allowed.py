"""What a site's officer lets a run be about; what it may cost is the policy's."""

from dataclasses import dataclass

from tacit.errors import RefusedError
from tacit.learning.plan import RoundPlan
from tacit.messages import Terms
from tacit.privacy.events import Unit
from tacit.privacy.policy import Reason


@dataclass(frozen=True, slots=True)
class Allowed:
    """What runs of a site may be about.

    Parameters
    ----------
    domain
        Name of the one domain that its data belong to.
    model
        SHA-256 of what does not travel of the model that the site has built from its own settings.
    models, strategies
        Models by that hash, and strategies by name; None for any.
    others
        Other sites among whose updates a secure sum must hide this one's; 0 where none is needed.
    colluders
        Sites whose share of a noise that is made together is not counted on; whoever looks at a sum
        knows its own.
    trusts_coordinator
        Whether whole clients may be protected by noise that the coordinator adds.
    in_the_open
        Whether what is meant for a sum may be sent as it is: where one machine holds all sites.
    """

    domain: str
    model: str
    models: frozenset[str] | None = None
    strategies: frozenset[str] | None = None
    others: int = 0
    colluders: int = 1
    trusts_coordinator: bool = False
    in_the_open: bool = False

    def check(self, terms: Terms) -> None:
        """Refuse what is not allowed.

        Raises
        ------
        RefusedError
            With the reason; the message is for the site's own terminal.
        """
        if terms.domain != self.domain:
            raise RefusedError(
                Reason.DOMAIN_DIFFERS,
                f"the run is about {terms.domain!r}, this site's data about {self.domain!r}",
            )
        self.check_model(terms.model)
        if self.models is not None and terms.model not in self.models:
            raise RefusedError(
                Reason.MODEL_DIFFERS,
                f"limits.models does not list {terms.model[:12]}…: add it to allow this model",
            )
        if self.strategies is not None and terms.strategy not in self.strategies:
            raise RefusedError(
                Reason.STRATEGY_NOT_ALLOWED,
                f"limits.strategies does not list {terms.strategy!r}",
            )
        if terms.others < self.others:
            raise RefusedError(
                Reason.SECURE_AGGREGATION_REQUIRED,
                f"secure_aggregation={self.others}: the run hides an update among {terms.others} "
                "others",
            )

    def check_plan(self, terms: Terms, plan: RoundPlan) -> None:
        """Refuse a plan whose noise somebody adds on whom this site does not count.

        Raises
        ------
        RefusedError
            With the reason.
        """
        if self.in_the_open:
            return
        if plan.share is None:
            if plan.unit is Unit.CLIENT and not self.trusts_coordinator:
                raise RefusedError(
                    Reason.NOISE_TOO_LOW,
                    "the coordinator would add the noise, and this site's experiment does not say "
                    "privacy=client_level privacy.noise=coordinator",
                )
            return
        counted = terms.others + 1 - self.colluders
        if plan.share.honest > counted:
            raise RefusedError(
                Reason.SECURE_AGGREGATION_REQUIRED,
                f"the plan counts on {plan.share.honest} sites' shares of noise, and in sums of "
                f"{terms.others + 1} with limits.colluders={self.colluders} this site counts on "
                f"{max(0, counted)}",
            )

    def check_seen(self, plan: RoundPlan) -> None:
        """Refuse a request whose reply would be seen by itself where only a sum may be.

        Raises
        ------
        RefusedError
            With `Reason.SECURE_AGGREGATION_REQUIRED`.
        """
        if self.others or (plan.share is not None and not self.in_the_open):
            raise RefusedError(
                Reason.SECURE_AGGREGATION_REQUIRED,
                "a request is for this site's part by itself, and only a sum may be seen here",
            )

    def check_model(self, asked: str) -> None:
        """Refuse another model than the site has.

        Raises
        ------
        RefusedError
            With `Reason.MODEL_DIFFERS`.
        """
        if asked != self.model:
            raise RefusedError(
                Reason.MODEL_DIFFERS,
                f"the request is for model {asked[:12]}…, this site has {self.model[:12]}…",
            )

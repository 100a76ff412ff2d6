"""What the coordinator sees of a run, in words: a sum over sites, or what each site sends."""

from typing import Final

from tacit.plans import LEAST_SITES, ON_FROM
from tacit.privacy.events import Unit
from tacit.runs.guarantee import Statement
from tacit.runs.many import count_of
from tacit.runs.results import Mechanism, Results, SecureSum

_KEYS: Final = (
    "the coordinator neither made the sites' keys nor holds the authority's: with these it could "
    "sign as any of them"
)


def what_the_coordinator_sees(results: Results) -> tuple[Statement, ...]:
    """Say what the coordinator sees of the sites' parts, and on what that rests."""
    return (_summed(results, results.secure_sum) if results.secure_sum else _each(results)) + (
        Statement(
            "In any case",
            "The names of the sites, their declared sizes, who took part in which round, and when "
            "it answered.",
        ),
    )


def _summed(results: Results, sums: SecureSum) -> tuple[Statement, ...]:
    sites = "sites" if not results.simulation else "simulated sites"
    return (
        Statement(
            "What is seen",
            f"Of each round the sum over at least {sums.fewest} of {sums.sites} {sites}, and no "
            "site's own part (secure aggregation; Bonawitz et al. 2017, with signed keys). What "
            "comes from one site looks random; a round that too few sites finish is given up.",
        ),
        Statement("On what that rests", _trust(sums)),
        Statement(
            "What it does not hide",
            "The sum itself, which may tell something of one site, most of all beside the sum of "
            f"another round without it. {_against_that(_mechanism(results))}",
        ),
    )


def _against_that(mechanism: Mechanism | None) -> str:
    if mechanism is None:
        return "Against that there is nothing: no noise is in it."
    if mechanism is Mechanism.GAUSSIAN_AT_SERVER:
        return (
            "The coordinator sees it exact, and is trusted with it: the noise that it adds then is "
            "against whoever sees a model."
        )
    return "Against that there is the noise that is in it."


def _trust(sums: SecureSum) -> str:
    if not sums.corrupt:
        return (
            "No site works with the coordinator (were one, only one other would hide what each "
            f"sends), and {_KEYS}. With {sums.sites} sites nobody may be missing in a round."
        )
    return (
        f"At most {sums.corrupt} of the {sums.sites} sites work with the coordinator, every site "
        f"has the same roster of keys, which it pinned itself, and {_KEYS}. In all else it may lie "
        "as it likes: then there is no sum."
    )


def _each(results: Results) -> tuple[Statement, ...]:
    mechanism = _mechanism(results)
    if mechanism is Mechanism.SKELLAM_IN_SHARES:
        return (
            Statement(
                "What is seen",
                "In this simulation one process adds the sites' parts up. In a deployment only "
                "their secure sum is seen: the guarantee rests on that.",
            ),
        )
    what = "update, by itself and by name, in every round that it takes part in"
    if mechanism is Mechanism.GAUSSIAN_AT_SITE:
        seen = (
            f"Each site's noised {what}. The guarantee holds against whoever sees these; of a "
            "site as a whole (what its records have in common) they may show much."
        )
    elif mechanism is Mechanism.GAUSSIAN_AT_SERVER:
        seen = f"Each {Unit.CLIENT}'s exact {what}: the coordinator is trusted with it."
    else:
        seen = f"Each site's exact {what}: from it records of the site may be read."
    return (
        Statement("What is seen", seen),
        Statement(
            "What would be seen otherwise",
            _otherwise(count_of(results)),
        ),
    )


def _otherwise(sites: int) -> str:
    if sites < LEAST_SITES:
        return (
            "With secure_aggregation=required and at least three sites the sum over them, and no "
            "site's own part. A sum of two tells each what the other sent."
        )
    if sites < ON_FROM:
        return (
            "With secure_aggregation=required the sum over the three sites, and no site's own "
            "part: as long as nobody is missing in a round and no site works with the "
            "coordinator. It bears neither, so that a deployment of three does so only if asked."
        )
    return (
        "With secure_aggregation=required (from four sites on, what a deployment does by itself) "
        "the sum over the sites, and no site's own part."
    )


def _mechanism(results: Results) -> Mechanism | None:
    return results.privacy.guarantees[0].mechanism if results.privacy else None

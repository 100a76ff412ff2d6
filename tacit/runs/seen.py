"""What the coordinator sees of a run, in words: a sum over sites, or what each site sends."""

from tacit.privacy.events import Unit
from tacit.runs.guarantee import Statement
from tacit.runs.results import Mechanism, Results, SecureSum


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
            "another round without it. Against that there is noise, where there is a guarantee.",
        ),
    )


def _trust(sums: SecureSum) -> str:
    if not sums.corrupt:
        return (
            "No site works with the coordinator: were one, only one other would hide what each "
            f"sends. With {sums.sites} sites nobody may be missing in a round."
        )
    return (
        f"At most {sums.corrupt} of the {sums.sites} sites work with the coordinator, and every "
        "site has the same roster of keys, which it pinned itself. The coordinator may lie as it "
        "likes: then there is no sum."
    )


def _each(results: Results) -> tuple[Statement, ...]:
    mechanism = results.privacy.guarantees[0].mechanism if results.privacy else None
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
            "With secure_aggregation=required (from four sites on, what a deployment does by "
            "itself) the sum over the sites, and no site's own part.",
        ),
    )

"""A guarantee in words that a data protection officer can file.

Every statement follows from public figures: the plan of the run, never its data.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tacit.privacy.events import Unit
from tacit.runs import phrases
from tacit.runs.results import (
    Adversary,
    DomainSummary,
    Guarantee,
    Mechanism,
    Privacy,
    ReportedAccountant,
    Results,
    Sampling,
)

NO_GUARANTEE: Final = (
    "No privacy guarantee: nothing limits what the server, the other sites or whoever "
    "gets this model can learn about a single record of the training data."
)
SIMULATED_NOISE: Final = (
    "ε is what a deployment of this plan would have; noise in this simulation could be recomputed "
    "from its seed, so these weights are not private."
)
TEST_DATA: Final = (
    "At least one site marked its data as test data and its noise can be recomputed: no promise "
    "holds for these weights."
)
MOST_UPDATE_NOISE: Final = "at most 1.033"
"""By `tacit.learning.clipping.count_weight`, where a run did not keep how much it was."""
FALSE_ALARM: Final = 0.01
LISTED_SITES: Final = 8


@dataclass(frozen=True, slots=True)
class Statement:
    """One element of a guarantee: what it is about, in words, and as a list where it is one."""

    about: str
    text: str
    points: tuple[str, ...] = ()


def guarantees_in_words(results: Results) -> list[tuple[Statement, ...]]:
    """Say every guarantee of a run whole; there is none without privacy."""
    if results.privacy is None:
        return []
    return [
        guarantee_in_words(
            guarantee,
            results.privacy,
            results.domain,
            simulation=results.simulation,
            summed=results.secure_sum is not None,
        )
        for guarantee in results.privacy.guarantees
    ]


def guarantee_in_words(
    guarantee: Guarantee,
    privacy: Privacy,
    domain: DomainSummary,
    *,
    simulation: bool,
    summed: bool = False,
) -> tuple[Statement, ...]:
    """Say one guarantee whole; `summed` says that the coordinator saw sums only.

    In order: (ε, δ) and what they mean, unit, relation, of persons what a changed row shows, of
    rows that overlap what a measurement costs, sampling, mechanism, accountant, in a deployment
    where the truth is kept, adversary, honest sites assumed, what is not protected, and whether the
    noise was only simulated.
    """
    unit = guarantee.unit
    word = domain.named(unit)
    test_data = privacy.simulated_noise and not simulation
    statements = [
        Statement("Guarantee", _bound(guarantee, test_data=test_data)),
        Statement("What it means", _meaning(guarantee, word)),
        Statement(
            "Unit",
            phrases.UNIT[unit].format(row=word, unit_protected=domain.unit_protected.rstrip(".")),
        ),
        Statement("Relation", phrases.RELATION[guarantee.relation].format(unit=word)),
        *([Statement("A changed row", _changed(guarantee))] if unit is Unit.PERSON else []),
        *_overlap(guarantee, domain),
        Statement("Sampling", _sampling(guarantee, privacy.sampling, word)),
        Statement(
            "Mechanism",
            _mechanism(guarantee, word)
            + ("" if simulation or test_data else f" {phrases.OWN_NOISE}"),
        ),
        Statement("Accountant", _accountant(guarantee, privacy)),
        *([] if simulation else [Statement("Ledger", phrases.LEDGER)]),
        Statement("Adversary", _adversary(guarantee, word, summed=summed)),
        Statement("Honest sites assumed", _honest(guarantee, word, summed=summed)),
        Statement(
            "Not protected",
            "The guarantee does not cover:",
            _not_protected(domain, word, simulation=simulation),
        ),
    ]
    if test_data:
        statements.append(Statement("Test data", TEST_DATA))
    elif privacy.simulated_noise:
        statements.append(Statement("Simulated noise", SIMULATED_NOISE))
    return tuple(statements)


def recognised_at_most(epsilon: float, delta: float, false_alarm: float = FALSE_ALARM) -> float:
    """Largest share of used units that a membership test can recognise.

    `false_alarm` is the share of unused units it wrongly claims were used. Both directions of
    (ε, δ) bound a test's power β: β ≤ e^ε α + δ and 1 - α ≤ e^ε (1 - β) + δ (Kairouz, Oh and
    Viswanath 2015, arXiv 1311.0776, theorem 2.1).
    """
    if math.isinf(epsilon):
        return 1.0
    # e^709 is the largest that fits in a float; the minimum is 1 to the last bit long before.
    growth = math.exp(min(epsilon, 700.0))
    return min(1.0, growth * false_alarm + delta, 1 - (1 - delta - false_alarm) / growth)


def format_epsilon(epsilon: float) -> str:
    """ε with three digits, rounded up: a printed ε is never below the true one."""
    if math.isinf(epsilon):
        return "∞"
    if epsilon <= 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(epsilon)))
    # 1e-9 forgives binary fractions: 0.3 is 0.299999… and must not become 0.301.
    rounded = math.ceil(epsilon * 10**digits - 1e-9) / 10**digits
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(rounded)))}f}"


_SEEN: Final = {
    Adversary.OTHER_SITES_AND_MODEL_HOLDERS: " the coordinator hands on during this run ",
    Adversary.SERVER_AND_COLLUDERS: " is opened of the sites' sums during this run ",
}
"""What is private, where it is not all that leaves a site."""


def _bound(guarantee: Guarantee, *, test_data: bool) -> str:
    by_site = {site: spending.epsilon for site, spending in guarantee.sites.items()}
    private = {site: epsilon for site, epsilon in by_site.items() if not math.isinf(epsilon)}
    exposed = [site for site in by_site if site not in private]
    sentences = []
    if private:
        leaves = _SEEN.get(guarantee.adversary, " leaves a site during this run ")
        sentences.append(
            ("Had no site marked its data as test data, what" if test_data else "What")
            + leaves
            + ("would be" if test_data else "is")
            + " (ε, δ)-differentially private, for each site on its own, with "
            f"δ = {guarantee.delta:g} and {_epsilons(private)}."
        )
    if exposed:
        sentences.append(
            f"At {_sites(exposed)} ε is infinite: there is no privacy guarantee at "
            f"{'this site' if len(exposed) == 1 else 'these sites'}."
        )
    return " ".join(sentences)


def _epsilons(by_site: Mapping[str, float]) -> str:
    if len(by_site) <= LISTED_SITES:
        return "ε = " + _join(
            [f"{format_epsilon(epsilon)} at {site}" for site, epsilon in by_site.items()]
        )
    low, high = (format_epsilon(pick(by_site.values())) for pick in (min, max))
    if low == high:
        return f"ε = {high} at each of {len(by_site):,} sites"
    return f"ε from {low} to {high} at {len(by_site):,} sites; the table gives the largest first"


def _meaning(guarantee: Guarantee, word: str) -> str:
    epsilon = guarantee.largest_epsilon
    if math.isinf(epsilon):
        return (
            f"An infinite ε limits nothing: an observer may recognise every {word} that was used."
        )
    share = recognised_at_most(epsilon, guarantee.delta)
    return (
        "Take two data sets that differ as the relation below says. Whatever the run puts out, "
        f"it is at most e^ε times as likely with one as with the other, plus δ. So whoever tries "
        f"to tell whether one {word} was used, and is wrong about 1 in 100 that were "
        f"not, recognises at most {100 * share:.3g} in 100 that were (at ε = "
        f"{format_epsilon(epsilon)}, the largest here). Blind guessing recognises 1 in 100."
    )


def _changed(guarantee: Guarantee) -> str:
    """Say what the run shows of a row that one person might have another way."""
    found = guarantee.epsilon_changed
    if found is None:
        cost = "How large ε is for that is not known here: it is larger, about that of two persons."
    elif math.isinf(found):
        cost = "For that nothing is promised."
    else:
        cost = (
            f"For that, at the same δ, ε = {format_epsilon(found)}, where it is largest: between "
            "two data sets in which one person is changed."
        )
    return phrases.CHANGED.format(cost=cost)


def _overlap(guarantee: Guarantee, domain: DomainSummary) -> list[Statement]:
    found = guarantee.epsilon_overlap
    if found is None:
        return []
    cost = "nothing at all" if math.isinf(found) else f"ε = {format_epsilon(found)}"
    said = phrases.OVERLAP.format(overlap=domain.overlap, row=domain.row, cost=cost)
    return [Statement("A measurement", said)]


def _sampling(guarantee: Guarantee, sampling: Sampling, word: str) -> str:
    rates = {spending.sampling_rate for spending in guarantee.sites.values()}
    low, high = min(rates), max(rates)
    range_ = f"q = {low:.3g}" if low == high else f"q from {low:.3g} to {high:.3g}"
    if guarantee.unit is Unit.CLIENT and _full_batch(guarantee):
        return (
            f"None is counted on: which {word} takes part in a round is visible, so that "
            "drawing some adds no protection. In how many rounds one can be is fixed before the "
            "first."
        )
    if _full_batch(guarantee):
        return (
            f"None: every {word} enters every step (q = 1), so sampling adds no "
            "protection. The number of steps and the divisor are public constants."
        )
    return phrases.SAMPLING[sampling].format(unit=word, rates=range_)


def _accountant(guarantee: Guarantee, privacy: Privacy) -> str:
    if guarantee.mechanism is Mechanism.SKELLAM_IN_SHARES:
        return phrases.SKELLAM
    # `tacit.privacy.accounting.epsilon` needs no PLD where nothing is sampled.
    exact = privacy.accountant is ReportedAccountant.PLD and _full_batch(guarantee)
    return phrases.EXACT if exact else phrases.ACCOUNTANT[privacy.accountant]


def _full_batch(guarantee: Guarantee) -> bool:
    return all(spending.sampling_rate == 1 for spending in guarantee.sites.values())


def _mechanism(guarantee: Guarantee, word: str) -> str:
    name, source, taken = "The sampled Gaussian mechanism", "DP-SGD", "each sampled"
    if _full_batch(guarantee):
        name, source, taken = "The Gaussian mechanism", "DP-SGD without its sampling", "every"
    said = phrases.MECHANISM[guarantee.mechanism]
    if guarantee.unit is Unit.CLIENT and guarantee.mechanism is Mechanism.SKELLAM_IN_SHARES:
        said = phrases.CLIENTS_IN_SHARES
    if guarantee.persons is not None:
        persons = guarantee.persons
        said += phrases.OF_A_PERSON.format(rows=persons.rows, within=persons.within)
    if guarantee.clipping_quantile is not None:
        more = guarantee.update_noise
        said += phrases.ADAPTIVE.format(
            quantile=guarantee.clipping_quantile, more=f"{more:.4g}" if more else MOST_UPDATE_NOISE
        )
    return said.format(name=name, source=source, taken=f"{taken} {word}")


def _adversary(guarantee: Guarantee, word: str, *, summed: bool) -> str:
    said = phrases.ADVERSARY[guarantee.adversary]
    if summed and guarantee.mechanism is Mechanism.GAUSSIAN_AT_SERVER:
        said = phrases.TRUSTED_WITH_A_SUM
    return said.format(unit=word)


def _honest(guarantee: Guarantee, word: str, *, summed: bool) -> str:
    count = guarantee.honest_sites
    if guarantee.mechanism is Mechanism.GAUSSIAN_AT_SERVER:
        return (
            "None, also if all other clients work together; but the coordinator: nothing protects "
            f"a {word} from whoever sees {'the exact sum' if summed else 'its update'}."
        )
    if count == 1:
        return (
            f"None besides the site that holds the {word}: its own noise is enough, even if the "
            "server and all other sites work together."
        )
    if guarantee.unit is Unit.CLIENT:
        return (
            f"At least {count} clients, the one that is protected among them, must follow the "
            "protocol and keep their noise to themselves; with fewer, ε is larger than stated."
        )
    return (
        f"At least {count} sites, the one that holds the {word} among them, must follow the "
        "protocol and keep their noise to themselves; with fewer, ε is larger than stated."
    )


def _not_protected(domain: DomainSummary, word: str, *, simulation: bool) -> tuple[str, ...]:
    items = [item[:1].upper() + item[1:].rstrip(".") + "." for item in domain.not_protected]
    items += [
        f"What the data show with or without any one {word}: findings about a whole "
        "population, also where they let someone guess at a member of it.",
        "Who took part: the names of the sites, their declared sizes, and when they answered.",
        "How long the computation took and how much memory it used.",
    ]
    if domain.public_pool is not None:
        items.append(
            "The public pool: it is public by assumption, and what learns from it adds no noise."
        )
    if simulation:
        items.append(
            "The held-out measurements in this report (simulation only): they were taken without "
            "noise, and a deployed site does not release them."
        )
        items.append(
            "Baselines trained beside this run (simulation only): they use the same rows, with "
            "an ε of their own or none. The guarantee is of this run's model and of the messages "
            "that made it."
        )
    return tuple(items)


def _sites(names: list[str]) -> str:
    return _join(names) if len(names) <= LISTED_SITES else f"{len(names):,} sites"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

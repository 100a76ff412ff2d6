"""The sentences of which a guarantee in words is made, by what the run has."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tacit.privacy.events import Relation, Unit
from tacit.runs.results import Adversary, Mechanism, ReportedAccountant, Sampling

UNIT: Final[Mapping[Unit, str]] = MappingProxyType(
    {
        Unit.RECORD: (
            "One {row} ({unit_protected}). A person with several {row}s at a site is not covered "
            "as a whole by this ε; for one with a {row} at several sites, the ε and the δ of "
            "these sites add up."
        ),
        Unit.PERSON: (
            "One person ({unit_protected}), however many rows it has at a site. For a person "
            "present at several sites, the ε and the δ of these sites add up; one who goes by "
            "several names at a site is protected as several persons."
        ),
        Unit.CLIENT: (
            "One client: everything that one participant contributes to the run. Someone who owns "
            "several clients is not covered as a whole by this ε."
        ),
    }
)

RELATION: Final[Mapping[Relation, str]] = MappingProxyType(
    {
        Relation.ADD_OR_REMOVE_ONE: (
            "Add or remove one: the two data sets differ by the presence of one {unit}. Changing "
            "a {unit} is removing it and adding another, and costs more than this ε."
        ),
        Relation.REPLACE_WITH_ZERO: (
            "Replace with zero: the contribution of one {unit} is there or is replaced by zero. "
            "That the {unit} took part stays visible."
        ),
    }
)

SAMPLING: Final[Mapping[Sampling, str]] = MappingProxyType(
    {
        Sampling.POISSON: (
            "Poisson: each {unit} enters each step by a coin of its own, with a public rate "
            "({rates}). The number of steps and the divisor are public constants that do not "
            "follow the data. The server's choice of sites amplifies nothing."
        ),
    }
)

MECHANISM: Final[Mapping[Mechanism, str]] = MappingProxyType(
    {
        Mechanism.GAUSSIAN_AT_SITE: (
            "{name} at each site ({source}; Abadi et al. 2016). In each step the contribution of "
            "{taken} is shortened to an L2 norm of at most C, the contributions are summed, and "
            "Gaussian noise of standard deviation σ × C is added to every coordinate of the sum "
            "before anything else is done with it. What cannot be used counts as zero. σ, q, C and "
            "the number of steps of each site are in the table."
        ),
        Mechanism.SKELLAM_IN_SHARES: (
            "The Skellam mechanism, its noise in shares (Agarwal, Kairouz and Liu 2021). In each "
            "step the contribution of {taken} is shortened to an L2 norm of at most C, weighed and "
            "rounded to an integer grid by itself; each site sums its own, adds its share of the "
            "noise, and only the sum over the sites is opened. σ in the table is the deviation of "
            "the noise that is counted on, divided by the sensitivity after rounding."
        ),
        Mechanism.GAUSSIAN_AT_SERVER: (
            "The Gaussian mechanism at the coordinator (DP-FedAvg; McMahan et al. 2018). In each "
            "round all that a client adds to the model is shortened to an L2 norm of at most C, "
            "the updates are summed, every client counting alike, Gaussian noise of standard "
            "deviation σ × C is added to every coordinate of the sum, and the sum is divided by "
            "the number of clients that a round asks, whoever replied. A step in the table is a "
            "round that the client was in."
        ),
    }
)

OF_A_PERSON: Final = (
    " The contribution of a person is the {within} of the gradients of its rows, of {rows} of them "
    "at most, which are drawn at random anew in each step; it is shortened as one."
)

CHANGED: Final = (
    "Whoever knows that a person is there and asks what a row of it says is not held off by the ε "
    "above. With one row changed a person may contribute anything else in every step, and two "
    "contributions can lie 2 × C apart, as if the person were removed and another added. {cost}"
)
"""What a changed row of one person still shows."""

OVERLAP: Final = (
    "One measurement lies in up to {overlap} {row}s, each of which the ε above hides by itself. Of "
    "a measurement, which is in all of them, no more is promised at the same δ than {cost}."
)
"""What a measurement costs where rows overlap."""

TRUSTED_WITH_A_SUM: Final = (
    "All other clients and whoever gets the model, together. They may know every setting, the "
    "model of every round, and all data but those of the {unit} in question. The coordinator is "
    "trusted: it sees the exact sum of the clients' updates, and must add the noise, keep it to "
    "itself and forget the sum. Of one client's update it sees nothing but that."
)

CLIENTS_IN_SHARES: Final = (
    "The Skellam mechanism, its noise in shares (Agarwal, Kairouz and Liu 2021). In each round all "
    "that a client adds to the model is shortened to an L2 norm of at most C and rounded to an "
    "integer grid; each client adds its share of the noise, only the sum over the clients is "
    "opened, and it is divided by the number of clients that a round asks, whoever replied. σ in "
    "the table is the deviation of the noise that is counted on, divided by the sensitivity after "
    "rounding. A step in the table is a round that the client was in."
)
ADAPTIVE: Final = (
    " C follows the updates: beside its update each client sends whether it was not shortened, as "
    "one more coordinate of the same vector. Both are one release, with one noise and one charge. "
    "σ is relative to the norm of both, so that an update alone has {more} times σ × C as noise. C "
    "of the next round moves towards what leaves {quantile:g} of the updates as they are (Andrew "
    "et al. 2021). The table has C of the first."
)

OWN_NOISE: Final = (
    "Each site draws its noise itself, with a cryptographic generator that its own operating "
    "system keys: nobody else draws it or knows it."
)

ACCOUNTANT: Final[Mapping[ReportedAccountant, str]] = MappingProxyType(
    {
        ReportedAccountant.PLD: (
            "Privacy loss distributions (PLD), computed by the library dp-accounting over all "
            "steps of the plan, which was fixed before the first round."
        ),
        ReportedAccountant.RDP: (
            "Rényi differential privacy (RDP; Mironov 2017), computed by the library dp-accounting "
            "over all steps of the plan, which was fixed before the first round."
        ),
    }
)
SKELLAM: Final = (
    "Rényi differential privacy (RDP) by the theorem for Skellam noise (Agarwal, Kairouz and Liu "
    "2021, arXiv 2110.04995), with the dimension, and with rounding in the sensitivity, over all "
    "steps of the plan, which was fixed before the first round."
)
EXACT: Final = (
    "Exact: without sampling, all steps of a site compose to one Gaussian with noise multiplier "
    "σ / √steps (Dong, Roth and Su 2019, arXiv 1905.02383, corollary 3.3), and its ε is computed "
    "by the library dp-accounting from the formula of Balle and Wang 2018 (arXiv 1805.06530, "
    "theorem 8), with no discretisation. The plan was fixed before the first round."
)

LEDGER: Final = (
    "ε here is the most that the coordinator asked of each site, in this run alone. The truth is "
    "the site's own ledger, which stays at the site: every round is charged there before its data "
    "are touched, never beyond the budget that it set aside for this run, and it counts all runs "
    "over the life of the data set. How much that is together, the site can tell."
)

ADVERSARY: Final[Mapping[Adversary, str]] = MappingProxyType(
    {
        Adversary.SERVER_AND_OTHER_SITES: (
            "The server, all other sites and whoever gets the model, together. They may know every "
            "setting, every message that leaves the site, every model on the way, and all data but "
            "the {unit} in question. The site that holds the {unit} sees it, and is trusted."
        ),
        Adversary.SERVER_AND_COLLUDERS: (
            "The server, whoever gets the model, and as many other sites as leave the honest ones "
            "below, together. They may know every setting, every sum and every model on the way, "
            "and all data but the {unit} in question; of the single messages that a sum is made of "
            "they see no content. The site that holds the {unit} sees it, and is trusted."
        ),
        Adversary.OTHER_SITES_AND_MODEL_HOLDERS: (
            "All other clients and whoever gets the model, together. They may know every setting, "
            "the model of every round, and all data but those of the {unit} in question. The "
            "coordinator is trusted: it sees each client's update before there is noise, and must "
            "add the noise, keep it to itself and forget the updates."
        ),
    }
)

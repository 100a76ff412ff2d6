"""A guarantee in words is whole, for every unit and relation."""

import math
from dataclasses import replace

import pytest
from example_run import DOMAIN, GUARANTEE, PRIVACY, with_spending
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from tacit.learning.plan import Persons, Within
from tacit.privacy import accounting
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.runs import phrases
from tacit.runs.guarantee import (
    SIMULATED_NOISE,
    format_epsilon,
    guarantee_in_words,
    recognised_at_most,
)
from tacit.runs.results import (
    Adversary,
    Guarantee,
    Mechanism,
    ReportedAccountant,
    SiteSpending,
)

ELEMENTS = [
    "Guarantee",
    "What it means",
    "Unit",
    "Relation",
    "Sampling",
    "Mechanism",
    "Accountant",
    "Adversary",
    "Honest sites assumed",
    "Not protected",
]


FULL_BATCH = replace(
    GUARANTEE, sites={s: replace(one, sampling_rate=1.0) for s, one in GUARANTEE.sites.items()}
)


def words(guarantee: Guarantee, privacy=PRIVACY, domain=DOMAIN, simulation=True):
    found = guarantee_in_words(guarantee, privacy, domain, simulation=simulation)
    return {statement.about: " ".join((statement.text, *statement.points)) for statement in found}


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("accountant", ReportedAccountant)
def test_every_element_is_there(unit: Unit, relation: Relation, accountant: ReportedAccountant):
    found = words(
        replace(GUARANTEE, unit=unit, relation=relation), replace(PRIVACY, accountant=accountant)
    )
    elements = [*ELEMENTS, "Simulated noise"]
    if unit is Unit.PERSON:
        elements.insert(elements.index("Sampling"), "A changed row")
    assert list(found) == elements
    assert all(len(text) > 30 for text in found.values())
    assert not any("{" in text for text in found.values())
    assert "(ε, δ)-differentially private" in found["Guarantee"]
    assert "δ = 0.0001" in found["Guarantee"]
    for site, spending in GUARANTEE.sites.items():
        assert f"{format_epsilon(spending.epsilon)} at {site}" in found["Guarantee"]
    assert found["Unit"].startswith(f"One {unit}")
    # What the domain's unit is, a row, says nothing of a client.
    assert (DOMAIN.unit_protected in found["Unit"]) == (unit is not Unit.CLIENT)
    assert unit in found["Relation"]
    added = relation is Relation.ADD_OR_REMOVE_ONE
    assert found["Relation"].startswith("Add or remove one" if added else "Replace with zero")
    assert "Poisson" in found["Sampling"]
    assert "q from 0.5 to 1" in found["Sampling"]
    assert "Gaussian" in found["Mechanism"]
    assert accountant.name in found["Accountant"]
    assert "The server, all other sites and whoever gets the model" in found["Adversary"]
    assert found["Honest sites assumed"].startswith("None besides")
    for item in DOMAIN.not_protected:
        assert item[1:] in found["Not protected"]


def test_units_and_relations_do_not_say_the_same():
    assert len({words(replace(GUARANTEE, unit=unit))["Unit"] for unit in Unit}) == len(Unit)
    relations = {words(replace(GUARANTEE, relation=one))["Relation"] for one in Relation}
    assert len(relations) == len(Relation)


OF_PERSONS = replace(
    GUARANTEE, unit=Unit.PERSON, persons=Persons(6, Within.SUM), epsilon_changed=2.2063
)


def test_of_a_person_it_says_what_counts_of_its_rows_and_what_a_changed_row_shows():
    found = words(OF_PERSONS)
    assert "the sum of the gradients of its rows, of 6 of them at most" in found["Mechanism"]
    assert "the ε and the δ of these sites add up" in found["Unit"]
    assert "is not held off by the ε above" in found["A changed row"]
    assert "For that, at the same δ, ε = 2.21, where it is largest" in found["A changed row"]
    for epsilon, said in ((None, "is not known here"), (math.inf, "nothing is promised")):
        changed = words(replace(OF_PERSONS, epsilon_changed=epsilon))["A changed row"]
        assert said in changed
    assert "A changed row" not in words(GUARANTEE)


def test_rows_that_overlap_go_by_their_name_and_a_measurement_has_its_own_epsilon():
    domain = replace(DOMAIN, row="window", overlap=10, unit_protected="one window of 50 cycles")
    found = words(replace(GUARANTEE, epsilon_overlap=208.95), domain=domain)
    assert found["Unit"].startswith("One window (one window of 50 cycles).")
    assert "One measurement lies in up to 10 windows" in found["A measurement"]
    assert "no more is promised at the same δ than ε = 209" in found["A measurement"]
    assert "record" not in " ".join(found.values())
    endless = words(replace(GUARANTEE, epsilon_overlap=math.inf), domain=domain)
    assert "than nothing at all" in endless["A measurement"]
    assert "A measurement" not in words(GUARANTEE)


@pytest.mark.parametrize(("more", "said"), [(1.02134, "1.021"), (None, "at most 1.033")])
def test_where_c_follows_the_updates_it_says_what_the_count_costs(more, said):
    moving = replace(GUARANTEE, clipping_quantile=0.5, update_noise=more)
    mechanism = words(moving)["Mechanism"]
    assert f"an update alone has {said} times σ × C as noise" in mechanism
    assert "one release, with one noise and one charge" in mechanism


def test_a_word_that_nobody_explained_is_found(monkeypatch: pytest.MonkeyPatch):
    kept = {unit: text for unit, text in phrases.UNIT.items() if unit is not Unit.PERSON}
    monkeypatch.setattr(phrases, "UNIT", kept)
    with pytest.raises(KeyError):
        words(replace(GUARANTEE, unit=Unit.PERSON))


def test_simulated_noise_is_said_only_where_it_is():
    assert words(GUARANTEE)["Simulated noise"] == SIMULATED_NOISE
    assert SIMULATED_NOISE == (
        "ε is what a deployment of this plan would have; noise in this simulation could be "
        "recomputed from its seed, so these weights are not private."
    )
    assert "Simulated noise" not in words(GUARANTEE, replace(PRIVACY, simulated_noise=False))


def test_held_out_measurements_are_outside_the_guarantee_of_a_simulation():
    assert "simulation only" in words(GUARANTEE)["Not protected"]
    assert "simulation only" not in words(GUARANTEE, simulation=False)["Not protected"]


def test_a_public_pool_is_public_by_assumption():
    domain = replace(DOMAIN, public_pool="a fifth of the rows")
    assert "public by assumption" in words(GUARANTEE, domain=domain)["Not protected"]
    assert "public by assumption" not in words(GUARANTEE)["Not protected"]


def test_an_infinite_epsilon_is_no_guarantee():
    endless = SiteSpending(math.inf, 1.0, 20, 1.0, 0.0, 1.0)
    found = words(with_spending("va", endless).privacy.guarantees[0])
    assert "At va ε is infinite: there is no privacy guarantee at this site." in found["Guarantee"]
    assert "0.999 at hungarian" in found["Guarantee"]
    assert "limits nothing" in found["What it means"]


def test_full_batches_are_not_called_sampling():
    found = words(FULL_BATCH)
    assert found["Sampling"].startswith("None: every record")
    assert found["Mechanism"].startswith("The Gaussian mechanism at each site")
    assert "contribution of every record is shortened" in found["Mechanism"]
    assert "sampled" not in found["Mechanism"]
    assert not any("{" in text for text in found.values())


def test_one_site_that_samples_is_sampling():
    sites = {**FULL_BATCH.sites, "va": replace(FULL_BATCH.sites["va"], sampling_rate=0.99)}
    found = words(replace(FULL_BATCH, sites=sites))
    assert found["Mechanism"].startswith("The sampled Gaussian mechanism at each site (DP-SGD;")
    assert "contribution of each sampled record is shortened" in found["Mechanism"]
    assert found["Accountant"].startswith("Privacy loss distributions (PLD)")


def test_full_batches_are_accounted_exactly():
    found = words(FULL_BATCH)["Accountant"]
    assert found.startswith("Exact: without sampling")
    assert "Balle and Wang 2018 (arXiv 1805.06530, theorem 8)" in found
    assert "PLD" not in found
    by_rdp = words(FULL_BATCH, replace(PRIVACY, accountant=ReportedAccountant.RDP))
    assert "RDP" in by_rdp["Accountant"]


def test_what_is_said_of_full_batches_is_what_is_done(monkeypatch: pytest.MonkeyPatch):
    def no_discretisation(*_):
        raise AssertionError("a privacy loss distribution was discretised")

    monkeypatch.setattr(accounting, "_pld_epsilon", no_discretisation)
    epsilon = accounting.epsilon([GaussianSteps(14.25, 1.0, 20, 1.0)], 1e-4)
    # Theorem 8 of Balle and Wang 2018, for the one Gaussian of noise multiplier σ / √20.
    loss = math.sqrt(20) / 14.25
    spent = norm.cdf(loss / 2 - epsilon / loss) - math.exp(epsilon) * norm.cdf(
        -loss / 2 - epsilon / loss
    )
    assert spent == pytest.approx(1e-4, rel=1e-6)
    with pytest.raises(AssertionError, match="discretised"):
        accounting.epsilon([GaussianSteps(14.25, 0.99, 20, 1.0)], 1e-4)


def test_many_sites_are_not_listed():
    spending = GUARANTEE.sites["va"]
    sites = {str(number): replace(spending, epsilon=0.5 + number / 100) for number in range(40)}
    found = words(replace(GUARANTEE, sites=sites))["Guarantee"]
    assert "ε from 0.500 to 0.890 at 40 sites" in found


def test_honest_sites_are_counted():
    assert "At least 3 sites" in words(replace(GUARANTEE, honest_sites=3))["Honest sites assumed"]


def test_recognised_share_of_randomized_response():
    # Answering truly with probability e^ε / (1 + e^ε) is exactly ε-private (Warner 1965): its
    # power at false alarm 1 / (1 + e^ε) meets the bound.
    epsilon = 1.5
    lie = 1 / (1 + math.exp(epsilon))
    assert recognised_at_most(epsilon, 0.0, lie) == pytest.approx(1 - lie, rel=1e-12)


def test_recognised_share_bounds_the_best_test_of_a_gaussian():
    # One Gaussian step, σ = 1: ε = 4.37718 at δ = 1e-5 (Balle and Wang 2018, theorem 8); the
    # best test at false alarm α has power Φ(Φ^-1(α) + 1).
    power = norm.cdf(norm.ppf(0.01) + 1)
    assert power < recognised_at_most(4.37718, 1e-5)
    assert recognised_at_most(math.inf, 1e-5) == 1


@given(st.floats(0, 1000), st.floats(0, 0.5), st.floats(0, 0.5))
def test_recognised_share_is_a_share_and_beats_guessing(epsilon, delta, false_alarm):
    share = recognised_at_most(epsilon, delta, false_alarm)
    assert share <= 1
    assert share >= false_alarm - 1e-12


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (0.0, "0"),
        (0.3, "0.300"),
        (0.30001, "0.301"),
        (0.9991, "1.00"),
        (1.0, "1.00"),
        (1.0001, "1.01"),
        (12.34, "12.4"),
        (634.2, "635"),
        (12345.6, "12346"),
        (0.00012345, "0.000124"),
        (math.inf, "∞"),
    ],
)
def test_epsilon_is_rounded_up(epsilon: float, text: str):
    assert format_epsilon(epsilon) == text


@given(st.floats(1e-6, 1e6))
def test_a_printed_epsilon_is_not_below_the_true_one(epsilon):
    printed = float(format_epsilon(epsilon))
    # 1e-9 is the allowance for binary fractions, in units of the third digit.
    assert printed >= epsilon * (1 - 1e-9)
    assert printed <= (epsilon * 1.0101 if epsilon < 100 else epsilon + 1)


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("adversary", Adversary)
def test_there_are_words_for_every_mechanism_and_adversary(mechanism, adversary):
    found = words(replace(GUARANTEE, mechanism=mechanism, adversary=adversary))
    assert list(found) == [*ELEMENTS, "Simulated noise"]
    assert not any("{" in text for text in found.values())


def test_who_is_trusted_is_said():
    shared = replace(
        GUARANTEE,
        mechanism=Mechanism.SKELLAM_IN_SHARES,
        adversary=Adversary.SERVER_AND_COLLUDERS,
        honest_sites=3,
    )
    found = words(shared)
    assert "of the sites' sums" in found["Guarantee"]
    assert "leaves a site" not in found["Guarantee"]
    assert "At least 3 sites" in found["Honest sites assumed"]
    central = replace(
        GUARANTEE,
        mechanism=Mechanism.GAUSSIAN_AT_SERVER,
        adversary=Adversary.OTHER_SITES_AND_MODEL_HOLDERS,
    )
    found = words(central)
    assert "the coordinator hands on" in found["Guarantee"]
    assert "leaves a site" not in found["Guarantee"]
    assert "The coordinator is trusted" in found["Adversary"]
    assert "its own noise is enough" not in found["Honest sites assumed"]

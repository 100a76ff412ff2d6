"""A run is planned once, and so that it meets every site's limits."""

import math
from dataclasses import replace

import pytest

from commands.compose import composed
from server.planning import plan_run, unable
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError
from tacit.learning.plan import Persons, Within
from tacit.messages import Limits
from tacit.plans import sums_securely
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.events import Unit
from tacit.privacy.policy import Reason
from tacit.privacy_settings import NoPrivacy, RecordPrivacy
from tacit.settings import Component, Training

SIZES = {"east": 200, "west": 100}
TRAINING = Training(rounds=4, local_steps=2, batch_size=50, learning_rate=0.5)
PRIVACY = RecordPrivacy("record", epsilon=2.0, delta=1e-5, clipping_norm=1.5)
FEDAVG = Component("fedavg", "flwr.serverapp.strategy.FedAvg")
WIDE = Limits(8.0, 1e-4, 0.0, 0, False)


def planned(cache, limits=None, privacy=PRIVACY):
    return plan_run(
        "run-1", "wards", "f" * 64, SIZES, TRAINING, privacy, FEDAVG, cache, 10, limits=limits
    )


def test_without_limits_every_site_has_the_runs_epsilon(cache):
    plan = planned(cache)
    assert dict(plan.epsilons) == {"east": 2.0, "west": 2.0}
    for site, rate in (("east", 0.25), ("west", 0.5)):
        each = plan.sites[site]
        assert (each.sampling_rate, each.divisor, each.steps) == (rate, 50.0, 2)
        assert each.noise_multiplier == noise_multiplier(2.0, 1e-5, rate, 8)
    assert (plan.terms.domain, plan.terms.strategy, plan.terms.others) == ("wards", "fedavg", 0)


def test_sites_that_do_the_same_are_planned_once(cache, monkeypatch):
    asked = []

    def counted(*question, cache):
        asked.append(question)
        return 1.0

    monkeypatch.setattr("tacit.plans.noise_multiplier", counted)
    sizes = {f"user-{n}": 50 if n % 2 else 80 for n in range(1000)}
    plan = plan_run("run", "d", "f" * 64, sizes, TRAINING, PRIVACY, FEDAVG, cache, 10)
    assert len(asked) == 2
    assert plan.sites["user-1"] is plan.sites["user-999"]
    assert plan.sites["user-0"].sampling_rate == 50 / 80
    limits = {"user-3": replace(WIDE, least_noise_multiplier=9.0)}
    own = plan_run("run", "d", "f" * 64, sizes, TRAINING, PRIVACY, FEDAVG, cache, 10, limits)
    assert own.sites["user-3"].noise_multiplier == 9.0
    assert own.sites["user-1"].noise_multiplier == 1.0


def test_a_site_that_spends_less_gets_more_noise_and_the_others_keep_theirs(cache):
    free, plan = planned(cache), planned(cache, {"east": replace(WIDE, epsilon=0.5), "west": WIDE})
    assert dict(plan.epsilons) == {"east": 0.5, "west": 2.0}
    assert plan.sites["east"].noise_multiplier == noise_multiplier(0.5, 1e-5, 0.25, 8)
    assert plan.sites["west"] == free.sites["west"]


def test_no_site_gets_less_noise_than_it_takes(cache):
    plan = planned(cache, {"east": replace(WIDE, least_noise_multiplier=9.0), "west": WIDE})
    assert plan.sites["east"].noise_multiplier == 9.0
    assert plan.sites["west"].noise_multiplier < 9.0


def test_without_privacy_limits_plan_nothing(cache):
    plan = planned(cache, {"east": replace(WIDE, epsilon=0.5)}, NoPrivacy("none"))
    assert dict(plan.epsilons) == {"east": math.inf, "west": math.inf}
    assert plan.sites["east"].noise_multiplier is None


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (WIDE, None),
        (replace(WIDE, most_rounds=4), None),
        (replace(WIDE, most_rounds=3), Reason.TOO_MANY_ROUNDS),
        (replace(WIDE, delta=1e-6), Reason.BUDGET),
    ],
)
def test_what_no_noise_can_mend_is_said(limits, reason):
    assert unable(TRAINING, PRIVACY, limits) == reason


# Sums of which only the total is seen


SEVEN = {f"ward-{number}": 20 * (number + 1) for number in range(7)}


@pytest.fixture
def quick(monkeypatch):
    """Noise in no time, and less of it for more ε."""
    monkeypatch.setattr("tacit.plans.noise_multiplier", lambda epsilon, *_, cache: 10 / epsilon)


def summed(cache, training=TRAINING, privacy=PRIVACY, limits=None, secure=True):
    return plan_run(
        "r", "d", "f" * 64, SEVEN, training, privacy, FEDAVG, cache, 10, limits, secure=secure
    )


@pytest.mark.parametrize(
    ("changes", "fewest"),
    [
        ({"min_replies": "all"}, 7),
        ({"min_replies": 6}, 6),
        ({"min_replies": 2}, 5),
        ({"cohort": 4, "min_replies": 1}, 3),
    ],
)
def test_a_sum_is_of_as_many_as_a_round_needs_and_of_a_quorum_at_least(
    quick, cache, changes, fewest
):
    plan = summed(cache, replace(TRAINING, **changes))
    drawn = plan.among(list(SEVEN)[: changes.get("cohort")])
    assert plan.min_replies == drawn.joint().fewest == fewest
    assert plan.terms.others == fewest - 1
    seen = summed(cache, replace(TRAINING, **changes), secure=False)
    assert (seen.terms.others, seen.joint()) == (0, None)


@pytest.mark.parametrize("privacy", [PRIVACY, NoPrivacy("none")], ids=["record", "none"])
def test_a_secure_sum_changes_nothing_but_how_parts_are_sent(quick, cache, privacy):
    plain, plan = summed(cache, privacy=privacy, secure=False), summed(cache, privacy=privacy)
    assert all(each.part is None for each in plain.sites.values())
    assert {s: replace(each, part=None) for s, each in plan.sites.items()} == plain.sites
    weights = {site: each.part.weight for site, each in plan.sites.items()}
    assert weights == {site: size / 140 for site, size in SEVEN.items()}
    (grid,) = {each.part.grid() for each in plan.sites.values()}
    assert (grid.bits, grid.dimension, grid.sites) == (32, 10, 7)


def test_bits_are_those_of_the_configuration(quick, cache):
    plan = summed(cache, privacy=replace(PRIVACY, bits=16))
    assert {each.part.bits for each in plan.sites.values()} == {16}


def test_what_all_sites_are_told_does_not_say_what_one_of_them_spends(quick, cache):
    narrow = {"ward-3": replace(WIDE, epsilon=0.5)}
    told, plan = summed(cache), summed(cache, limits=narrow)
    assert plan.sites["ward-3"].noise_multiplier > told.sites["ward-3"].noise_multiplier
    assert plan.joint() == told.joint()


def test_the_plan_for_some_sites_is_a_sum_of_those(quick, cache):
    some = list(SEVEN)[2:5]
    assert list(summed(cache).among(some).joint().sites) == some
    assert summed(cache, secure=False).among(some).joint() is None


def settings_of(*words):
    return read_settings(composed(["model=linear", "compare=false", *words]))


@pytest.mark.parametrize(
    ("words", "sites", "deployed", "secure"),
    [
        ((), 4, True, True),
        ((), 3, True, False),
        ((), 4, False, False),
        (("training.cohort=3", "training.min_replies=2"), 9, True, False),
        (("secure_aggregation=off",), 4, True, False),
        (("secure_aggregation=required",), 3, True, True),
        (("secure_aggregation=required",), 3, False, True),
        (("privacy=none",), 4, True, True),
        (("privacy=shared_noise",), 3, True, True),
        (("privacy=shared_noise",), 4, False, False),
        (("privacy=shared_noise", "secure_aggregation=off"), 4, False, False),
        (("privacy.bits=16",), 4, True, True),
        (("privacy.bits=16", "secure_aggregation=required"), 4, False, True),
        (("privacy=shared_noise", "privacy.bits=16"), 4, False, False),
        (("secure_aggregation=required", "engine=ray"), 4, True, True),
    ],
)
def test_from_four_sites_on_a_deployment_sums_securely_and_a_simulation_where_asked(
    words, sites, deployed, secure
):
    assert sums_securely(settings_of(*words), sites, deployed=deployed) is secure


@pytest.mark.parametrize(
    ("words", "sites", "deployed", "says"),
    [
        (("privacy=shared_noise", "secure_aggregation=off"), 4, True, "leave it at auto"),
        (("secure_aggregation=required",), 2, True, "required: with 2 sites in a round"),
        (("secure_aggregation=required",), 2, False, "required: with 2 sites in a round"),
        (("privacy=shared_noise",), 2, True, "auto: with 2 sites in a round"),
        (
            ("secure_aggregation=required", "training.cohort=2", "training.min_replies=2"),
            9,
            False,
            "with 2 sites in a round",
        ),
        (("secure_aggregation=required", "engine=ray"), 4, False, "with engine=ray no process"),
        (("privacy.bits=16",), 3, True, "privacy.bits=16 is of the numbers in a sum"),
        (("privacy.bits=16",), 4, False, "privacy.bits=16 is of the numbers in a sum"),
    ],
)
def test_a_sum_that_cannot_be_or_must_be_is_said(words, sites, deployed, says):
    with pytest.raises(ConfigurationError) as caught:
        sums_securely(settings_of(*words), sites, deployed=deployed)
    assert says in str(caught.value)


def test_where_a_person_is_the_unit_rates_and_divisors_rest_on_declared_persons(cache):
    """SIZES are persons then: a step takes 50 of 200, and their rows are the plan's to bound."""
    person = replace(PRIVACY, unit=Unit.PERSON, rows_per_person=6, within_person=Within.SUM)
    plan = planned(cache, privacy=person).sites["east"]
    record = planned(cache).sites["east"]
    assert plan == replace(record, unit=Unit.PERSON, persons=Persons(6, Within.SUM))
    assert plan.event() == replace(record.event(), unit=Unit.PERSON)

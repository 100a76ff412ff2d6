"""A round's plan: public numbers, checked, and the event that they cost."""

import math
from dataclasses import replace

import pytest

from tacit.errors import ConfigurationError
from tacit.learning.plan import Persons, RoundPlan, Within
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, Unit

PLAN = RoundPlan(5, 0.25, 50.0, 0.1, 1.5, 2.0)


def test_a_private_round_costs_its_noised_sums():
    assert PLAN.event() == GaussianSteps(2.0, 0.25, 5, 1.5, Unit.RECORD, Relation.ADD_OR_REMOVE_ONE)


def test_a_round_without_privacy_says_so():
    event = replace(PLAN, clipping_norm=None, noise_multiplier=None).event()
    assert isinstance(event, ExactRelease)


@pytest.mark.parametrize("change", [{"divisor": 7.0}, {"learning_rate": 9.0}, {"proximal_mu": 0.5}])
def test_what_comes_after_the_noise_costs_nothing(change):
    assert replace(PLAN, **change).event() == PLAN.event()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps of a round must be at least 1, not 0"),
        ({"sampling_rate": 0.0}, "sampling rate must be in .0, 1., not 0.0"),
        ({"sampling_rate": 1.1}, "not 1.1"),
        ({"sampling_rate": math.nan}, "not nan"),
        ({"divisor": 0.0}, "divisor must be positive, not 0.0"),
        ({"divisor": math.inf}, "divisor must be positive, not inf"),
        ({"learning_rate": -1.0}, "learning rate must be positive, not -1.0"),
        ({"learning_rate": math.nan}, "learning rate must be positive, not nan"),
        ({"proximal_mu": -0.1}, "proximal μ must be 0 or more, not -0.1"),
        ({"proximal_mu": math.nan}, "proximal μ must be 0 or more, not nan"),
        ({"clipping_norm": None}, "needs both"),
        ({"noise_multiplier": None}, "needs both"),
        ({"noise_multiplier": 0.0}, "noise_multiplier=0.0 must be positive"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan must be positive"),
        ({"clipping_norm": math.inf}, "clipping_norm=inf must be positive"),
        ({"clipping_norm": -1.0}, "clipping_norm=-1.0 must be positive"),
        ({"unit": Unit.PERSON}, "privacy.unit=person with persons=None"),
        ({"persons": Persons(4, Within.SUM)}, "privacy.unit=record with persons=Persons.rows=4"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(PLAN, **change)


def test_where_the_client_is_the_unit_a_round_is_one_release():
    plan = RoundPlan(5, 0.1, 20.0, 0.5, 2.0, 1.5, Unit.CLIENT)
    assert plan.event() == GaussianSteps(1.5, 1.0, 1, 2.0, Unit.CLIENT, Relation.REPLACE_WITH_ZERO)
    assert plan.clips_update
    assert not plan.clips_gradients
    record = RoundPlan(5, 0.1, 20.0, 0.5, 2.0, 1.5)
    assert record.clips_gradients
    assert not record.clips_update
    plain = RoundPlan(5, 0.1, 20.0, 0.5)
    assert not plain.clips_gradients
    assert not plain.clips_update


def test_where_a_person_is_the_unit_a_step_is_noised_at_the_site_and_the_event_says_so():
    plan = replace(PLAN, unit=Unit.PERSON, persons=Persons(8, Within.MEAN))
    assert plan.event() == replace(PLAN.event(), unit=Unit.PERSON)
    assert plan.clips_gradients
    assert not plan.clips_update
    # What clips comes after: neither costs anything.
    assert replace(plan, persons=Persons(99, Within.SUM)).event() == plan.event()
    with pytest.raises(ConfigurationError, match="at least 1, not 0"):
        Persons(0, Within.MEAN)

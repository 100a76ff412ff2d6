"""An experiment made ready: what very many sites cost before the first round."""

import pytest

from commands.compose import composed
from simulations.experiment import main_arm, only, plan_of, prepare
from tacit.configuration import read_settings
from tacit.domains.partitioned import PartitionedRows

MANY = ("domain=digits", "domain.partition.rows=3")


def prepared(*words):
    return prepare(read_settings(composed([*MANY, *words])))


def test_no_site_is_touched_before_it_takes_part(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(PartitionedRows, "together", None)
        experiment = prepared("domain.partition.sites=20000")
        arm = main_arm(experiment)
        plan = plan_of(arm, experiment, "run")
    assert len(plan.sites) == len(arm.rows) == 20_000
    assert len({id(each) for each in plan.sites.values()}) == 1
    assert len(arm.rows["user-019999"]) == 3


def test_some_of_many_sites_are_what_they_were():
    experiment = prepared("domain.partition.sites=50", "partition=dirichlet")
    some = only(experiment, {"user-000007", "user-000003"})
    assert list(some.data) == list(some.declared_sizes) == ["user-000003", "user-000007"]
    arm = main_arm(some)
    assert list(arm.rows) == list(some.data)
    whole = main_arm(experiment)
    assert arm.rows["user-000007"].features.equal(whole.rows["user-000007"].features)


def test_sites_of_a_domain_come_in_the_order_of_names():
    experiment = prepare(read_settings(composed(["domain=hospitals"])))
    assert list(experiment.data) == ["county", "referral", "screening", "university"]

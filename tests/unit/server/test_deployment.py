"""Which sites a deployed run has, and what its coordinator is told of so many."""

from types import SimpleNamespace

import pytest

from commands.compose import composed
from server.deployment import _sites
from tacit.configuration import read_settings
from tacit.domains.hospitals import Hospitals
from tacit.plans import THREE

NAMES = ("county", "referral", "screening", "university")


def warned(caplog, count, *words):
    """What a coordinator with so many sites in its roster warns of."""
    caplog.clear()
    members = [SimpleNamespace(name=name) for name in NAMES[:count]]
    bundle = SimpleNamespace(roster=SimpleNamespace(valid=lambda now: members))
    settings = read_settings(composed(["domain=hospitals", *words]))
    assert tuple(_sites(bundle, Hospitals(), settings)) == NAMES[:count]
    return [record.getMessage() for record in caplog.records]


def test_three_sites_are_told_what_a_sum_of_them_bears_whether_or_not_there_is_one(caplog):
    (summed,) = warned(caplog, 3, "secure_aggregation=required")
    assert summed == THREE
    (seen,) = warned(caplog, 3)
    assert seen.startswith("secure_aggregation=auto: of three sites each one's part is seen")
    assert seen.endswith(THREE)


@pytest.mark.parametrize(("count", "words"), [(4, ()), (2, ()), (3, ("secure_aggregation=off",))])
def test_others_are_told_nothing_of_three(caplog, count, words):
    assert warned(caplog, count, *words) == []

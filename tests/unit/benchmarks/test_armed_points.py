"""Every point at which a fault can wait is there: armed with a lost one, a process never starts."""

from functools import reduce
from importlib import import_module

import pytest

from benchmarks.armed import POINTS

EVERY = [(name, point) for points in POINTS.values() for name, point in points.items()]


@pytest.mark.parametrize(("name", "point"), EVERY, ids=[name for name, _ in EVERY])
def test_a_point_is_there(name, point):
    assert callable(reduce(getattr, point.name.split("."), import_module(point.owner)))

"""The interval that the README prints, against scipy's own."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.accuracy import interval


def test_the_interval_is_students():
    values = np.random.default_rng(0).normal(0.8, 0.02, size=20).tolist()
    found = interval(values)
    low, high = stats.t.interval(0.95, 19, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)


def test_one_seed_has_no_interval():
    assert str(interval([0.75])) == "0.750"

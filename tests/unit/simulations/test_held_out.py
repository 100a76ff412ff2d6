"""Sites that share test rows: measured once, with the figures of measuring each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from simulations.evaluation import calibrations, constant, measure, predict
from simulations.held_out import LISTED, Alike, held_out_records
from tacit.domains.digits import Digits
from tacit.domains.domain import Card, Examples, Metric, SiteData, Target
from tacit.domains.partition import parts_of
from tacit.domains.partition_labels import Dirichlet
from tacit.domains.partitioned import PartitionedSites

CPU = torch.device("cpu")
LIFE = Target("remaining life", "weeks", 0.0, 200.0)


def card(metric):
    target = LIFE if metric is Metric.RMSE else None
    classes = () if target else ("no", "yes")
    return Card("toy", "Toy", "", classes, metric, "one row", target=target)


def model(outputs):
    torch.manual_seed(0)
    return nn.Linear(3, outputs)


def rows(count, metric, seed):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(count, 3)).astype(np.float32))
    if metric is Metric.RMSE:
        return Examples(features, torch.from_numpy(rng.uniform(-1, 1, count).astype(np.float32)))
    labels = rng.integers(0, 2, count)
    labels[:2] = 0, 1
    return Examples(features, torch.from_numpy(labels))


def lazily(sites, metric, seed=0):
    """Very many sites on one table, and the same as one object for each."""
    table, test = rows(4 * sites, metric, seed), rows(31, metric, seed + 1)
    owners = np.random.default_rng(seed).permutation(np.arange(4 * sites) % sites)
    lazy = PartitionedSites(table, parts_of(owners, np.arange(4 * sites), 4 * sites, sites), test)
    return lazy, dict(lazy.items())


@pytest.mark.parametrize("metric", Metric)
def test_figures_of_many_sites_are_those_of_measuring_each(metric):
    shown, outputs = card(metric), 1 if metric is Metric.RMSE else 2
    lazy, each = lazily(20, metric)
    found = measure(predict(model(outputs), lazy, shown, CPU), lazy, shown)
    wanted = measure(predict(model(outputs), each, shown, CPU), each, shown)
    assert found == wanted
    # Each site measured by itself, and all of them end to end, as without sharing.
    own = {site: SiteData(held.train, rows(31, metric, 1)) for site, held in each.items()}
    apart = measure(predict(model(outputs), own, shown, CPU), own, shown)
    assert found.evaluation.sites == apart.evaluation.sites
    assert found.evaluation.worst_site == apart.evaluation.worst_site
    assert found.evaluation.mean_of_sites == apart.evaluation.mean_of_sites
    assert found.evaluation.pooled == pytest.approx(apart.evaluation.pooled, rel=1e-12)
    assert found.loss == pytest.approx(apart.loss, rel=1e-6)
    nothing, nothing_apart = constant(lazy, shown), constant(own, shown)
    for site in each:
        assert constant(each, shown).value(site) == pytest.approx(nothing.value(site))
    assert nothing.mean_of_sites == pytest.approx(nothing_apart.mean_of_sites)
    assert nothing.pooled == pytest.approx(nothing_apart.pooled)


@pytest.mark.parametrize("metric", Metric)
def test_above_a_hundred_no_site_is_listed_and_the_summary_is_the_same(metric, monkeypatch):
    shown, outputs = card(metric), 1 if metric is Metric.RMSE else 2
    lazy, each = lazily(LISTED + 1, metric)
    found = [
        (measure(predicted := predict(model(outputs), d, shown, CPU), d, shown), constant(d, shown))
        for d in (lazy, each)
    ]
    for measured, summary in found:
        assert measured.evaluation.sites == summary.sites == {}
        assert measured.evaluation.worst_site is None
    cells = calibrations(predicted, each, shown)
    assert cells is None or list(cells.sites) == ["all"]
    assert held_out_records(lazy) == held_out_records(each) == {"all": 31}
    monkeypatch.setattr("simulations.held_out.LISTED", 1000)
    listed = measure(predict(model(outputs), lazy, shown, CPU), lazy, shown).evaluation
    assert len(listed.sites) == LISTED + 1
    nothing = constant(lazy, shown)
    for (measured, summary), full in ((f, listed) for f in found):
        assert measured.evaluation.pooled == full.pooled
        assert measured.evaluation.mean_of_sites == pytest.approx(full.mean_of_sites)
        assert summary.mean_of_sites == pytest.approx(nothing.mean_of_sites)
        assert summary.pooled == pytest.approx(nothing.pooled)
        # There is none where a constant is worth the same at every site.
        assert (summary.worst_site is None) == (metric is Metric.AUC)
        assert summary.worst_site is None or summary.worst_site.site == nothing.worst_site.site


def test_with_test_sets_of_their_own_all_sites_are_listed():
    data = {f"s{n:03}": SiteData(r := rows(5, Metric.AUC, n), r) for n in range(LISTED + 1)}
    shown = card(Metric.AUC)
    found = measure(predict(model(2), data, shown, CPU), data, shown).evaluation
    assert len(found.sites) == LISTED + 1
    assert found.worst_site is not None
    assert held_out_records(data)["s100"] == 5


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_every_test_set_counts_once_in_the_pooled_figure(which):
    sets = [rows(6 + n, Metric.AUC, n) for n in range(4)]
    data = {f"s{n:02}": SiteData(sets[0], sets[k]) for n, k in enumerate(which)}
    shown = card(Metric.ACCURACY)
    found = measure(predict(model(2), data, shown, CPU), data, shown)
    once = {f"t{k}": SiteData(sets[0], sets[k]) for k in sorted(set(which), key=which.index)}
    wanted = measure(predict(model(2), once, shown, CPU), once, shown)
    assert found.evaluation.pooled == wanted.evaluation.pooled
    assert found.loss == wanted.loss


def test_a_reason_is_given_once_for_all():
    test = Examples(torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64))
    data = {f"s{n:03}": SiteData(test, test) for n in range(LISTED + 1)}
    shown = card(Metric.AUC)
    found = measure(predict(model(2), data, shown, CPU), data, shown).evaluation
    assert found.pooled is None
    assert list(found.reasons) == ["all"]


def test_no_site_is_touched_to_be_measured(monkeypatch):
    domain = Digits(Dirichlet(5000, 0.2, rows=5))
    data, shown = domain.load(), domain.card
    monkeypatch.setattr("tacit.domains.partitioned.PartitionedRows.together", None)
    monkeypatch.setattr("tacit.domains.partitioned.PartitionedSites.__getitem__", None)
    predicted = predict(nn.Linear(64, 10), data, shown, CPU)
    assert len(predicted) == 5000
    assert measure(predicted, data, shown).evaluation.mean_of_sites is not None
    assert constant(data, shown).worst_site is not None


def test_alike_is_a_mapping_of_the_sites():
    alike = Alike({"a", "b"}, np.zeros(2))
    assert alike["a"] is alike["b"]
    assert len(alike) == 2
    with pytest.raises(KeyError):
        alike["c"]

"""Sites on one table: declared sizes, and that a lazy mapping is checked as a whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.domains.digits import Digits
from tacit.domains.domain import Examples, check_inputs, check_sites, site_data
from tacit.domains.partition import Table, parts_of
from tacit.domains.partition_sizes import IID
from tacit.domains.partitioned import PartitionedSites, SiteRows, declared_sizes, rounded
from tacit.errors import ConfigurationError, DataError


@given(st.integers(1, 10**7))
def test_a_declared_size_is_a_round_number_near_the_size(size):
    (found,) = rounded(np.array([size])).tolist()
    assert found == size if size <= 10 else abs(found / size - 1) <= 0.17
    assert len(str(found).rstrip("0")) <= 2


def test_equal_sizes_are_declared_as_they_are_and_others_rounded():
    def sizes(*counts):
        owners = np.repeat(np.arange(len(counts)), counts)
        parts = parts_of(owners, np.arange(len(owners)), len(owners), len(counts))
        return list(declared_sizes(parts).values())

    assert sizes(37, 37) == [37, 37]
    assert sizes(14, 15, 7) == [15, 15, 7]


def changed(data, **more):
    table = replace(data.train.table, **more)
    return PartitionedSites(table, data.train.parts, data.test)


def test_a_lazy_mapping_is_checked_once_as_a_whole():
    domain = Digits(IID(1000, rows=3))
    data = domain.load()
    targets = data.train.table.targets.clone()
    targets[6] = 10
    with pytest.raises(DataError, match="training row 7 has label 10"):
        check_sites(changed(data, targets=targets), domain.card)
    with pytest.raises(DataError, match=r"shape \[63\]"):
        check_inputs(changed(data, features=data.train.table.features[:, 1:]), domain)
    empty = Examples(torch.zeros(0, 64), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="no test rows"):
        check_sites(PartitionedSites(data.train.table, data.train.parts, empty), domain.card)


def test_persons_are_numbered_at_each_site_without_gaps():
    table = Examples(
        torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64), torch.tensor([0, 1, 2, 1, 0])
    )
    parts = parts_of(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 4]), 5, 2)
    train = PartitionedSites(table, parts, table).train
    assert [train[site].persons.tolist() for site in parts.names] == [[0, 1], [2, 1, 0]]
    # At two sites one person is two, as in `Examples.together`.
    both = SiteRows.gathered([train[site] for site in parts.names])
    assert both.persons.tolist() == [0, 1, 4, 3, 2]
    joined = Examples.together([train[site] for site in parts.names])
    assert joined.persons.tolist() == both.persons.tolist()
    assert (
        PartitionedSites(replace(table, persons=None), parts, table).train[parts.names[0]].persons
        is None
    )


def test_one_site_of_many_is_read_alone_and_a_missing_one_is_named_in_a_line():
    domain = Digits(IID(1000, rows=3))
    assert len(site_data(domain, "user-000999").train) == 3
    with pytest.raises(
        ConfigurationError, match=r"no site 'ward': there are user-000000"
    ) as caught:
        site_data(domain, "ward")
    assert len(str(caught.value)) < 400


def test_a_table_says_what_it_can_be_divided_by():
    with pytest.raises(ConfigurationError, match="it has none"):
        Table(3, {}).column("label")

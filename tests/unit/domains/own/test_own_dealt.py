"""What is held out of one table, at the simulated sites that its rows are dealt out to."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from clinics import SCHEMA, lines, write

from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.own.data import OwnTable
from tacit.domains.own.dealt import LEAST_HELD_OUT
from tacit.domains.partition import parts_of
from tacit.errors import ConfigurationError

IID = {"_target_": "tacit.domains.partition_sizes.IID", "sites": 4}
DIRICHLET = {"_target_": "tacit.domains.partition_labels.Dirichlet", "sites": 4, "alpha": 0.5}
BY_CLINIC = {"_target_": "tacit.domains.partition_column.Column", "column": "clinic"}
ROWS = 2000


@pytest.fixture
def dealt(tmp_path):
    """Gives what sites hold, of a schema and a partition; a row's age tells its number."""

    def deal(partition, more="", rows=ROWS):
        found = list(lines(rows))
        domain = OwnTable(write(tmp_path, SCHEMA + more, found), partition=partition)
        data = domain.load()
        check_sites(data, domain.card)
        check_inputs(data, domain)
        return data

    return deal


def ill(examples):
    return float(examples.targets.double().mean())


@pytest.mark.parametrize("partition", [IID, DIRICHLET, BY_CLINIC], ids=["iid", "dirichlet", "own"])
def test_every_row_is_at_one_site_to_learn_from_or_held_out(dealt, partition):
    data = dealt(partition)
    parts = [part for held in data.values() for part in (held.train, held.test)]
    assert sum(map(len, parts)) == ROWS
    whole = dealt({**IID, "sites": 1})["user-000000"]
    found = torch.cat([part.features for part in parts]).sum(0)
    every = torch.cat([whole.train.features, whole.test.features]).sum(0)
    torch.testing.assert_close(found, every, rtol=1e-5, atol=1e-3)
    assert sum(len(held.test) for held in data.values()) == len(whole.test)


def test_what_a_site_is_measured_on_follows_its_own_labels(dealt):
    """Within five standard errors of a share, of sites whose shares are far apart."""
    data = dealt(DIRICHLET)
    assert np.ptp([ill(held.train) for held in data.values()]) > 0.2
    for held in data.values():
        share = float(torch.cat([held.train.targets, held.test.targets]).double().mean())
        error = math.sqrt(share * (1 - share) * (1 / len(held.train) + 1 / len(held.test)))
        assert abs(ill(held.test) - ill(held.train)) <= 5 * error


def test_where_sites_differ_by_chance_alone_held_out_rows_do_not_follow(dealt):
    """Labels are coins: of 30 sites the correlation is within three deviations of none."""
    data = dealt({**IID, "sites": 30}, rows=8000)
    train, test = ([ill(getattr(h, part)) for h in data.values()] for part in ("train", "test"))
    assert abs(np.corrcoef(train, test)[0, 1]) < 3 / math.sqrt(30)
    assert len({id(held.test) for held in data.values()}) == 30


def test_rows_of_a_clinic_are_held_out_at_that_clinic(dealt, tmp_path):
    for site, held in dealt(BY_CLINIC).items():
        own = OwnTable(str(tmp_path / "clinics.yaml")).load()[site.removeprefix("clinic-")]
        assert torch.equal(held.test.features, own.test.features)
        assert torch.equal(held.train.features, own.train.features)


def test_a_person_is_held_out_with_all_rows_at_one_site(dealt):
    for held in dealt(IID, "person: patient\n").values():
        persons = held.test.persons
        assert persons.bincount().tolist() == [2] * (len(persons) // 2)


def test_more_sites_than_persons_are_refused_in_persons(dealt):
    with pytest.raises(ConfigurationError, match=r"cannot be .* are persons, not rows"):
        dealt({**IID, "sites": ROWS}, "person: patient\n")


def test_sites_are_measured_on_all_where_there_is_too_little_for_each(dealt):
    enough = {**IID, "sites": len(dealt({**IID, "sites": 1})["user-000000"].test) // LEAST_HELD_OUT}
    assert len({id(held.test) for held in dealt(enough).values()}) == enough["sites"]
    data = dealt({**IID, "sites": enough["sites"] + 1})
    assert len({id(held.test) for held in data.values()}) == 1


@dataclass(frozen=True)
class Last:
    """Gives the last site so few rows, and the first all others."""

    rows: int

    def divide(self, table):
        owners = np.zeros(table.rows, np.int64)
        owners[table.rows - self.rows :] = 1
        return parts_of(owners, np.arange(table.rows), table.rows, 2)


def test_sites_are_measured_on_all_where_one_would_have_nothing(dealt):
    """The last row is north's, and west's are held out."""
    data = dealt(Last(1), "test: {column: clinic, value: west}\n")
    assert len(data["user-000001"].train) == 1
    assert len(data["user-000000"].test) > 2 * LEAST_HELD_OUT
    assert data["user-000000"].test is data["user-000001"].test


def test_a_site_of_which_all_is_held_out_is_named(dealt):
    last = "test: {column: patient, value: p999}\n"  # the last two rows
    with pytest.raises(ConfigurationError, match="leaves user-000001 without rows to learn from"):
        dealt(Last(2), last)


def test_dealing_out_twice_gives_the_same(dealt):
    first, second = dealt(DIRICHLET), dealt(DIRICHLET)
    assert all(torch.equal(first[s].test.features, second[s].test.features) for s in first)

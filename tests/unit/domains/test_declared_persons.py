"""Persons of a domain: how they are numbered, how many are declared, and when they are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tacit.domains.domain import Examples, SiteData, check_sites
from tacit.domains.fleets import Fleets
from tacit.domains.hospitals import Hospitals
from tacit.domains.partition import parts_of
from tacit.domains.partitioned import PartitionedSites
from tacit.domains.persons import check_named, declared_persons
from tacit.errors import ConfigurationError, DataError

FLEETS = Fleets(vehicles={"alpine": 2, "haul": 3}, weeks=4)


def test_vehicles_are_the_persons_of_an_operator():
    assert declared_persons(FLEETS) == {"alpine": 2, "haul": 3}
    data = FLEETS.load()
    check_sites(data, FLEETS.card)
    check_named(data)
    whose = data["haul"].train.persons
    assert whose.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    # Age grows from report to report of one vehicle, and begins anew with the next.
    age = data["haul"].train.features[:, 0]
    assert (age[1:] > age[:-1]).tolist() == (whose[1:] == whose[:-1]).tolist()


@pytest.mark.parametrize("domain", [Hospitals(), Fleets(sites="vehicles", vehicles={"haul": 2})])
def test_who_declares_none_has_none(domain):
    """Where a vehicle is a site it has rows to learn from and to be measured on."""
    with pytest.raises(ConfigurationError, match="declares no persons"):
        declared_persons(domain)
    with pytest.raises(DataError, match="do not say whose they are"):
        check_named(domain.load())


def test_a_site_without_a_number_of_persons_is_named(monkeypatch):
    monkeypatch.setattr(Fleets, "declared_persons", {"haul": 3})
    with pytest.raises(ConfigurationError, match="has nothing for 'alpine'"):
        declared_persons(FLEETS)


@pytest.mark.parametrize(
    ("persons", "said"),
    [
        ([0, 1, 1, 2, 2], r"int64 \[5\], and must be int64 \[4\]"),
        ([[0], [1], [1], [2]], r"int64 \[4, 1\]"),
        (torch.tensor([0.0, 1, 1, 2]), r"float32 \[4\]"),
        ([1, 1, 2, 2], "numbered from 1 to 2 and are 2"),
        ([0, 0, 2, 2], "numbered from 0 to 2 and are 2"),
        ([-1, 0, 0, 1], "numbered from -1 to 1 and are 3"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_persons_that_are_numbered_wrongly_are_refused(persons, said, part):
    rows = Examples(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    odd = replace(rows, persons=torch.as_tensor(persons))
    data = SiteData(**{"train": rows, "test": rows, part: odd})
    name = "training" if part == "train" else "test"
    with pytest.raises(DataError, match=f"site 'ward': persons of {name} rows are .*{said}"):
        check_sites({"ward": data}, Hospitals().card)


def test_persons_that_are_dealt_out_to_several_sites_are_refused():
    site = np.repeat(np.arange(3), 4)
    parts = parts_of(site, np.arange(12), 12, 3)

    def dealt(persons):
        rows = Examples(torch.zeros(12, 3), torch.zeros(12, dtype=torch.int64), persons)
        return PartitionedSites(rows, parts, rows)

    with pytest.raises(DataError, match="its rows do not say whose they are"):
        check_named(dealt(None))
    whole = torch.from_numpy(site)
    check_named(dealt(whole))
    split = whole.clone()
    split[-1] = 0
    with pytest.raises(DataError, match="deals rows of person 0 out to several sites"):
        check_named(dealt(split))

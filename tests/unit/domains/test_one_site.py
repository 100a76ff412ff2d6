"""One site's data, read where no other's may be."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tacit.domains.domain import check_inputs, site_data
from tacit.domains.fleets import Fleets
from tacit.domains.heart_disease import HeartDisease
from tacit.domains.hospitals import Hospitals
from tacit.errors import ConfigurationError, DataError

FEW = {"alpine": 1, "haul": 1}


@pytest.mark.parametrize("domain", [Hospitals(), Fleets(vehicles=FEW)])
def test_a_site_has_the_rows_that_a_simulation_gives_it(domain):
    for site, held in domain.load().items():
        own = site_data(domain, site)
        assert torch.equal(own.train.features, held.train.features)
        assert torch.equal(own.test.targets, held.test.targets)


def test_a_hospital_needs_no_other_hospitals_file(data_root: Path, tmp_path: Path):
    heart_disease = data_root / "heart_disease"
    shutil.copy(heart_disease / "processed.cleveland.data", tmp_path)
    own = site_data(HeartDisease(str(tmp_path)), "cleveland")
    everybody = HeartDisease(str(heart_disease)).load()
    assert torch.equal(own.train.features, everybody["cleveland"].train.features)
    with pytest.raises(DataError, match=r"processed\.hungarian.data: there is no such file"):
        site_data(HeartDisease(str(tmp_path)), "hungarian")


def test_a_site_that_the_domain_does_not_have_is_named():
    with pytest.raises(ConfigurationError, match=r"hospitals has no site 'ward'.*county"):
        site_data(Hospitals(), "ward")


def test_examples_of_another_shape_are_refused():
    domain = Fleets(vehicles=FEW)
    data = domain.load()
    check_inputs(data, domain)
    narrow = replace(data["haul"].test, features=data["haul"].test.features[:, 1:])
    data["haul"] = replace(data["haul"], test=narrow)
    with pytest.raises(DataError, match=r"site 'haul' has examples of the shape \[20\].*\[21\]"):
        check_inputs(data, domain)

"""The four made hospitals: a division fixed once and for all, and honest about it."""

import hashlib
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from tacit.domains import hospitals
from tacit.domains.domain import check_sites
from tacit.domains.hospitals import DECLARED_SIZES, SCHEMA, Hospitals, divide
from tacit.errors import ConfigurationError

ROWS = 569
GOLDEN = "d3f500d90af2b5e2794053b3ff593b94485d13fb6de62f0b4286d4cd4daee653"
"""SHA-256 of the row numbers as they were before the first experiment: never to be updated."""


@pytest.fixture(scope="module")
def rows():
    return hospitals._rows()


@pytest.fixture(scope="module")
def division(rows):
    return divide(*rows)


@pytest.fixture(scope="module")
def loaded():
    return Hospitals().load()


def digest_of(division):
    numbers = [
        division.pool.tolist(),
        *(
            {site: part[site].tolist() for site in sorted(part)}
            for part in (division.train, division.test)
        ),
    ]
    return hashlib.sha256(json.dumps(numbers, separators=(",", ":")).encode()).hexdigest()


def test_the_division_never_changes(division):
    assert digest_of(division) == GOLDEN


def test_another_salt_is_another_division(rows, monkeypatch):
    monkeypatch.setattr(hospitals, "SALT", "tacit/hospitals/2")
    assert digest_of(divide(*rows)) != GOLDEN


def test_the_division_follows_no_feature(rows, division):
    table, targets = rows
    shuffled = table.sample(frac=1, random_state=0)
    assert digest_of(divide(shuffled, targets)) == GOLDEN


def test_parts_are_disjoint_and_together_all_rows(division):
    parts = [division.pool, *division.train.values(), *division.test.values()]
    assert sorted(np.concatenate(parts).tolist()) == list(range(ROWS))


def test_the_pool_is_at_most_a_fifth_of_the_training_rows(division):
    private = sum(len(rows) for rows in division.train.values())
    assert 0 < len(division.pool) <= private / 5


def test_hospitals_have_unequal_sizes_and_label_mixes(loaded):
    sizes = [len(held.train) for held in loaded.values()]
    mixes = [held.train.targets.double().mean().item() for held in loaded.values()]
    assert len(loaded) == 4
    assert max(sizes) > 3 * min(sizes)
    assert max(mixes) > 0.6 > 0.25 > min(mixes)
    assert all(0 < mix < 1 for mix in mixes)


def test_rows_are_those_of_scikit_learn(loaded, division):
    values, targets = load_breast_cancer(return_X_y=True)
    low = np.array([column.typical[0] for column in SCHEMA.columns])
    high = np.array([column.typical[1] for column in SCHEMA.columns])
    for site, held in loaded.items():
        for examples, numbers in ((held.train, division.train), (held.test, division.test)):
            features = examples.features.double().numpy()
            back = (features + 1) / 2 * (high - low) + low
            # A feature x is off by at most 2**-24 |x| after rounding to float32.
            slack = 2.0**-23 * (np.abs(features) + 1) * (high - low)
            assert (np.abs(back - values[numbers[site]]) <= slack).all()
            # scikit-learn says 0 for malignant, we say 1.
            assert examples.targets.tolist() == (1 - targets[numbers[site]]).tolist()


def test_the_pool_is_the_features_of_its_rows(rows, division):
    pool = Hospitals().public_pool()
    assert torch.equal(pool, torch.from_numpy(SCHEMA.encode(rows[0])[division.pool]))


def test_scaling_does_not_follow_private_rows(loaded, monkeypatch, rows, division):
    """Every private row but one is moved to the edge of the schema: that one stays as it is."""
    table, targets = rows
    moved = table.copy()
    kept = division.train["county"][0]
    for column in SCHEMA.columns:
        moved[column.name] = np.where(np.arange(ROWS) == kept, moved[column.name], column.valid[1])
    monkeypatch.setattr(hospitals, "_rows", lambda: (moved, targets))
    after = Hospitals().load()["county"].train.features
    assert torch.equal(after[0], loaded["county"].train.features[0])
    assert not torch.equal(after[1], loaded["county"].train.features[1])


def test_declared_sizes_are_round_constants(loaded, monkeypatch, rows):
    expected = {"county": 70, "referral": 70, "screening": 40, "university": 140}
    assert dict(DECLARED_SIZES) == Hospitals().declared_sizes == expected
    assert all(size % 10 == 0 for size in expected.values())
    monkeypatch.setattr(hospitals, "_rows", lambda: (rows[0][:50], rows[1][:50]))
    assert Hospitals().declared_sizes == expected
    assert loaded.keys() == expected.keys()


def test_data_are_usable_and_the_card_names_the_assumption(loaded, division):
    card = Hospitals().card
    check_sites(loaded, card)
    assert card.public_pool.startswith(
        f"{len(division.pool)} unlabelled rows, public by assumption"
    )


def test_an_unknown_hospital_is_refused():
    with pytest.raises(ConfigurationError, match="no such hospital: oslo"):
        Hospitals({"oslo": 10, "county": 70})

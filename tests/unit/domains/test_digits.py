"""Digits: real images, one test set for all, and sites that are made when they are asked for."""

import hashlib
import json
import time
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from commands.compose import composed
from tacit.components import make
from tacit.configuration import read_settings
from tacit.domains.digits import HELD_OUT, Digits, held_out_rows
from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.partition_labels import Dirichlet
from tacit.domains.partition_sizes import IID
from tacit.errors import ConfigurationError

GOLDEN = "3509a287224a413e8d1953f0681a34192bbca2cee05de3318a2951c8b963dafa"
"""SHA-256 of the held-out row numbers as they were before the first run: never to be updated."""


def test_what_is_held_out_never_changes():
    numbers = np.flatnonzero(held_out_rows(1797)).tolist()
    assert len(numbers) == HELD_OUT
    assert hashlib.sha256(json.dumps(numbers).encode()).hexdigest() == GOLDEN


def test_every_image_is_held_out_or_lies_at_one_site_with_its_label():
    domain = Digits(IID(30))
    data = domain.load()
    wanted = load_digits()
    pairs = [(held.train, None) for held in data.values()] + [(data["user-000000"].test, None)]
    found = sorted(
        (row.tobytes(), int(label))
        for examples, _ in pairs
        for row, label in zip(examples.features.numpy(), examples.targets, strict=True)
    )
    scaled = (wanted.data / 16).astype(np.float32)
    assert found == sorted(
        (row.tobytes(), int(label)) for row, label in zip(scaled, wanted.target, strict=True)
    )
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_all_sites_share_one_object_of_test_rows():
    data = Digits(IID(5)).load()
    assert len({id(held.test) for held in data.values()}) == 1
    assert len(data["user-000003"].test) == HELD_OUT


def test_an_image_is_the_same_numbers_in_another_shape():
    flat, image = (Digits(IID(5), image=image).load() for image in (False, True))
    assert image["user-000001"].train.features.shape[1:] == (1, 8, 8)
    assert image["user-000001"].train.features.flatten(1).equal(flat["user-000001"].train.features)
    assert Digits(IID(5)).inputs == (64,)
    assert len(Digits(IID(5)).groups) == 64
    assert Digits(IID(5), image=True).groups == ()
    with pytest.raises(ConfigurationError, match=r"domain\.image=yes"):
        Digits(IID(5), image="yes")


def test_the_configuration_makes_it():
    words = ["domain=digits", "partition=dirichlet", "domain.partition.sites=1000"]
    found = read_settings(composed([*words, "domain.partition.rows=50"]))
    domain = make("domain", found.domain)
    assert domain.declared_sizes == {f"user-{n:06d}": 50 for n in range(1000)}
    assert domain.card.title == "Handwritten digits at 1,000 sites"
    assert domain.public_pool() is None
    by_label = make("domain", read_settings(composed([*words[:1], "partition=column"])).domain)
    assert list(by_label.declared_sizes) == [f"label-{n}" for n in range(10)]
    assert [int(held.train.targets.unique()) for held in by_label.load().values()] == [*range(10)]


def test_a_site_holds_the_rows_of_its_part():
    domain = Digits(Dirichlet(40, 0.5, rows=20, seed=3))
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    for site in ("user-000000", "user-000039"):
        rows = torch.from_numpy(data.train.numbers(site).copy())
        assert data[site].train.features.equal(data.train.table.features[rows])
    both = data.train.together(["user-000039", "user-000000"])
    assert both.targets.tolist() == [
        *data["user-000039"].train.targets.tolist(),
        *data["user-000000"].train.targets.tolist(),
    ]
    assert "user-000040" not in data
    with pytest.raises(KeyError):
        data["user-000040"]


def test_a_hundred_thousand_sites_are_no_hundred_thousand_objects():
    before = time.perf_counter()
    domain = Digits(IID(100_000, rows=50))
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    # About a second on one core: the bound leaves room for a busy machine.
    assert time.perf_counter() - before < 20
    tracemalloc.start()
    held = data["user-099999"]
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert len(held.train) == 50
    assert list(data)[42] == "user-000042"
    assert len(data) == len(domain.declared_sizes) == 100_000

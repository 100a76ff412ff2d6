"""Whether what sites sent looks masked: of letters by hand, and of runs made again."""

import math

import numpy as np
import pytest
from rich.console import Console

import tacit.secagg.site
import tacit.secagg.unmasking
from audits.masks import masks
from audits.noise import chance_of_masks
from audits.repeat import Letter, repeated
from audits.stranger import read_stranger
from commands.compose import composed
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings

SECURE = (
    "domain=digits",
    "domain.partition.sites=4",
    "compare=false",
    "training.rounds=1",
    "secure_aggregation=required",
)


def sent(masked, arrays=None):
    found = {("arrays", "sum"): ("uint8", (900,))} if arrays is None else arrays
    return Letter("county", "train", None, found, {}, (), masked)


def test_letters_under_masks_are_left_alone():
    found = masks([sent(0.3), sent(1e-4), Letter("county", "query.end", None, {}, {}, ())])
    assert not found.contradicted
    assert found.tested
    assert found.figures["replies"] == 2


@pytest.mark.parametrize(
    "letter",
    [
        sent(1e-12),
        sent(0.0),
        sent(None),
        sent(0.5, {("arrays", "head.bias"): ("float32", (2,))}),
        sent(0.5, {("arrays", "sum"): ("uint8", (9,)), ("arrays", "more"): ("uint32", (9,))}),
    ],
)
def test_one_bare_letter_is_enough(letter):
    found = masks([sent(0.3), letter, sent(0.9)])
    assert found.contradicted
    assert found.figures["bare"] == 1
    assert "county" in found.said


def test_without_letters_nothing_is_tested():
    assert not masks([]).tested


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_uniform_numbers_are_as_likely_as_they_say(kind):
    random = np.random.default_rng(5)
    top = np.iinfo(kind).max
    drawn = [chance_of_masks(random.integers(0, top, 18, kind, endpoint=True)) for _ in range(4000)]
    for level in (0.5, 0.1, 0.01):
        deviation = math.sqrt(level * (1 - level) / len(drawn))
        assert abs(np.mean(np.array(drawn) < level) - level) < 4 * deviation


@pytest.mark.parametrize("share", [2.0**-16, 2.0**-3])
def test_numbers_small_beside_the_modulus_are_found(share):
    """Of a part that fills an eighth of the range, and of one that hardly shows."""
    signed = np.random.default_rng(5).uniform(-1, 1, 18) * share * 2**31
    assert chance_of_masks(signed.astype(np.int64).astype(np.uint32)) < 1e-9


def test_a_tenth_that_is_bare_is_found():
    random = np.random.default_rng(5)
    vector = random.integers(0, 2**32, 100_000, np.uint32)
    vector[-10_000:] = 3
    assert chance_of_masks(vector) < 1e-9


def made(path):
    config = composed([*SECURE, f"run.dir={path}"])
    with LiveProgress(Console(quiet=True)) as progress:
        simulate(read_settings(config), config, progress)
    with repeated(read_stranger(path), Console(quiet=True)) as again:
        return masks(again.letters)


def bare(patch, share=1.0):
    """Leave masks out of a share of the numbers, and out of what is taken off: sums stay right."""
    for module in (tacit.secagg.site, tacit.secagg.unmasking):

        def apply(masks, vector, real=module.apply):
            real(masks, vector[: round((1 - share) * len(vector))])

        patch.setattr(module, "apply", apply)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Reports take a second each to draw, and none is looked at."""
    monkeypatch.setattr("simulations.simulate.write_report", lambda path: None)


def test_an_honest_run_is_left_alone(tmp_path):
    found = made(tmp_path / "run")
    assert found.tested
    assert not found.contradicted
    assert found.figures["replies"] == 4


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_masks_that_are_left_out_are_found(tmp_path, monkeypatch, share):
    bare(monkeypatch, share)
    found = made(tmp_path / "run")
    assert found.contradicted
    assert found.figures["bare"] == 4


def test_what_is_bare_in_a_part_of_each_shows_together():
    """Of 48 numbers a half is bare: no letter by itself is unlikely enough, six are."""
    random = np.random.default_rng(5)

    def letters(bare):
        for _ in range(6):
            numbers = random.integers(0, 2**32, 48, np.uint32)
            numbers[:bare] = random.integers(0, 2**30, bare, np.uint32)
            yield sent(chance_of_masks(numbers))

    found = masks([*letters(24)])
    assert found.contradicted
    assert found.figures["bare"] == 0
    assert "together" in found.said
    assert not masks([*letters(0)]).contradicted


def test_honest_letters_together_are_as_likely_as_they_say():
    random = np.random.default_rng(6)
    found = [masks([sent(chance) for chance in random.random(6)]) for _ in range(2000)]
    share = np.mean([each.figures["chance_together"] < 0.1 for each in found])
    assert abs(share - 0.1) < 4 * math.sqrt(0.1 * 0.9 / len(found))

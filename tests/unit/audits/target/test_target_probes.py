"""Probes of a client that is not ours: each finds its fault, and leaves honest clients alone."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from audits import levels
from audits.target import clipping, noise, probes, sampler
from audits.target.app import Target
from audits.target.claims import read_claim
from audits.target.clipping import _averaged
from audits.target.probes import TargetProbes
from audits.target.releases import releases
from audits.target.rows import MadeUp, Rows
from audits.target.words import read_words

STRANGERS = Path(__file__).parents[3] / "strangers"
MADE_UP = MadeUp(SimpleNamespace(inputs=(36,), card=SimpleNamespace(target=None, outputs=3)))
RECORD = {
    "unit": "record",
    "noise_multiplier": 1.5,
    "clipping_norm": 2.0,
    "sampling_rate": 0.25,
    "steps": 1,
    "learning_rate": 0.1,
    "divisor": 8,
    "epsilon": 1.4,
    "delta": 1e-5,
}
CLIENT = {
    "unit": "client",
    "noise_multiplier": 1.5,
    "clipping_norm": 2.0,
    "epsilon": 2.9,
    "delta": 1e-5,
}


@pytest.fixture
def client(monkeypatch):
    monkeypatch.syspath_prepend(str(STRANGERS))
    import light_dp

    monkeypatch.setattr(light_dp, "chance", np.random.default_rng(6))
    yield light_dp
    sys.modules.pop("light_dp", None)


def contradicted(app, said, made_up=MADE_UP):
    words = read_words(
        [
            f"target=light_dp:{app}",
            "target.weights=light_dp:weights",
            "target.rows=light_dp:use_rows",
            "domain=digits",
            *(f"claim.{key}={value}" for key, value in said.items()),
        ]
    )
    target = Target(words)
    found = [*TargetProbes(target, words.claim, made_up).findings()]
    found += releases(target, words.claim, made_up)
    return {f.test for f in found if f.contradicted}, found


def half(client, name):
    honest = getattr(client, name)
    return lambda *given: honest(*given) / 2


def partly(client):
    honest = client.noise
    return lambda size: honest(size) * (np.arange(size) < 36)


def one_number(client):
    honest = client.noise
    return lambda size: np.full(size, honest(1))


def seeded(client):
    return lambda size: np.random.default_rng(7).normal(scale=3.0, size=size)


def sometimes_the_same(client):
    kept, honest = [], client.noise

    def noise(size):
        kept.append(kept[-9] if len(kept) % 20 == 19 else honest(size))
        return kept[-1]

    return noise


def shuffled(client):
    return lambda count: [
        part.tolist() for part in np.split(np.random.default_rng().permutation(count), 4)
    ]


def twice(client):
    honest = client.batches
    return lambda count: honest(count) + (honest(count) if count > 8 else [])


def more_often(client):
    return lambda count: [np.flatnonzero(np.random.default_rng().random(count) < 0.5).tolist()]


def whole_batch(client):
    """Clip rows together: each is as long as it is."""
    return lambda vector: vector


FAULTS = [
    ("noise", lambda c: half(c, "noise"), "amount of noise", {"steps_app"}),
    ("noise", partly, "noise of each tensor", {"whole_app"}),
    ("noise", one_number, "noise of different coordinates", {"whole_app"}),
    ("noise", seeded, "noise that nobody can recompute", {"whole_app"}),
    ("noise", sometimes_the_same, "noise of different replies", {"whole_app"}),
    ("clipped", whole_batch, "clipping", {"steps_app", "whole_app"}),
    ("clipped", whole_batch, "records that are not numbers", {"steps_app"}),
    ("divisor", lambda c: lambda count: count, "divisor", {"steps_app"}),
    ("batches", shuffled, "sampler", {"steps_app"}),
    ("batches", twice, "steps", {"steps_app"}),
    ("batches", more_often, "rate of sampling", {"steps_app"}),
    ("entries", lambda c: lambda r: {"n": len(r)}, "what left", {"steps_app"}),
    (
        "entries",
        lambda c: lambda r: {"loss": float(r.features.sum()) + np.random.default_rng().random()},
        "what left",
        {"whole_app"},
    ),
]


@pytest.fixture
def quick(monkeypatch):
    """As many replies as tests of gross faults need."""
    monkeypatch.setattr(probes, "NUMBERS", 1600)
    monkeypatch.setattr(clipping, "MOST", 40)
    monkeypatch.setattr(sampler, "BATCHES", 50)


@pytest.mark.parametrize(
    ("name", "fault", "test", "app"),
    [(n, f, t, app) for n, f, t, apps in FAULTS for app in sorted(apps)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_planted_faults_are_found(client, quick, monkeypatch, name, fault, test, app):
    monkeypatch.setattr(client, name, fault(client))
    tests, _ = contradicted(app, RECORD if app == "steps_app" else CLIENT)
    assert test in tests


@pytest.mark.parametrize(("app", "said"), [("steps_app", RECORD), ("whole_app", CLIENT)])
def test_an_honest_client_is_left_alone(client, quick, app, said):
    tests, found = contradicted(app, said)
    assert tests == set()
    assert {f.test for f in found if not f.tested} <= {"clipping"}


def test_what_is_not_said_is_not_tested(client, quick):
    tests, found = contradicted("steps_app", {"unit": "record"})
    assert tests == set()
    open_ = {f.test: f.said for f in found if not f.tested}
    assert "claim.clipping_norm and claim.learning_rate" in open_["amount of noise"]
    assert "claim.sampling_rate" in open_["sampler"]
    assert open_.keys() >= {"amount of noise", "clipping", "divisor", "sampler"}


def test_a_client_with_data_of_its_own_is_tested_for_noise_alone(client, quick, monkeypatch):
    client.use_rows(Rows(MADE_UP.row(9)))
    tests, found = contradicted("whole_app", CLIENT, made_up=None)
    assert tests == set()
    assert {f.test for f in found if not f.tested} == {
        "clipping",
        "records that are not numbers",
        "what left",
    }
    monkeypatch.setattr(client, "noise", half(client, "noise"))
    assert "amount of noise" in contradicted("whole_app", CLIENT, made_up=None)[0]


def test_what_a_server_is_trusted_with_is_not_said_to_be_tested(client, quick, monkeypatch):
    monkeypatch.setattr(client, "noise", np.zeros)
    said = {**CLIENT, "noise_by": "server"}
    tests, found = contradicted("whole_app", said)
    assert tests == set()
    assert {f.test for f in found if not f.tested} == {"amount of noise", "what left"}
    (clipping,) = [f for f in found if f.test == "clipping"]
    assert clipping.tested
    assert 0.5 < clipping.figures["moved_over_c"] <= 2


def test_several_steps_in_a_reply_say_nothing_of_the_amount(client, quick, monkeypatch):
    honest = client.batches
    monkeypatch.setattr(client, "batches", lambda count: honest(count) + honest(count))
    _, found = contradicted("steps_app", {**RECORD, "steps": 2})
    (amount,) = [f for f in found if f.test == "amount of noise"]
    assert not amount.tested
    assert "a reply holds 2 steps" in amount.said


def test_a_count_may_leave_where_it_is_public(client, quick, monkeypatch):
    monkeypatch.setattr(client, "entries", lambda rows: {"num-examples": len(rows)})
    monkeypatch.setattr(client, "divisor", lambda count: count)
    tests, _ = contradicted("steps_app", {**RECORD, "relation": "replace_with_zero"})
    assert tests == set()


def test_too_little_noise_is_held_against_ε_where_σ_is_not_said(client, quick, monkeypatch):
    said = {key: value for key, value in CLIENT.items() if key != "noise_multiplier"}
    assert contradicted("whole_app", said)[0] == set()
    monkeypatch.setattr(client, "noise", half(client, "noise"))
    assert contradicted("whole_app", said)[0] == {"ε of the noise that is there"}


def test_levels_of_a_target_are_no_more_than_the_whole():
    assert sum(levels.OF_A_TARGET) <= levels.WHOLE


def test_honest_noise_is_contradicted_as_rarely_as_is_said():
    """All tests of noise, on noise as claimed: their levels are 0.023 together."""
    chance = np.random.default_rng(0)
    claim = read_claim(CLIENT | {"epsilon": 2.81})
    tries, wrong = 100, 0
    for _ in range(tries):
        updates = 3 + chance.normal(scale=3.0, size=(40, 30))
        places = {"a": slice(0, 20), "b": slice(20, 30)}
        wrong += any(f.contradicted for f in noise.amounts(claim, updates, 3.0, places))
    # A binomial of 100 at 0.023: four deviations.
    assert wrong / tries < 0.023 + 4 * np.sqrt(0.023 * 0.977 / tries)


def test_an_update_as_long_as_is_allowed_is_contradicted_as_rarely_as_is_said(monkeypatch):
    monkeypatch.setattr(levels, "TARGET_CLIPPING", 0.05)
    chance = np.random.default_rng(1)
    claim, tries = read_claim(CLIENT), 150
    visible = _averaged(claim, chance.normal(size=(50, 30))).figures["visible_over_c"]
    # Found once: it takes scipy longest.
    monkeypatch.setattr(clipping, "_visible", lambda per, size: visible)
    edge = np.zeros(30)
    edge[0] = 2.0
    found = [_averaged(claim, edge + chance.normal(size=(50, 30))) for _ in range(tries)]
    wrong = sum(f.contradicted for f in found)
    assert wrong / tries < 0.05 + 4 * np.sqrt(0.05 * 0.95 / tries)
    # And what is said to be visible is found in 99 of 100.
    edge[0] = visible
    seen = [_averaged(claim, edge + chance.normal(size=(50, 30))) for _ in range(tries)]
    assert sum(f.contradicted for f in seen) / tries > 0.99 - 4 * np.sqrt(0.99 * 0.01 / tries)


def test_next_to_no_noise_is_no_trouble():
    """The noncentral χ² of scipy takes minutes there."""
    exact = np.zeros((40, 650))
    exact[:, 0] = 1.9
    spread = np.random.default_rng(2).normal(scale=1e-6, size=exact.shape)
    assert not _averaged(read_claim(CLIENT), exact + spread).contradicted
    assert _averaged(read_claim(CLIENT), 1.1 * exact + spread).contradicted

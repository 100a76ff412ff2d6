"""Settings: what a configuration may say, and an error that names the key for what it may not."""

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, InputError
from tacit.models.pretraining import Pretraining
from tacit.models.trainable import Train
from tacit.privacy.events import Unit
from tacit.privacy_settings import NoiseSource, NoPrivacy, RecordPrivacy
from tacit.settings import Component, Precision, SecureAggregation, Settings

GOOD = {
    "name": "demo",
    "seed": 0,
    "domain": {"name": "hospitals", "_target_": "tacit.domains.hospitals.Hospitals"},
    "model": {
        "architecture": {
            "name": "tabular",
            "_target_": "tacit.models.tabular.Tabular",
            "hidden": 8,
        },
        "train": "head",
        "pretraining": {"steps": 5},
    },
    "strategy": {"name": "fedadam", "_target_": "flwr.serverapp.strategy.FedAdam", "eta": 0.1},
    "training": {"rounds": 2, "local_steps": 1, "batch_size": "full", "learning_rate": 0.5},
    "privacy": {"kind": "record", "epsilon": 1, "delta": 1e-4, "clipping_norm": 1},
    "engine": {"kind": "loop"},
    "baselines": {
        key: {"rounds": 1, "learning_rate": 1} for key in ("alone", "federated", "pooled")
    },
}
GONE = object()


def changed(key, value):
    """GOOD with one dotted key set, or taken out."""
    mapping = copy.deepcopy(GOOD)
    node = mapping
    *groups, last = key.split(".")
    for group in groups:
        node = node.setdefault(group, {})
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return mapping


def test_what_good_settings_mean():
    settings = read_settings(GOOD)
    assert settings.domain == Component("hospitals", "tacit.domains.hospitals.Hospitals", {})
    assert settings.strategy.options == {"eta": 0.1}
    assert settings.model.architecture.options == {"hidden": 8}
    assert settings.model.train is Train.HEAD
    assert settings.model.pretraining == Pretraining(steps=5)
    assert settings.privacy == RecordPrivacy("record", 1.0, 1e-4, 1.0, Unit.RECORD, 8, "mean", 32)
    assert settings.engine.precision is Precision.FP32
    assert settings.training.batch_size == "full"
    assert settings.training.min_replies == "all"
    assert settings.secure_aggregation is SecureAggregation.AUTO


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("privacy", {"kind": "none"}, lambda s: s.privacy == NoPrivacy("none")),
        ("privacy.noise_seed", 7, lambda s: s.privacy.noise_seed == 7),
        ("privacy.noise_seed", "system", lambda s: s.privacy.noise_seed is NoiseSource.SYSTEM),
        ("privacy.bits", 16, lambda s: s.privacy.bits == 16),
        (
            "secure_aggregation",
            "required",
            lambda s: s.secure_aggregation is SecureAggregation.REQUIRED,
        ),
        ("training.batch_size", 16, lambda s: s.training.batch_size == 16),
        ("training.min_replies", 2, lambda s: s.training.min_replies == 2),
        ("model.train", "all", lambda s: s.model.train is Train.ALL),
        ("model.pretraining", None, lambda s: s.model.pretraining is None),
        ("engine.precision", "bf16", lambda s: s.engine.precision is Precision.BF16),
        ("engine.microbatch", 4, lambda s: s.engine.microbatch == 4),
    ],
)
def test_what_else_may_be_said(key, value, found):
    assert found(read_settings(changed(key, value)))


WRONG = [
    # unknown keys
    ("rouds", 1, "rouds: there is no such key"),
    ("training.epochs", 1, "training.epochs: there is no such key"),
    ("privacy.sigma", 2.0, "privacy.sigma: there is no such key"),
    ("privacy", {"kind": "none", "epsilon": 1}, "privacy.epsilon: there is no such key"),
    ("model.pretraining.lr", 1, "model.pretraining.lr: there is no such key"),
    ("baselines.alone.steps", 1, "baselines.alone.steps: there is no such key"),
    ("run.directory", "x", "run.directory: there is no such key"),
    # missing keys
    ("training", GONE, "training: must be set"),
    ("training.rounds", GONE, "training.rounds: must be set"),
    ("privacy.delta", GONE, "privacy.delta: must be set"),
    ("privacy.kind", GONE, "privacy: "),
    ("domain._target_", GONE, "domain._target_: must be set"),
    ("model.architecture.name", GONE, "model.architecture.name: must be set"),
    ("model.architecture", GONE, "model.architecture=null: must be "),
    ("baselines.pooled", GONE, "baselines.pooled: must be set"),
    # wrong types
    ("name", None, "name=null: must be text"),
    ("training", 3, "training=3: must be a group of keys"),
    ("domain", "hospitals", "domain=hospitals: must be a group of keys"),
    ("training.rounds", "many", "training.rounds=many: must be a whole number"),
    ("training.rounds", 2.5, "training.rounds=2.5: must be a whole number"),
    ("training.learning_rate", "fast", "training.learning_rate=fast: must be a number"),
    ("strategy.name", 7, "strategy.name=7: must be text"),
    ("compare", "maybe", "compare=maybe: must be true or false"),
    ("run.dir", 3, "run.dir=3: must be text"),
    ("model.pretraining.steps", "x", "model.pretraining.steps=x: must be a whole number"),
    # out of range
    ("seed", -1, "seed=-1: must be at least 0"),
    ("training.rounds", 0, "training.rounds=0: must be at least 1"),
    ("training.local_steps", -3, "training.local_steps=-3: must be at least 1"),
    ("training.learning_rate", 0, "training.learning_rate=0: must be more than 0"),
    ("training.learning_rate", math.inf, "training.learning_rate=inf: must be a finite number"),
    ("privacy.epsilon", 0, "privacy.epsilon=0: must be more than 0"),
    ("privacy.epsilon", math.nan, "privacy.epsilon=nan: must be a finite number"),
    ("privacy.epsilon", math.inf, "privacy.epsilon=inf: must be a finite number"),
    ("privacy.delta", 0, "privacy.delta=0: must be more than 0"),
    ("privacy.delta", 1, "privacy.delta=1: must be less than 1"),
    ("privacy.delta", math.nan, "privacy.delta=nan: must be "),
    ("privacy.clipping_norm", -1, "privacy.clipping_norm=-1: must be more than 0"),
    ("engine.threads", 0, "engine.threads=0: must be at least 1"),
    ("engine.microbatch", 0, "engine.microbatch=0: must be at least 1"),
    ("engine.loss_scale", 0, "engine.loss_scale=0: must be more than 0"),
    ("baselines.alone.rounds", 0, "baselines.alone.rounds=0: must be at least 1"),
    ("model.pretraining.steps", 0, "model.pretraining.steps=0 is out of range"),
    ("model.pretraining.learning_rate", math.nan, "model.pretraining.learning_rate=nan is out"),
    ("model.pretraining.masked_share", 1, "model.pretraining.masked_share=1.0 is out of range"),
    # kinds and other choices
    ("privacy.kind", "client", "privacy: Input tag 'client' found using 'kind'"),
    ("engine.kind", "magic", "engine.kind=magic: must be 'stacked', 'loop', 'ray' or 'auto'"),
    ("engine.precision", "fp8", "engine.precision=fp8: must be 'fp32', 'bf16' or 'fp16'"),
    ("model.train", "some", "model.train=some: must be 'head', 'lora'"),
    ("training.batch_size", 0, "training.batch_size=0: must be at least 1 or 'full'"),
    ("training.batch_size", "half", "training.batch_size=half: must be a whole number or 'full'"),
    ("training.min_replies", "most", "training.min_replies=most: must be a whole number or 'all'"),
    ("privacy.noise_seed", -1, "privacy.noise_seed=-1: must be at least 0 or 'system'"),
    ("privacy.noise_seed", "os", "privacy.noise_seed=os: must be a whole number or 'system'"),
    ("privacy.bits", 8, "privacy.bits=8: must be 16 or 32"),
    ("secure_aggregation", "on", "secure_aggregation=on: must be 'auto', 'required' or 'off'"),
    ("secure_aggregation", False, "secure_aggregation=false: must be "),
    ("privacy.unit", "household", "privacy.unit=household: must be 'record'"),
    ("privacy.unit", "client", "privacy.unit=client with privacy=record: a client is the unit of"),
    ("privacy.rows_per_person", 0, "privacy.rows_per_person=0: must be at least 1"),
    ("privacy.within_person", "most", "privacy.within_person=most: must be 'mean' or 'sum'"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_the_key_is_named(key, value, message):
    with pytest.raises(ConfigurationError) as caught:
        read_settings(changed(key, value))
    assert str(caught.value).startswith(message)


def test_all_errors_are_told_at_once():
    with pytest.raises(ConfigurationError, match=r"seed=-1: .*; training\.rounds=0: "):
        read_settings({**changed("training.rounds", 0), "seed": -1})


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
nodes = st.recursive(
    plain, lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5
)


@given(st.sampled_from(sorted(GOOD)), nodes)
def test_whatever_stands_there_is_read_or_refused(key, node):
    """No input brings pydantic's own error, or any other, to the person."""
    try:
        found = read_settings({**GOOD, key: node})
    except InputError as error:
        found = str(error)
    assert isinstance(found, Settings) or found.startswith(key)

"""What runs of one process share, and that by itself a run shares nothing."""

import gc
import weakref

from commands.compose import composed
from simulations.experiment import prepare
from simulations.kept import keeping, loaded
from tacit.configuration import read_settings


def settings(*words):
    return read_settings(composed(words))


def test_a_run_by_itself_reads_its_data_anew():
    chosen = settings("domain=hospitals")
    assert loaded(chosen) is not loaded(chosen)
    first, second = prepare(settings("domain=hospitals")), prepare(settings("domain=hospitals"))
    assert first.data["county"] is not second.data["county"]
    assert first.features is not second.features


def test_runs_of_a_sweep_share_the_data_of_one_domain():
    with keeping():
        first = prepare(settings("domain=hospitals", "privacy.epsilon=1"))
        second = prepare(settings("domain=hospitals", "privacy.epsilon=3"))
        assert first.data is second.data
        # The trained part of a model is its run's own.
        assert first.shared.module is not second.shared.module
        found = prepare(settings("domain=hospitals", "domain.declared_sizes.county=60"))
        assert found.data is not first.data
    assert prepare(settings("domain=hospitals")).data is not first.data


def test_features_are_shared_where_the_frozen_part_is_the_same():
    with keeping():
        first = prepare(settings("domain=hospitals", "privacy.epsilon=1"))
        first.features["county"] = first.data["county"].train
        assert prepare(settings("domain=hospitals", "training.rounds=3")).features is first.features
        assert "county" not in prepare(settings("domain=hospitals", "model=linear")).features
        assert "county" not in prepare(settings("domain=hospitals", "seed=1")).features
        half = settings("domain=hospitals", "engine.precision=bf16")
        assert "county" not in prepare(half).features


def test_two_data_sets_are_never_kept_at_once():
    with keeping():
        first = loaded(settings("domain=digits", "domain.partition.sites=5"))
        gone = weakref.ref(first.data)
        del first
        loaded(settings("domain=digits", "domain.partition.sites=6"))
        gc.collect()
        assert gone() is None

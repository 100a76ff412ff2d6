"""From the officer's word to a site: what it says is what the site holds, allows and spends."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from officer_example import LIMITS, file_of, settings_of
from site_example import open_ledger

from client import setup
from client.allowed import Allowed
from client.setup import make_site, own_model, policy_of, take_stock, words_of
from tacit.domains.hospitals import Hospitals
from tacit.errors import ConfigurationError, DataError
from tacit.privacy.policy import Policy


@pytest.fixture(scope="module")
def holdings():
    return take_stock(file_of(), settings_of(file_of()))


def test_the_words_are_the_officers_and_the_device_is_the_files():
    assert words_of(file_of(device="cuda:1")) == [
        "domain=hospitals",
        "model=linear",
        "engine.device=cuda:1",
        "compare=false",
    ]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("run.dir=x", "the coordinator keeps the run"),
        ("run.resume=x", "the coordinator keeps the run"),
        ("run={dir: x}", "the coordinator keeps the run"),
        ("+run.dir=x", "the coordinator keeps the run"),
        ("compare=true", "baselines are measured in simulations"),
        ("~compare", "baselines are measured in simulations"),
        ("++compare=true", "baselines are measured in simulations"),
        ("baselines.alone.rounds=3", "baselines are measured in simulations"),
        ("engine.device=cuda", "say it as device"),
        ("privacy.noise_seed=3", "say it as noise_seed"),
        ("privacy.noise_seed=system", "say it as noise_seed"),
    ],
)
def test_a_word_that_means_nothing_at_a_site_is_refused_with_the_reason(word, why):
    with pytest.raises(ConfigurationError) as caught:
        words_of(file_of(word))
    assert str(caught.value) == f"{word}: has no meaning at a site: {why}"


def test_a_word_that_only_begins_alike_is_not_refused():
    words = ("runs=3", "engine.device_x=1", "comparer=1", "privacy.epsilon=1")
    assert words_of(file_of(*words))[2:6] == list(words)


def test_a_site_holds_its_own_rows_and_the_model(holdings):
    own = Hospitals().load()["county"]
    assert torch.equal(holdings.data.train.features, own.train.features)
    assert torch.equal(holdings.data.test.targets, own.test.targets)
    assert (holdings.card.name, holdings.declared_size) == ("hospitals", 70)
    assert holdings.prepared.compute.device == torch.device("cpu")


def test_every_site_has_the_same_model(holdings):
    other = own_model(file_of(name="university"), settings_of(file_of()), Hospitals())
    assert other.model_sha256 == holdings.prepared.model_sha256


def test_pretraining_is_followed():
    steps = []
    file = file_of("model=tabular", "model.pretraining.steps=3")
    take_stock(file, settings_of(file), lambda step, loss: steps.append(step))
    assert steps
    assert max(steps) == 3


def test_a_domain_without_this_site_names_those_there_are():
    with pytest.raises(ConfigurationError, match=r"hospitals has no site 'ward'.*county, referral"):
        take_stock(file_of(name="ward"), settings_of(file_of()))


def test_a_missing_file_is_named(tmp_path):
    file = file_of("domain=heart_disease", f"domain.root={tmp_path}", name="va")
    with pytest.raises(DataError, match=r"processed\.va\.data: there is no such file"):
        take_stock(file, settings_of(file))


def test_a_device_that_is_not_there_is_named():
    file = file_of(device="cuda:99")
    with pytest.raises(ConfigurationError, match=r"engine\.device='cuda:99' cannot be used here"):
        own_model(file, settings_of(file), Hospitals())


def test_a_site_without_privacy_is_refused():
    file = file_of("privacy=none", test_data=True)
    with pytest.raises(ConfigurationError, match="privacy=none: a site releases nothing exact"):
        own_model(file, settings_of(file), Hospitals())


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(ConfigurationError, match=r"gpu_memory_share=0\.5: device=auto is no GPU"):
        own_model(file_of(gpu_memory_share=0.5), settings_of(file_of()), Hospitals())


@pytest.mark.parametrize(("device", "index"), [("cuda", 2), ("cuda:1", 1)])
def test_the_share_of_a_gpu_is_set_for_the_device_that_trains(monkeypatch, device, index):
    compute = SimpleNamespace(device=torch.device(device))
    prepared = SimpleNamespace(compute=compute)
    said = []

    def fraction(share, device):
        # As torch does: it refuses a device without a number.
        said.append((share, torch.cuda._utils._get_device_index(device)))

    monkeypatch.setattr(setup, "prepare_model", lambda *_: prepared)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fraction)
    own_model(file_of(gpu_memory_share=0.25), settings_of(file_of()), Hospitals())
    assert said == [(0.25, index)]


def test_what_a_site_allows_is_what_the_file_says(holdings):
    model = holdings.prepared.model_sha256
    two = ("county", "referral")
    assert setup.allowed_by(file_of(), holdings.prepared, two) == Allowed("hospitals", model)
    limits = replace(LIMITS, models=(model,), strategies=("fedavg", "krum"))
    narrow = file_of(limits=limits, secure_aggregation=3)
    assert setup.allowed_by(narrow, holdings.prepared, two) == Allowed(
        "hospitals", model, frozenset({model}), frozenset({"fedavg", "krum"}), 3
    )
    careful = file_of(limits=replace(LIMITS, colluders=2))
    expected = Allowed("hospitals", model, colluders=2)
    assert setup.allowed_by(careful, holdings.prepared, two) == expected


@pytest.mark.parametrize(
    ("demand", "sites", "others"),
    [("auto", 3, 0), ("auto", 4, 2), ("auto", 9, 2), ("off", 9, 0), (5, 3, 5)],
)
def test_among_how_many_others_a_site_wants_to_be(demand, sites, others):
    file = file_of(secure_aggregation=demand)
    assert setup.others_demanded(file, [str(number) for number in range(sites)]) == others


def test_what_a_site_spends_is_what_the_file_says():
    assert policy_of(file_of()) == Policy(
        epsilon_per_run=1.0,
        lifetime_epsilon=3.0,
        delta_per_run=1e-4,
        least_noise_multiplier=1.0,
        most_rounds=200,
        require_privacy=True,
        test_data=False,
    )
    assert policy_of(file_of()).epsilon_alone == 0.0
    shared = file_of(limits=replace(LIMITS, epsilon_alone_per_run=8.0))
    assert policy_of(shared) == replace(policy_of(file_of()), epsilon_alone=8.0)
    assert policy_of(file_of(test_data=True)) == replace(
        policy_of(file_of()), require_privacy=False, test_data=True
    )


@pytest.mark.parametrize("seed", [None, 7])
def test_noise_is_predictable_only_with_a_seed(holdings, tmp_path, stream_keys, seed):
    with open_ledger(tmp_path) as ledger:
        site = make_site(file_of(noise_seed=seed, test_data=seed is not None), holdings, ledger)
        site.streams(1, "noise")
        site.streams(1, "noise")
    assert site.name == "county"
    assert site.predictable == (seed is not None)
    assert (stream_keys[0] == stream_keys[1]) == (seed is not None)
    assert len(site.data) == len(holdings.data.train)
    assert site.model is holdings.prepared.shared.module

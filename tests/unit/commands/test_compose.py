from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.compose import composed, jobs, parse, quoted
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError


@pytest.mark.parametrize("domain", ["hospitals", "heart_disease"])
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
@pytest.mark.parametrize("privacy", ["record", "none"])
def test_every_packaged_option_composes_into_settings(domain: str, strategy: str, privacy: str):
    words = [f"domain={domain}", f"strategy={strategy}", f"privacy={privacy}"]
    root = ["domain.root=somewhere"] if domain == "heart_disease" else []
    found = composed([*words, *root])
    assert read_settings(found).domain.name == domain
    assert read_settings(found).privacy.kind == privacy
    assert "recommended" not in found


def test_the_command_line_beats_the_domain():
    plain = composed([])
    assert plain["privacy"]["epsilon"] == 1.0
    assert plain["model"]["architecture"]["name"] == "tabular"
    given_words = composed(["model=linear", "privacy.epsilon=3", "name=mine"])
    assert given_words["privacy"]["epsilon"] == 3
    assert given_words["model"]["architecture"]["name"] == "linear"
    assert given_words["name"] == "mine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("domian=x", "domian: there is no such key; did you mean 'domain'?"),
        ("domain=hart", "domain=hart: there is no such option; did you mean 'heart_disease'?"),
        ("domain=zzz", "there are digits, fleet"),
        ("domain=null", "domain=null: there is no such option"),
        ("privcy.epsilon=1", "did you mean 'privacy.epsilon'?"),
        ("privacy.epsilonn=1", "did you mean 'privacy.epsilon'?"),
        ("epsilon=1", "did you mean 'privacy.epsilon'?"),
        ("training.round=3", "did you mean 'training.rounds'?"),
        ("rounds=3", "did you mean 'training.rounds'?"),
        ("strategy=fedadam strategy.beta1=0.9", "did you mean 'strategy.beta_1'?"),
        ("strategy.beta_1=0.9", "strategy=fedavg has no such key, strategy=fedadam|fedyogi has"),
        ("domain.root=x", "domain=hospitals has no such key, domain="),
        ("privacy=none privacy.epsilon=1", "privacy=client_level|record|shared_noise has"),
        ("domain.declared_sizes.foo=3", "domain.declared_sizes has county, referral"),
        ("recommended.epsilon=1", "did you mean 'privacy.epsilon'?"),
        ("hydra.verbose=true", "--show prints all there are"),
        ("+foo=1", "foo: there is no such key"),
        ("+privacy.foo=1", "privacy.foo: there is no such key; privacy has"),
        ("~domain", "~domain: a run needs one: domain=digits|fleet"),
        ("partition=iid", "partition=iid: the sites of this domain are given, not dealt out"),
        ("partition.sites=3", "the sites of this domain are given, not dealt out"),
        ("domain.partition.sites=3", "not dealt out; domain=digits has domain.partition"),
        ("domain=digits partition=idd", "did you mean 'iid'?"),
        ("domain=digits partition.sites=3", "did you mean 'domain.partition.sites'?"),
        ("domain=digits domain.partition.alpha=1", "partition=iid has no such key, partition=dir"),
        ("domain=table domain.partition.alpha=1", "no such key without partition=dirichlet|quan"),
        ("~seed", "~seed: this key cannot be taken away"),
        ("~domain.declared_sizes.conty", "did you mean 'domain.declared_sizes.county'?"),
        ("run=5", "run=5: run is no single value: set run.dir, run.resume"),
        ("model", "'model' is not KEY=VALUE or GROUP=OPTION; did you mean 'model="),
        ("heart_disease", "did you mean 'domain=heart_disease'?"),
        ("=3", "'=3' is not KEY=VALUE"),
        ("'domain'=x", "cannot be read"),
        ("run.dir=a=b", "as in run.dir='\"a=b\"'"),
        ("run.dir=a,b", "several values need --multirun"),
        ("domain@foo=hospitals", "leave '@' out"),
        ("+domain=hospitals", "more than once"),
        ("domain=heart_disease", "domain.root must be set: add domain.root=VALUE"),
        ("privacy.epsilon=${foo}", "privacy.epsilon: Interpolation key 'foo' not found"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest_right_one(words: str, says: str):
    with pytest.raises(ConfigurationError) as caught:
        composed(words.split())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_of_a_class_may_come_and_go():
    added = composed(["+strategy.fraction_train=0.5", "~domain.declared_sizes.county"])
    assert added["strategy"]["fraction_train"] == 0.5
    assert "county" not in added["domain"]["declared_sizes"]


def test_an_own_option_is_found_and_broken_yaml_is_named(tmp_path: Path):
    folder = tmp_path / "own, with=odd 'name'"
    (folder / "privacy").mkdir(parents=True)
    (folder / "privacy" / "mine.yaml").write_text("# Mine.\nkind: none\n")
    (folder / "privacy" / "broken.yaml").write_text("kind: [\nx: y: z\n")
    assert composed(["privacy=mine"], folder=folder)["privacy"] == {"kind": "none"}
    with pytest.raises(ConfigurationError, match=r"broken\.yaml, line"):
        composed(["privacy=broken"], folder=folder)
    with pytest.raises(ConfigurationError, match="did you mean 'mine'"):
        composed(["privacy=mien"], folder=folder)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_any_quoted_text_is_read_back_as_it_is(text: str):
    # A backslash before a quote or at the end is Hydra's escape, and no path of ours has one.
    text = text.replace("\\", "/")
    (override,) = parse([f"run.dir={quoted(text)}"])
    assert override.value() == text


def test_jobs_are_every_combination_in_order():
    assert jobs(["seed=1,2", "name=x", "privacy.epsilon=0.5,1"]) == [
        ["seed=1", "name=x", "privacy.epsilon=0.5"],
        ["seed=1", "name=x", "privacy.epsilon=1"],
        ["seed=2", "name=x", "privacy.epsilon=0.5"],
        ["seed=2", "name=x", "privacy.epsilon=1"],
    ]
    assert jobs(["name='a,b'"]) == [["name='a,b'"]]

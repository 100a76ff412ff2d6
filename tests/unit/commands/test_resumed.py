from pathlib import Path

import pytest
import yaml

from commands.compose import composed
from commands.resume import resumed
from tacit.errors import ConfigurationError, RunDirectoryError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = composed(["domain=heart_disease", "domain.root=here", "seed=4"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_new_run_has_nothing_to_resume():
    assert resumed(["seed=1"]) is None
    assert resumed(["run.resume=null"]) is None


def test_the_runs_own_configuration_comes_back(run: Path):
    found = resumed([f"run.resume={run}"])
    assert found["run"] == {"dir": None, "resume": str(run)}
    assert found["seed"] == 4
    assert found["domain"]["root"] == "here"


def test_the_same_values_may_be_said_again(run: Path):
    words = ["seed=4", "privacy.epsilon=1", "domain=heart_disease", "privacy=record"]
    assert resumed([*words, f"run.resume={run}"])["seed"] == 4


def test_where_it_is_computed_may_differ(run: Path):
    words = [f"run.resume={run}", "engine.device=cpu", "engine.threads=2", "cache=elsewhere"]
    found = resumed(words)
    assert found["engine"]["device"] == "cpu"
    assert found["engine"]["threads"] == 2
    assert found["cache"] == "elsewhere"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=5", "seed=5 was asked for, but the run was made with seed=4"),
        ("privacy.epsilon=2", "privacy.epsilon=1.0"),
        ("domain=hospitals", "domain.name=heart_disease"),
        ("privacy=none", "privacy.kind=record"),
        ("~seed", "seed=4"),
    ],
)
def test_another_configuration_is_refused_with_both_values(run: Path, word: str, says: str):
    with pytest.raises(RunDirectoryError) as caught:
        resumed([word, f"run.resume={run}"])
    assert says in str(caught.value)


def test_an_unknown_key_and_a_folder_without_a_run_are_refused(run: Path, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"did you mean 'epsilon'"):
        resumed([f"run.resume={run}", "privacy.epsilonn=1"])
    with pytest.raises(RunDirectoryError, match=r"a run\?"):
        resumed([f"run.resume={tmp_path / 'nowhere'}"])


def test_the_partition_of_a_run_is_kept(tmp_path: Path):
    config = composed(["domain=digits", "partition=shards", "seed=4"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    found = resumed(["partition=shards", f"run.resume={tmp_path}"])
    assert found["domain"]["partition"]["seed"] == 4
    with pytest.raises(RunDirectoryError, match=r"domain\.partition\.name=shards"):
        resumed(["partition=iid", f"run.resume={tmp_path}"])

from pathlib import Path

import pytest

from commands.arguments import Arguments, split
from tacit.errors import ConfigurationError


def test_words_and_options_are_told_apart():
    found = split(["seed=1", "-m", "--config-dir", "own", "domain=hospitals"])
    assert found == Arguments(["seed=1", "domain=hospitals"], multirun=True, config_dir=Path("own"))


def test_config_dir_takes_its_value_in_either_form():
    assert split(["--config-dir=a=b"]).config_dir == Path("a=b")
    assert split(["--config-dir", "a=b"]).config_dir == Path("a=b")


def test_a_home_folder_is_expanded_as_a_shell_would():
    (word,) = split(["domain.root=~/heart"]).words
    assert word == f"domain.root={Path.home()}/heart"
    assert split(["--config-dir", "~/own"]).config_dir == Path.home() / "own"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--multirum", "did you mean '--multirun'"),
        ("--foo", "there are --config-dir, --help"),
        ("--seed=3", "without dashes: seed=3"),
        ("-x", "no such option"),
        ("--config-dir", "--config-dir needs a folder"),
        ("--config-dir=", "--config-dir needs a folder"),
    ],
)
def test_an_option_that_is_wrong_is_refused(word: str, says: str):
    with pytest.raises(ConfigurationError) as caught:
        split([word])
    assert says in str(caught.value)

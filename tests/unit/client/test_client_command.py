"""tacit-client's words: answered, or refused in a line that says what to write instead."""

import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from officer_example import file_of

from client import check, resident
from client.command import USAGE, _main
from tacit.errors import ExitCode

SITE = {
    "name": "county",
    "server": "https://localhost:9443",
    "experiment": ["domain=hospitals", "model=linear"],
    "data_set": "ward 3",
    "limits": {
        "epsilon_per_run": 1.0,
        "delta_per_run": 1e-4,
        "lifetime_epsilon": 3.0,
        "lifetime_delta": 1e-4,
        "least_noise_multiplier": 1.0,
        "most_rounds": 200,
    },
}


@pytest.fixture
def client(command):
    return lambda *words: command(*words, main=_main)


@pytest.fixture
def path(tmp_path):
    """A site.yaml, to be written again with other keys by `rewrite`."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(SITE))
    return path


def rewrite(path, **keys):
    path.write_text(yaml.safe_dump(SITE | keys))


def refused(ended):
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    return ended.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_the_usage(client, word):
    assert client(word) == client("site=x", word)
    assert client(word).out == USAGE


def test_help_loads_nothing_heavy():
    heavy = ("torch", "numpy", "hydra", "flwr", "pydantic", "yaml", "rich", "cryptography")
    code = (
        "import sys\n"
        "sys.argv = ['tacit-client', '--help']\n"
        "from client.command import main\n"
        "try: main()\n"
        f"finally: print(*sorted(set(sys.modules) & set({heavy})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, USAGE, "\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say which site: tacit-client site=PATH/site.yaml"),
        (["check=true"], "say which site"),
        (["site="], "say which site"),
        (["site"], "say which site"),
        (["site=a", "site=b"], "site=b: site=a was said before"),
        (["site=a", "check"], "check=: must be check=true or check=false"),
        (["site=a", "check=yes"], "check=yes: must be check=true or check=false"),
        (["site=a", "chek=true"], "chek: there is no such key here, and what a site trains"),
        (["site=a", "domain=hospitals"], "domain: there is no such key here, and what a site"),
        (["site=a", "run.dir=b"], "run.dir: there is no such key here"),
        (["site=a", "--multirun"], "--multirun, --show and --list belong to tacit-simulate"),
        (["site=a", "--show"], "--multirun, --show and --list belong to tacit-simulate"),
        (["site=a", "--list"], "--multirun, --show and --list belong to tacit-simulate"),
        (["site=a", "--chek"], "--chek: there is no such option"),
        (["site=none/site.yaml"], "none/site.yaml: cannot be read: No such file or directory"),
        (["site=~nobody-of-that-name/site.yaml"], "~nobody-of-that-name/site.yaml: cannot be read"),
        (["site=."], ".: cannot be read: Is a directory"),
    ],
)
def test_words_that_cannot_be(client, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert refused(client(*words)).startswith(says)


def test_the_nearest_key_is_named(client):
    assert refused(client("sit=a")).endswith("did you mean 'site'?")


def test_a_wrong_site_file_is_named(client, path):
    rewrite(path, limits=SITE["limits"] | {"most_rounds": 0})
    assert refused(client(f"site={path}")) == f"{path}: limits.most_rounds=0: must be at least 1"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("rouds=3", "rouds: there is no such key; did you mean 'training.rounds'?"),
        ("domain=hospital", "domain=hospital: there is no such option; did you mean 'hospitals'?"),
        ("run.dir=x", "run.dir=x: has no meaning at a site: the coordinator keeps the run"),
        ("engine.device=cpu", "engine.device=cpu: has no meaning at a site: say it as device"),
        ("engine.devic=cpu", "engine.devic: there is no such key; did you mean 'engine.device'?"),
        ("training.rounds=0", "training.rounds=0: must be at least 1"),
        ("training.rounds=1,2", "training.rounds=1,2: several values need --multirun"),
        ("hospitals", "'hospitals' is not KEY=VALUE or GROUP=OPTION; did you mean"),
        ("domain=heart_disease", "domain.root must be set"),
        ("hydra.run.dir=x", "hydra.run.dir: there is no such key"),
    ],
)
def test_a_wrong_word_of_the_experiment_is_named_with_the_file(client, path, word, says):
    rewrite(path, experiment=["domain=hospitals", "model=linear", word])
    said = refused(client(f"site={path}"))
    assert said.startswith(f"{path}: experiment: {says}")
    assert said.count(str(path)) == 1


def test_options_of_the_officers_own_folder_count(client, path, tmp_path, monkeypatch):
    (tmp_path / "own" / "privacy").mkdir(parents=True)
    (tmp_path / "own" / "privacy" / "strict.yaml").write_text(
        "kind: record\nunit: record\nepsilon: 0.25\ndelta: 1.0e-5\nclipping_norm: 1.0\n"
        "noise_seed: null\n"
    )
    rewrite(path, experiment=[*SITE["experiment"], "privacy=strict"])
    assert "privacy=strict: there is no such option" in refused(client(f"site={path}"))
    seen = []
    monkeypatch.setattr(resident, "stay", lambda file, settings: seen.append(settings))
    assert client(f"site={path}", "--config-dir", tmp_path / "own").code == ExitCode.DONE
    assert seen[0].privacy.epsilon == 0.25


@pytest.mark.parametrize("words", [[], ["check=false"]])
def test_without_a_check_the_site_stays(client, path, monkeypatch, words):
    seen = []
    monkeypatch.setattr(resident, "stay", lambda *given: seen.append(given))
    assert client(f"site={path}", *words).code == ExitCode.DONE
    ((file, settings),) = seen
    assert file == replace(
        file_of(folder=path.parent), data_set="ward 3", server="https://localhost:9443"
    )
    assert (settings.domain.name, settings.model.architecture.name) == ("hospitals", "linear")
    assert settings.engine.device == "auto"
    assert not settings.compare


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.INCOMPLETE])
def test_a_check_gives_its_exit_code_and_nothing_else_runs(client, path, monkeypatch, code):
    monkeypatch.setattr(check, "check_site", lambda file, settings: code)
    monkeypatch.setattr(resident, "stay", None)
    assert client("check=true", f"site={path}").code == code


def test_the_whole_check_from_its_words(client, path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = sorted(tmp_path.rglob("*"))
    ended = client(f"site={path}", "check=true")
    assert (ended.code, ended.err) == (ExitCode.INCOMPLETE, "")
    assert "ok     data\n" in ended.out
    assert "wrong  keys\n" in ended.out
    assert ended.out.endswith("A run would fail here. Nothing was spent.\n")
    assert sorted(tmp_path.rglob("*")) == before

"""site.yaml: what it says is what the site has, and whatever is wrong with it is named."""

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from client.site_file import SiteFile, SiteLimits, read_site_file
from tacit import plain_yaml
from tacit.errors import ConfigurationError

GOOD = {
    "name": "county",
    "server": "https://coordinator.example:9443",
    "experiment": ["domain=hospitals"],
    "data_set": "ward 3",
    "limits": {
        "epsilon_per_run": 1.0,
        "delta_per_run": 1e-5,
        "lifetime_epsilon": 3,
        "lifetime_delta": 1e-6,
    },
}
MODEL = "0f" * 32
GONE = object()


def written(folder, key=None, value=GONE):
    """A site.yaml that says GOOD, with one dotted key set or taken out."""
    found = copy.deepcopy(GOOD)
    if key is not None:
        node = found
        *groups, last = key.split(".")
        for group in groups:
            node = node[group]
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(ConfigurationError) as caught:
        read_site_file(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said.removeprefix(f"{path}: ")


def test_what_it_says_and_what_holds_where_it_is_silent(tmp_path):
    assert read_site_file(written(tmp_path)) == SiteFile(
        name="county",
        server="https://coordinator.example:9443",
        experiment=("domain=hospitals",),
        data_set="ward 3",
        limits=SiteLimits(1.0, 1e-5, 3.0, 1e-6),
        bundle=tmp_path,
        ledger=tmp_path / "ledger",
    )


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("test_data", True, lambda f: f.test_data is True),
        ("secure_aggregation", "off", lambda f: f.secure_aggregation == "off"),
        ("secure_aggregation", 3, lambda f: f.secure_aggregation == 3),
        ("device", "cuda:11", lambda f: f.device == "cuda:11"),
        ("gpu_memory_share", 1, lambda f: type(f.gpu_memory_share) is float),
        ("gpu_memory_share", 0.25, lambda f: f.gpu_memory_share == 0.25),
        ("heartbeat", 2, lambda f: f.heartbeat == 2.0),
        ("log", "json", lambda f: f.log == "json"),
        ("limits.least_noise_multiplier", 0, lambda f: f.limits.least_noise_multiplier == 0.0),
        ("limits.most_rounds", None, lambda f: f.limits.most_rounds is None),
        ("limits.most_rounds", 7, lambda f: f.limits.most_rounds == 7),
        ("limits.epsilon_alone_per_run", 8, lambda f: f.limits.epsilon_alone_per_run == 8.0),
        ("limits.epsilon_alone_per_run", None, lambda f: f.limits.epsilon_alone_per_run is None),
        ("limits.colluders", 0, lambda f: f.limits.colluders == 0),
        ("limits.models", [MODEL], lambda f: f.limits.models == (MODEL,)),
        ("limits.strategies", ["fedavg", "krum"], lambda f: f.limits.strategies[1] == "krum"),
        ("limits.strategies", [], lambda f: f.limits.strategies == ()),
        ("limits.lifetime_epsilon", 1.0, lambda f: f.limits.lifetime_epsilon == 1.0),
        ("experiment", ["domain=x", "seed=1"], lambda f: f.experiment == ("domain=x", "seed=1")),
        ("data_set", "no", lambda f: f.data_set == "no"),
        ("server", "https://192.0.2.1:1", lambda f: f.address == "192.0.2.1:1"),
        ("server", "https://[2001:db8::1]:9443", lambda f: f.address == "[2001:db8::1]:9443"),
        ("server", "https://Server.Example:9443/", lambda f: f.address == "Server.Example:9443"),
    ],
)
def test_what_else_may_be_said(tmp_path, key, value, found):
    assert found(read_site_file(written(tmp_path, key, value)))


def test_an_off_needs_no_quotation_marks_and_a_small_number_no_point(tmp_path):
    path = written(tmp_path, "limits.delta_per_run")
    text = path.read_text().replace("limits:", "secure_aggregation: off\nlimits:")
    path.write_text(text.replace("limits:\n", "limits:\n  delta_per_run: 1e-5\n"))
    found = read_site_file(path)
    assert (found.secure_aggregation, found.limits.delta_per_run) == ("off", 1e-5)


BAD = [
    # wrong types
    ("name", 3, "name=3: must be text"),
    ("name", None, "name=null: must be text"),
    ("server", 9443, "server=9443: must be text"),
    ("experiment", "domain=hospitals", "experiment: 'domain=hospitals' must be a list"),
    ("experiment", {"domain": "x"}, "experiment: {'domain': 'x'} must be a list"),
    ("experiment", [3], "experiment.0=3: must be text"),
    ("data_set", True, "data_set=true: must be text"),
    ("limits", 3, "limits=3: must be a group of keys"),
    ("limits", None, "limits=null: must be a group of keys"),
    ("bundle", 3, "bundle: 3 is not the path of a folder"),
    ("ledger", None, "ledger: None is not the path of a folder"),
    ("test_data", "true", "test_data=true: must be true or false"),
    ("test_data", 1, "test_data=1: must be true or false"),
    ("noise_seed", "x", "noise_seed=x: must be a whole number"),
    ("noise_seed", 1.5, "noise_seed=1.5: must be a whole number"),
    (
        "secure_aggregation",
        "on",
        "secure_aggregation=on: must be 'off' or 'auto' or a whole number",
    ),
    (
        "secure_aggregation",
        False,
        "secure_aggregation=false: must be 'off' or 'auto' or a whole number",
    ),
    ("device", 0, "device=0: must be text"),
    ("gpu_memory_share", "half", "gpu_memory_share=half: must be a number"),
    ("heartbeat", "slow", "heartbeat=slow: must be a number"),
    ("log", True, "log=true: must be 'text' or 'json'"),
    ("limits.epsilon_per_run", "1,5", "limits.epsilon_per_run=1,5: must be a number"),
    ("limits.epsilon_per_run", True, "limits.epsilon_per_run=true: must be a number"),
    ("limits.delta_per_run", None, "limits.delta_per_run=null: must be a number"),
    ("limits.lifetime_epsilon", [3], "limits.lifetime_epsilon=[3]: must be a number"),
    ("limits.lifetime_delta", "tiny", "limits.lifetime_delta=tiny: must be a number"),
    ("limits.least_noise_multiplier", "1", "limits.least_noise_multiplier=1: must be a number"),
    ("limits.most_rounds", "many", "limits.most_rounds=many: must be a whole number"),
    ("limits.most_rounds", 2.5, "limits.most_rounds=2.5: must be a whole number"),
    ("limits.epsilon_alone_per_run", "8", "limits.epsilon_alone_per_run=8: must be a number"),
    ("limits.colluders", "one", "limits.colluders=one: must be a whole number"),
    ("limits.colluders", 1.5, "limits.colluders=1.5: must be a whole number"),
    ("limits.colluders", None, "limits.colluders=null: must be a whole number"),
    ("limits.models", MODEL, f"limits.models: '{MODEL}' must be any, or a list"),
    ("limits.models", None, "limits.models: None must be any, or a list"),
    ("limits.models", [3], "limits.models: [3] must be any, or a list of words"),
    ("limits.strategies", "fedavg", "limits.strategies: 'fedavg' must be any, or a list"),
    ("limits.strategies", [None], "limits.strategies: [None] must be any, or a list of words"),
    # out of range
    ("name", "", "name: '' cannot be a site's name"),
    ("name", "County Hospital", "name: 'County Hospital' cannot be a site's name"),
    ("name", "a\nb", "name: 'a\\nb' cannot be a site's name"),
    ("name", "server", "name: 'server' is the coordinator"),
    ("server", "coordinator.example:9443", "server=coordinator.example:9443: must be https://"),
    ("server", "http://coordinator.example:9443", "server=http://coordinator.example:9443: must"),
    ("server", "https://coordinator.example", "server=https://coordinator.example: must be"),
    ("server", "https://a.example:0", "server=https://a.example:0: must be"),
    ("server", "https://a.example:99999", "server=https://a.example:99999: must be"),
    ("server", "https://:9443", "server=https://:9443: must be"),
    ("server", "https://a b:9443", "server=https://a b:9443: must be"),
    ("server", "https://a..b:9443", "server=https://a..b:9443: must be"),
    ("server", "https://me:secret@a.example:9443", "server=https://me:"),
    ("server", "https://a.example:9443/x", "server=https://a.example:9443/x: must be"),
    ("server", "https://a.example:9443?x", "server=https://a.example:9443?x: must be"),
    ("server", "https://[::1:9443", "server=https://[::1:9443: must be"),
    ("server", "https://[fish]:9443", "server=https://[fish]:9443: must be"),
    ("experiment", [], "experiment: [] must be a list with a word at least"),
    ("data_set", "  ", "data_set: must not be empty"),
    ("bundle", "", "bundle: '' is not the path of a folder"),
    ("bundle", "a\0b", "bundle: 'a\\x00b' is not the path of a folder"),
    ("ledger", "~/ledger", "ledger: ~/ledger must be written without ~"),
    ("noise_seed", -1, "noise_seed=-1: must be at least 0"),
    ("noise_seed", 7, "noise_seed=7: whoever knows a seed can take the noise off again"),
    ("secure_aggregation", 0, "secure_aggregation=0: must be 'off' or 'auto' or at least 1"),
    ("device", "gpu", "device=gpu: must be auto, cpu, cuda or cuda:N"),
    ("device", "cuda:", "device=cuda:: must be auto"),
    ("device", "cpu,cuda", "device=cpu,cuda: must be auto"),
    ("device", "", "device=: must be auto"),
    ("gpu_memory_share", 0, "gpu_memory_share=0: must be more than 0"),
    ("gpu_memory_share", 1.5, "gpu_memory_share=1.5: must be at most 1"),
    ("heartbeat", 0, "heartbeat=0: must be more than 0"),
    ("log", "xml", "log=xml: must be 'text' or 'json'"),
    ("limits.epsilon_per_run", 0, "limits.epsilon_per_run=0: must be more than 0"),
    ("limits.epsilon_per_run", -1, "limits.epsilon_per_run=-1: must be more than 0"),
    ("limits.epsilon_per_run", 3.5, "limits.lifetime_epsilon=3 is less than limits.epsilon_per"),
    ("limits.delta_per_run", 0, "limits.delta_per_run=0: must be more than 0"),
    ("limits.delta_per_run", 1, "limits.delta_per_run=1: must be less than 1"),
    ("limits.lifetime_epsilon", 0.5, "limits.lifetime_epsilon=0.5 is less than limits.epsilon_"),
    ("limits.lifetime_epsilon", -3, "limits.lifetime_epsilon=-3: must be more than 0"),
    ("limits.lifetime_delta", 1.5, "limits.lifetime_delta=1.5: must be less than 1"),
    ("limits.least_noise_multiplier", -1, "limits.least_noise_multiplier=-1: must be at least 0"),
    ("limits.most_rounds", 0, "limits.most_rounds=0: must be at least 1"),
    ("limits.epsilon_alone_per_run", 0, "limits.epsilon_alone_per_run=0: must be more than 0"),
    ("limits.colluders", -1, "limits.colluders=-1: must be at least 0"),
    ("limits.models", ["tabular"], "limits.models: 'tabular' is no SHA-256"),
    ("limits.models", [MODEL, MODEL[1:]], f"limits.models: '{MODEL[1:]}' is no SHA-256"),
    ("limits.models", [MODEL.upper()], f"limits.models: '{MODEL.upper()}' is no SHA-256"),
    # missing
    ("name", GONE, "name: must be set"),
    ("server", GONE, "server: must be set"),
    ("experiment", GONE, "experiment: must be set"),
    ("data_set", GONE, "data_set: must be set"),
    ("limits", GONE, "limits: must be set"),
    ("limits.epsilon_per_run", GONE, "limits.epsilon_per_run: must be set"),
    ("limits.delta_per_run", GONE, "limits.delta_per_run: must be set"),
    ("limits.lifetime_epsilon", GONE, "limits.lifetime_epsilon: must be set"),
    ("limits.lifetime_delta", GONE, "limits.lifetime_delta: must be set"),
    # unknown
    ("nam", "county", "nam: there is no such key; did you mean 'name'?"),
    ("epsilon_per_run", 1, "epsilon_per_run: there is no such key; did you mean 'limits.epsilon_"),
    ("limits.epsilon", 1, "limits.epsilon: there is no such key; did you mean 'limits."),
    ("limits.most_round", 1, "limits.most_round: there is no such key; did you mean 'limits.most_"),
    ("testdata", True, "testdata: there is no such key; did you mean 'test_data'?"),
    ("<<", {"name": "x"}, "<<: there is no such key; there are bundle, data_set, "),
    (3, 3, "3: there is no such key; there are bundle, "),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_what_is_wrong_is_named_with_the_key_and_the_value(tmp_path, key, value, message):
    if key == 3:
        path = written(tmp_path)
        path.write_text(path.read_text() + "3: 3\n")
    else:
        path = written(tmp_path, key, value)
    assert refusal(path).startswith(message)


def test_every_key_has_wrong_values_in_the_table():
    own = {field.name for field in fields(SiteFile)}
    own |= {f"limits.{field.name}" for field in fields(SiteLimits)}
    assert own <= {key for key, value, _ in BAD if value is not GONE}
    assert {key for key, value, _ in BAD if value is GONE} == GOOD.keys() | {
        f"limits.{key}" for key in GOOD["limits"]
    }


@pytest.mark.parametrize(
    ("number", "key"),
    [(text, key) for text in (".inf", ".nan", "-.inf", "1e999") for key in ("1", "2", "3")],
)
def test_no_number_is_infinite_or_none(tmp_path, number, key):
    name = {"1": "epsilon_per_run", "2": "lifetime_delta", "3": "least_noise_multiplier"}[key]
    path = written(tmp_path, f"limits.{name}", 0.5)
    path.write_text(path.read_text().replace(f"{name}: 0.5", f"{name}: {number}"))
    assert refusal(path).startswith(f"limits.{name}=")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold keys and values"),
        ("county", "must hold keys and values"),
        ("- name: county", "must hold keys and values"),
        ("name: a\nname: b", "line 2: name stands here for the second time"),
        ("limits:\n  models: any\n  models: any", "line 3: models stands here for the second time"),
        ("name: !!python/object/apply:os.system [id]", "line 1: tag:yaml.org,2002:python/"),
        ("a: &a [1]\nb: *a", "line 2: *a: write the value out"),
        ("a: {" * 1000, "line 1: more than 8 levels"),
        ("#" * (10 << 20), "has more than 65536 bytes"),
    ],
)
def test_what_is_no_site_file_is_refused(tmp_path, text, message):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert refusal(path).startswith(message)


def test_a_reader_that_takes_the_last_of_two_keys_would_be_noticed(tmp_path, monkeypatch):
    path = written(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("limits:\n", "limits:\n  epsilon_per_run: 2.0\n"))
    assert "epsilon_per_run stands here for the second time" in refusal(path)
    monkeypatch.setattr(plain_yaml, "read_file", lambda path: yaml.safe_load(path.read_text()))
    assert read_site_file(path).limits.epsilon_per_run == 1.0


def test_paths_count_from_the_folder_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    written(tmp_path / "site", "ledger", "../kept")
    monkeypatch.chdir(tmp_path)
    found = read_site_file(Path("site/site.yaml"))
    assert (found.bundle, found.ledger) == (Path("site"), Path("site/../kept"))


def test_a_path_in_full_stays(tmp_path):
    assert read_site_file(written(tmp_path, "ledger", "/var/tacit")).ledger == Path("/var/tacit")


def test_a_seed_is_for_test_data(tmp_path):
    path = written(tmp_path, "noise_seed", 7)
    path.write_text(path.read_text() + "test_data: true\n")
    assert read_site_file(path).noise_seed == 7

"""A domain, a model, a strategy and a partition of somebody's own: a class and a YAML each.

Nothing of Tacit is edited. The files are those that docs/extending.md prints.
"""

import re
import sys
from pathlib import Path

import pytest
from whole_run import call, results

from tacit.errors import ExitCode

PAGE = Path(__file__).parents[2] / "docs/extending.md"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The page's files, each with its name in its first line, in a folder of their own."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, content in blocks:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("wards", None)


def test_a_domain_a_model_and_a_strategy_from_outside(own, capsys):
    names = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()}
    assert names == {
        "wards.py",
        "own/domain/wards.yaml",
        "own/model/wide.yaml",
        "own/strategy/halfway.yaml",
        "own/partition/turns.yaml",
    }
    words = ["domain=wards", "model=wide", "strategy=halfway", f"run.dir={own}/run"]
    code, said = call(["--config-dir", str(own / "own"), *words], capsys)
    assert (code, said) == (ExitCode.DONE, "")
    found = results(own / "run")
    assert found["domain"]["name"] == "wards"
    assert found["model"]["name"] == "wide"
    assert found["strategy"] == "halfway"
    # Half the patients are ill, by a rule that a line can learn.
    assert found["evaluation"]["mean_of_sites"] > 0.8
    (guarantee,) = found["privacy"]["guarantees"]
    assert all(0.99 < site["epsilon"] <= 1 for site in guarantee["sites"].values())


def test_the_same_strategy_moves_half_the_way(own, capsys):
    """With one round, halfway between the start (zero) and what fedavg gives."""
    from safetensors.numpy import load_file

    given = ["--config-dir", str(own / "own"), "domain=wards", "model=linear", "training.rounds=1"]
    for strategy in ("fedavg", "halfway"):
        run = own / strategy
        assert call([*given, f"strategy={strategy}", f"run.dir={run}"], capsys)[0] == ExitCode.DONE
    whole, half = (load_file(own / s / "model.safetensors") for s in ("fedavg", "halfway"))
    assert whole.keys() == half.keys()
    for name in whole:
        assert abs(whole[name]).max() > 0
        assert half[name] == pytest.approx(whole[name] / 2, rel=1e-5, abs=1e-7)


def test_a_partition_from_outside(own, capsys):
    words = ["domain=digits", "partition=turns", "training.rounds=1", f"run.dir={own}/run"]
    code, said = call(["--config-dir", str(own / "own"), *words], capsys)
    assert (code, said) == (ExitCode.DONE, "")
    found = results(own / "run")
    assert found["domain"]["title"] == "Handwritten digits at 5 sites"
    assert list(found["test_records"].values()) == [360] * 5

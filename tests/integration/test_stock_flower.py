"""``flwr run .``: a simulation's experiment on stock Flower gives the same weights to the bit."""

import json

import pytest
from flower_processes import flower
from whole_run import call, results

from tacit.errors import ExitCode

EXPERIMENT = "model=linear engine=loop training.rounds=2 compare=false"


@pytest.fixture
def running(tmp_path):
    with flower(tmp_path) as found:
        yield found


def simulated(path, capsys, *more):
    """The same in process."""
    assert call([*EXPERIMENT.split(), f"run.dir={path}", *more], capsys)[0] == ExitCode.DONE
    return results(path)


@pytest.mark.slow
def test_two_supernodes_of_a_stock_superlink(running, tmp_path, capsys, cache):
    running.superlink()
    running.supernode("partition-id=0 num-partitions=2")
    running.supernode('site="university"')
    running.run(f"nodes=2 settings='{EXPERIMENT} run.dir={tmp_path}/run cache={cache}'")
    found = results(tmp_path / "run")
    # By name the first site is county; referral and screening have no node.
    left_out = [f"~domain.declared_sizes.{site}" for site in ("referral", "screening")]
    same = simulated(tmp_path / "same", capsys, *left_out)
    assert found["weights_sha256"] == same["weights_sha256"]
    for key in ("evaluation", "privacy", "rounds", "baselines"):
        assert found[key] == same[key], key
    assert (tmp_path / "run" / "report.html").exists()
    assert sorted(p.name for p in (tmp_path / "run-sites").glob("*.sqlite")) == [
        "county.sqlite",
        "university.sqlite",
    ]
    assert any("own ledger" in note for note in found["notes"])


@pytest.mark.slow
def test_flowers_own_simulation(running, tmp_path, capsys, cache):
    pytest.importorskip("ray", reason="Flower's simulation needs ray: make test EXTRAS=ray")
    running.superlink(
        "--simulation",
        connection="options.num-supernodes = 4\noptions.backend.client-resources.num-cpus = 1\n",
    )
    running.run(f"nodes=4 settings='{EXPERIMENT} run.dir={tmp_path}/run cache={cache}'")
    same = simulated(tmp_path / "same", capsys)
    assert results(tmp_path / "run")["weights_sha256"] == same["weights_sha256"]
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["replied"] == ["county", "referral", "screening", "university"]

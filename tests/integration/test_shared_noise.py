"""Noise in shares: a run as a person begins it, what it says of itself, and stopped half-way."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from whole_run import stopped_after

from commands.entry import run
from simulations.command import _main
from tacit.errors import ExitCode
from tacit.privacy.events import SkellamSteps
from tacit.privacy.ledger_view import read_ledger

WORDS = (
    "domain=hospitals",
    "model=linear",
    "privacy=shared_noise",
    "privacy.epsilon=0.5",
    "training.rounds=5",
    "training.learning_rate=0.5",
    "compare=false",
)


def simulated(path, *more):
    assert _main([*WORDS, *more, f"run.dir={path}"]) == ExitCode.DONE
    return json.loads((path / "results.json").read_text()), load_file(path / "model.safetensors")


def test_both_guarantees_are_said_and_both_engines_agree(tmp_path):
    results, weights = simulated(tmp_path / "run")
    _, other = simulated(tmp_path / "loop", "engine=loop")
    for name, value in weights.items():
        assert np.array_equal(other[name], value)

    together, alone = results["privacy"]["guarantees"]
    count = len(together["sites"])
    assert results["privacy"]["accountant"] == "rdp"
    assert {each["mechanism"] for each in (together, alone)} == {"skellam_in_shares"}
    assert (together["honest_sites"], alone["honest_sites"]) == (count - 1, 1)
    assert together["adversary"] == "server_and_colluders"
    assert alone["adversary"] == "server_and_other_sites"
    for site, spent in together["sites"].items():
        assert 0.45 < spent["epsilon"] <= 0.5
        own = alone["sites"][site]
        assert own["epsilon"] > spent["epsilon"]
        assert own["noise_multiplier"] * np.sqrt(count - 1) == pytest.approx(
            spent["noise_multiplier"]
        )
    page = (tmp_path / "run" / "report.html").read_text()
    opened = "What is opened of the sites' sums"
    assert opened in page or opened.replace("'", "&#39;") in page
    for words in (
        "theorem for Skellam noise",
        f"At least {count - 1} sites",
        "its own noise is enough",
    ):
        assert words in page

    site = next(iter(together["sites"]))
    with read_ledger(tmp_path / "loop" / "ledger" / f"{site}.sqlite") as ledger:
        spent = [json.loads(row.body) for row in ledger.rows()]
    charged = [json.loads(row["event"]) for row in spent if row["kind"] == "charged/1"]
    assert [event["kind"] for event in charged] == [SkellamSteps.kind] * 5


def test_stopped_and_gone_on_with(tmp_path):
    _, expected = simulated(tmp_path / "whole")
    stopped_after(2, [*WORDS, f"run.dir={tmp_path / 'cut'}"])
    assert _main([f"run.resume={tmp_path / 'cut'}"]) == ExitCode.DONE
    found = load_file(tmp_path / "cut" / "model.safetensors")
    for name, value in expected.items():
        assert np.array_equal(found[name], value)


def test_fewer_may_stay_and_are_counted_on(tmp_path):
    """With room for one site to be lost, each adds more."""
    results, _ = simulated(
        tmp_path / "run", "training.min_replies=3", "availability.dropout=0.1", "seed=1"
    )
    together, _ = results["privacy"]["guarantees"]
    # All but one: the coordinator chooses which of them are in a sum.
    assert together["honest_sites"] == 3
    assert max(each["epsilon"] for each in together["sites"].values()) <= 0.5


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("strategy=krum", "nothing but their noised sum"),
        ("training.local_steps=3", "one gradient step"),
        ("privacy.colluders=9", "a share to count on"),
        ("privacy.bits=8", "bits=8: must be 16 or 32"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, word, said, capsys):
    with pytest.raises(SystemExit) as caught:
        run(lambda: _main([*WORDS, word, f"run.dir={tmp_path / 'run'}"]))
    assert caught.value.code == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

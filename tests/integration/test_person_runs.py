"""Whole persons as the unit: a run as somebody begins it, and what it says of itself."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from commands.entry import run
from simulations.command import _main
from tacit.errors import ConfigurationError, ExitCode
from tacit.privacy.events import GaussianSteps, SkellamSteps, Unit
from tacit.privacy.ledger_view import read_ledger
from tacit.runs.audited import FILE, Outcome, StageName, read_audit

WORDS = ("domain=fleets", "privacy.unit=person", "compare=false")
FEW = (*WORDS, "~domain.vehicles", "+domain.vehicles={craft: 6, haul: 6, taxi: 6}")
SAMPLED = (
    *FEW,
    "training.rounds=3",
    "training.batch_size=3",
    "privacy.epsilon=2",
    "privacy.rows_per_person=5",
)


def simulated(path, *words):
    assert _main([*words, f"run.dir={path}"]) == ExitCode.DONE
    return json.loads((path / "results.json").read_text()), load_file(path / "model.safetensors")


def test_ledgers_and_report_say_persons_and_both_engines_agree(tmp_path):
    """Three of six vehicles in a step, with five of their twelve weeks."""
    results, weights = simulated(tmp_path / "run", *SAMPLED, "audit=in_run", "audit.count=100")
    _, other = simulated(tmp_path / "loop", *SAMPLED, "engine=loop")
    for name, value in weights.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-6)

    (guarantee,) = results["privacy"]["guarantees"]
    assert (guarantee["unit"], guarantee["relation"]) == ("person", "add_or_remove_one")
    assert guarantee["persons"] == {"rows": 5, "within": "mean"}
    assert {spent["sampling_rate"] for spent in guarantee["sites"].values()} == {3 / 6}
    largest = max(spent["epsilon"] for spent in guarantee["sites"].values())
    assert largest < guarantee["epsilon_changed"] < 3 * largest
    with read_ledger(tmp_path / "loop" / "ledger" / "taxi.sqlite") as ledger:
        assert ledger.unit is Unit.PERSON
        assert {event.unit for event in ledger.spent_events()} == {Unit.PERSON}
        assert all(isinstance(event, GaussianSteps) for event in ledger.spent_events())

    page = (tmp_path / "run" / "report.html").read_text()
    for words in (
        "One person (one vehicle, with all weeks that it reports to an operator)",
        "the mean of the gradients of its rows, of 5 of them at most",
        "A changed row",
        "a driver or an owner who has several vehicles",
    ):
        assert words.lower() in page.lower()
    assert "each hidden by itself only" not in page
    stages = {stage.name: stage for stage in read_audit(tmp_path / "run" / FILE).stages}
    assert stages[StageName.LEDGER].outcome is Outcome.NOT_CONTRADICTED
    assert stages[StageName.MECHANISM].outcome is Outcome.NOT_CONTRADICTED


def test_noise_in_shares_hides_persons_too(tmp_path):
    words = (*FEW, "privacy=shared_noise", "training.rounds=2", "engine=loop")
    results, _ = simulated(tmp_path / "run", *words)
    together, alone = results["privacy"]["guarantees"]
    for guarantee in (together, alone):
        assert guarantee["unit"] == "person"
        largest = max(spent["epsilon"] for spent in guarantee["sites"].values())
        assert guarantee["epsilon_changed"] > largest
    with read_ledger(tmp_path / "run" / "ledger" / "taxi.sqlite") as ledger:
        events = ledger.spent_events()
        assert {type(event) for event in events} == {SkellamSteps}
        assert {event.unit for event in events} == {Unit.PERSON}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("domain=hospitals",),
            "hospitals declares no persons (declared_persons; in a",
        ),
        (("domain.sites=vehicles",), "fleets declares no persons"),
        (("privacy.delta=0.18",), "larger than one over domain.declared_persons.care (6)"),
        (("privacy=shared_noise", "privacy.delta=0.18"), "domain.declared_persons.care (6)"),
        (("privacy=client_level",), "privacy.unit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(words, said, tmp_path, capsys):
    path = tmp_path / "run"
    with pytest.raises((ConfigurationError, SystemExit)) as caught:
        run(lambda: _main([*WORDS, *words, f"run.dir={path}"]))
    assert caught.value.code == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.slow
def test_baselines_count_rows_where_they_hide_nobody(tmp_path):
    rounds = [f"baselines.{each}.rounds=1" for each in ("alone", "federated", "pooled")]
    results, _ = simulated(tmp_path / "run", *SAMPLED, "compare=true", *rounds)
    assert {row["key"] for row in results["comparison"]} >= {"alone", "pooled_no_privacy"}

"""Which unit each attack is for, and what is said of a run with another."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from claimed_runs import claimed

from audits.audit import _clients, _model
from tacit.privacy.events import Unit
from tacit.runs.audited import Outcome


@pytest.mark.parametrize(
    ("stage", "unit", "why"),
    [(_model, Unit.CLIENT, "canaries here are records"), (_clients, Unit.RECORD, "a record")],
)
def test_a_stage_for_another_unit_is_not_tested_and_says_why(stage, unit, why):
    guarantee, _ = claimed("domain=digits", "training.rounds=1")
    privacy = SimpleNamespace(guarantees=(replace(guarantee, unit=unit),))
    results = SimpleNamespace(simulation=True, privacy=privacy)
    made = stage(SimpleNamespace(stranger=SimpleNamespace(results=results)))
    assert made.outcome is Outcome.NOT_TESTED
    assert why in made.why


@pytest.mark.parametrize("stage", [_model, _clients])
@pytest.mark.parametrize(
    ("results", "why"),
    [
        (SimpleNamespace(simulation=True, privacy=None), "claims no privacy"),
        (SimpleNamespace(simulation=False, privacy=None), "deployed run"),
    ],
)
def test_a_run_without_a_claim_or_deployed_is_not_attacked(stage, results, why):
    made = stage(SimpleNamespace(stranger=SimpleNamespace(results=results)))
    assert made.outcome is Outcome.NOT_TESTED
    assert why in made.why

"""Whole persons as the unit, of one's own files at each site, as processes over TLS."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from benchmarks.processes import Deployment
from simulations.command import _main
from tacit.errors import ExitCode
from tacit.privacy.events import GaussianSteps, Unit
from tacit.privacy.ledger_view import read_ledger

SITES = ("north", "south")
SCHEMA = """\
name: wards
files: wards/{site}.csv
target: {column: outcome, task: classes, classes: [well, ill]}
features:
  age: {number: [18, 110]}
  pulse: {number: [20, 250], typical: [50, 120]}
person: patient
sites: {declared_sizes: {north: 200, south: 200}, declared_persons: {north: 60, south: 60}}
"""

# test_person_runs is the quick one, and test_secure_deployed has processes.
pytestmark = pytest.mark.slow


@pytest.fixture
def wards(tmp_path):
    """A file for each site, with three visits of each patient."""
    (tmp_path / "wards").mkdir()
    rng = np.random.default_rng(0)
    for site in SITES:
        lines = ["patient,age,pulse,outcome"]
        for visit in range(240):
            age, pulse = rng.integers(18, 100), rng.integers(45, 150)
            outcome = "ill" if age + pulse + rng.normal(0, 20) > 150 else "well"
            lines.append(f"{site}-{visit // 3},{age},{pulse},{outcome}")
        (tmp_path / "wards" / f"{site}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "wards.yaml").write_text(SCHEMA)
    return tmp_path


def test_a_run_over_persons_ends_with_the_weights_of_its_simulation(wards):
    words = (
        "domain=table",
        f"domain.schema={wards}/wards.yaml",
        "privacy.unit=person",
        "privacy.rows_per_person=2",
        "privacy.epsilon=1",
        "privacy.delta=1e-4",
        "training.rounds=4",
        "training.batch_size=20",
        "engine=loop",
    )
    assert _main([*words, "compare=false", f"run.dir={wards}/simulated"]) == ExitCode.DONE
    simulated = json.loads((wards / "simulated" / "results.json").read_text())

    run = Deployment(
        wards,
        SITES,
        experiment=words,
        server_words=("compare=false",),
        test_data=True,
        noise_seed=0,
    )
    try:
        run.start_server()
        for site in SITES:
            run.start_site(site)
        assert run.end_of("server") == ExitCode.DONE, run.log("server")
        found = json.loads((run.run_dir / "results.json").read_text())
        assert found["weights_sha256"] == simulated["weights_sha256"]
        (guarantee,) = found["privacy"]["guarantees"]
        assert (guarantee["unit"], guarantee["persons"]["rows"]) == ("person", 2)
        for site in SITES:
            spent = guarantee["sites"][site]
            assert spent["sampling_rate"] == pytest.approx(20 / 60)
            assert 0.5 < spent["epsilon"] <= 1
            with read_ledger(run.ledger(site)) as ledger:
                assert ledger.unit is Unit.PERSON
                assert all(isinstance(event, GaussianSteps) for event in ledger.spent_events())
            with closing(sqlite3.connect(run.ledger(site))) as database:
                bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]
            assert [body["kind"].split("/")[0] for body in bodies].count("charged") == 4
    finally:
        run.stop()

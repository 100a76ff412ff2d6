"""A run as a simulation of the four heart hospitals leaves it; the figures are made up."""

import json
import math
from dataclasses import replace
from pathlib import Path

from tacit.privacy.events import Relation, Unit
from tacit.runs.encoding import encode
from tacit.runs.evaluation import Direction, Evaluation, evaluation
from tacit.runs.results import (
    Adversary,
    Calibration,
    CalibrationBin,
    Calibrations,
    Comparison,
    DomainSummary,
    Guarantee,
    Mechanism,
    ModelSummary,
    Privacy,
    ReportedAccountant,
    Results,
    Round,
    Sampling,
    SiteSpending,
    Timing,
    write,
)

SITES = ("cleveland", "hungarian", "switzerland", "va")
RECORDS = {"cleveland": 104, "hungarian": 89, "switzerland": 16, "va": 46}
ROUNDS = 20
CONFIG = "seed: 0\nrun:\n  dir: <outputs>\nprivacy:\n  kind: record\n  epsilon: 1.0\n"


def accuracies(*values: float | None, pooled: float | None = 0.78) -> Evaluation:
    return evaluation(
        "accuracy", Direction.MAXIMIZE, dict(zip(SITES, values, strict=True)), pooled=pooled
    )


DOMAIN = DomainSummary(
    name="heart_disease",
    title="Heart disease at four hospitals",
    description=(
        "Coronary disease from ten examinations of patients in Cleveland, Budapest, Zurich and "
        "Basel, and Long Beach; FLamby's rows and split."
    ),
    unit_protected="one row, which is one patient's examination",
    not_protected=(
        "a patient who has rows at several hospitals: their guarantees compose",
        "the number of rows: the declared sizes are public",
    ),
    public_pool=None,
    synthetic=False,
)

GUARANTEE = Guarantee(
    unit=Unit.RECORD,
    relation=Relation.ADD_OR_REMOVE_ONE,
    delta=1e-4,
    adversary=Adversary.SERVER_AND_OTHER_SITES,
    honest_sites=1,
    mechanism=Mechanism.GAUSSIAN_AT_SITE,
    sites={
        "cleveland": SiteSpending(0.9991, 1.0, 20, 1.0, 16.93, 1.0),
        "hungarian": SiteSpending(0.9985, 1.0, 20, 1.0, 16.93, 1.0),
        "switzerland": SiteSpending(0.9478, 1.0, 20, 0.5, 9.31, 1.0),
        "va": SiteSpending(0.9973, 1.0, 20, 0.75, 13.2, 1.0),
    },
)

PRIVACY = Privacy(
    ReportedAccountant.PLD, Sampling.POISSON, simulated_noise=True, guarantees=(GUARANTEE,)
)

RESULTS = Results(
    version="0.1.0",
    experiment="heart_disease",
    seed=0,
    rounds=ROUNDS,
    planned_rounds=ROUNDS,
    weights_sha256="3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea",
    simulation=True,
    domain=DOMAIN,
    model=ModelSummary("linear", "all", 28, 28, 28, None),
    strategy="FedAvg",
    evaluation=accuracies(0.8269, 0.8202, 0.9375, 0.6739),
    baselines={"majority_class": accuracies(0.5385, 0.6404, 0.9375, 0.7609, pooled=0.6392)},
    comparison=(
        Comparison(
            "alone",
            "Each hospital alone, same ε",
            accuracies(0.7885, 0.7528, 0.875, 0.6304, pooled=0.7529),
            1.0,
            "same plan, no federation",
        ),
        Comparison("federated", "Federated", accuracies(0.8365, 0.8315, 0.9375, 0.7174), None, ""),
        Comparison("pooled", "Pooled", accuracies(0.8462, 0.8202, 0.9375, 0.7391), None, ""),
    ),
    calibration=Calibrations(
        {
            "all": Calibration(
                (
                    CalibrationBin(0.55, 0.58, 31),
                    CalibrationBin(0.65, 0.69, 48),
                    CalibrationBin(0.75, 0.73, 62),
                    CalibrationBin(0.85, 0.88, 71),
                    CalibrationBin(0.94, 0.93, 43),
                ),
                0.0263,
            ),
            "cleveland": Calibration((CalibrationBin(0.8, 0.8269, 104),), 0.0269),
            "hungarian": Calibration((CalibrationBin(0.8, 0.8202, 89),), 0.0202),
            "switzerland": Calibration((CalibrationBin(0.8, 0.9375, 16),), 0.1375),
            "va": Calibration((CalibrationBin(0.7, 0.6739, 46),), 0.0261),
        }
    ),
    test_records=RECORDS,
    privacy=PRIVACY,
    timing=Timing(9.8, 0.42, 0.41, 9.5),
    notes=("va lost round 7: not available.",),
)


def history(rounds: int = ROUNDS, results: Results = RESULTS) -> tuple[Round, ...]:
    """Curves that rise like 1 - e^-r towards the results, with a little regular unrest."""
    lines = []
    for number in range(rounds + 1):
        grown = 1 - math.exp(-number / 4)
        values = {}
        for place, site in enumerate(results.evaluation.sites):
            final = results.evaluation.value(site)
            unrest = 0.03 * math.sin(2.1 * number + place) * (number < rounds)
            values[site] = None if final is None else 0.5 + (final - 0.5) * grown + unrest
        spent = None
        if results.privacy is not None:
            spent = {
                site: spending.epsilon * math.sqrt(number / rounds) if number else 0.0
                for site, spending in results.privacy.guarantees[0].sites.items()
            }
        failed = {"va": "not available"} if number == 7 else {}
        lines.append(
            Round(
                round=number,
                seconds=0.4,
                cpu_seconds=0.4,
                replied=tuple(site for site in values if site not in failed),
                failed=failed,
                loss=0.693 - 0.2 * grown,
                loss_on="held_out (simulation only)",
                evaluation=evaluation("accuracy", Direction.MAXIMIZE, values, pooled=None),
                epsilon=spent,
            )
        )
    return tuple(lines)


def leave_run(path: Path, results: Results = RESULTS) -> Path:
    """Write the three files of which a report is made."""
    path.mkdir(exist_ok=True)
    write(results, path / "results.json")
    lines = [json.dumps(encode(line)) for line in history(results=results)]
    (path / "history.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return path


def without_privacy(results: Results = RESULTS) -> Results:
    return replace(results, privacy=None)


def with_spending(site: str, spending: SiteSpending) -> Results:
    sites = {**GUARANTEE.sites, site: spending}
    return replace(RESULTS, privacy=replace(PRIVACY, guarantees=(replace(GUARANTEE, sites=sites),)))

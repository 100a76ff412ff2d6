"""A run of the four heart hospitals as a deployment leaves it; the figures are made up."""

from dataclasses import replace

from example_run import GUARANTEE, PRIVACY, RESULTS, SITES, accuracies

from tacit.runs.evaluation import Evaluation
from tacit.runs.results import Results, Round, SiteSpending

WHY = "a deployed site releases no measurement of its own rows"
ROUNDS = 8
SPENDING = {
    "cleveland": SiteSpending(0.9991, 1.0, 8, 1.0, 10.7, 1.0),
    "hungarian": SiteSpending(0.4993, 0.5, 8, 1.0, 20.1, 1.0),
    "switzerland": SiteSpending(0.2511, 0.8, 8, 0.5, 25.0, 1.0),
    "va": SiteSpending(0.9973, 1.0, 8, 0.75, 8.4, 1.0),
}
UNMEASURED = replace(
    accuracies(None, None, None, None, pooled=None), reasons=dict.fromkeys(SITES, WHY)
)


def deployed(*, test_data: bool = False, evaluation: Evaluation = UNMEASURED) -> Results:
    guarantee = replace(GUARANTEE, sites=SPENDING)
    return replace(
        RESULTS,
        rounds=ROUNDS,
        planned_rounds=ROUNDS,
        simulation=False,
        evaluation=evaluation,
        baselines={},
        comparison=(),
        calibration=None,
        test_records={},
        privacy=replace(PRIVACY, simulated_noise=test_data, guarantees=(guarantee,)),
        notes=("ε follows from what was asked",),
    )


def history() -> tuple[Round, ...]:
    """Switzerland joined after two rounds; va lost three rounds, for two reasons."""
    lines = []
    for number in range(1, ROUNDS + 1):
        failed = {4: {"va": "no_reply"}, 5: {"va": "no_reply"}, 7: {"va": "not_available"}}
        late = {"switzerland"} if number <= 2 else set()
        missing = failed.get(number, {})
        lines.append(
            Round(
                round=number,
                seconds=0.3,
                cpu_seconds=0.1,
                replied=tuple(s for s in SITES if s not in late and s not in missing),
                failed=missing,
                epsilon={
                    site: spending.epsilon * (number / ROUNDS) ** 0.5
                    for site, spending in SPENDING.items()
                    if site not in late
                },
            )
        )
    return tuple(lines)

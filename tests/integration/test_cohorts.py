"""Runs in which not every site takes part in every round."""

import json
from collections import Counter

import pytest
from whole_run import Crash, results, rows_together

import simulations.simulate
from tacit.errors import ExitCode

DRAWN = (
    "model=linear",
    "domain=digits",
    "domain.partition.sites=60",
    "training.cohort=8",
    "training.rounds=10",
)


@pytest.fixture
def run(run):
    return lambda path, *more: run(path, *DRAWN, *more)


def history(path):
    return [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]


def charged(path):
    """How often each site was charged."""
    rows = [row for row in rows_together(path) if row["kind"] == "charged-together/1"]
    return Counter(site for row in rows for site in row["sites"])


@pytest.mark.parametrize("engine", ["stacked", "loop"])
def test_a_round_is_of_its_cohort_and_the_budget_of_the_rounds_a_site_takes_part_in(
    run, tmp_path, engine
):
    path = tmp_path / "run"
    assert run(path, f"engine={engine}") == (ExitCode.DONE, "")
    cohorts = [line["replied"] for line in history(path)[1:]]
    assert [len(cohort) for cohort in cohorts] == [8] * 10
    taken = Counter(site for cohort in cohorts for site in cohort)
    # 60 sites make 7 cohorts of 8: in 10 rounds a site takes part twice at most.
    assert set(taken.values()) == {1, 2}
    (guarantee,) = results(path)["privacy"]["guarantees"]
    assert guarantee["sites"].keys() == taken.keys()
    for site, spending in guarantee["sites"].items():
        assert spending["steps"] == taken[site]
        assert spending["epsilon"] <= spending["epsilon_budget"] == 8.0
    twice = [s["epsilon"] for n, s in guarantee["sites"].items() if taken[n] == 2]
    assert min(twice) > 7.9
    assert max(s["epsilon"] for n, s in guarantee["sites"].items() if taken[n] == 1) < min(twice)
    for line in history(path)[1:]:
        assert line["epsilon"].keys() == set(line["replied"])


def test_the_same_cohorts_after_a_crash(run, resume, tmp_path, monkeypatch):
    assert run(tmp_path / "whole")[0] == ExitCode.DONE
    path = tmp_path / "run"
    honest = simulations.simulate.save_checkpoint

    def cut(folder, name, state):
        if state.round == 6:
            raise Crash
        honest(folder, name, state)

    with monkeypatch.context() as patched:
        patched.setattr(simulations.simulate, "save_checkpoint", cut)
        with pytest.raises(Crash):
            run(path)
    assert resume(path)[0] == ExitCode.DONE
    for key in ("weights_sha256", "privacy", "evaluation"):
        assert results(path)[key] == results(tmp_path / "whole")[key]
    assert [line["replied"] for line in history(path)] == [
        line["replied"] for line in history(tmp_path / "whole")
    ]


def test_sites_that_are_away_are_not_charged_and_late_ones_are(run, tmp_path):
    path = tmp_path / "run"
    words = [
        "training.min_replies=1",
        "availability.dropout=0.25",
        "availability.delay=exponential",
    ]
    code, error = run(path, *words, "availability.deadline=1.0")
    assert (code, error) == (ExitCode.DONE, "")
    lines = history(path)[1:]
    replied = sum(len(line["replied"]) for line in lines)
    lost = [site for line in lines for site in line["failed"]]
    assert replied + len(lost) == 80
    assert {why for line in lines for why in line["failed"].values()} == {"no_reply"}
    paid = sum(charged(path).values())
    assert replied < paid < 80
    spent = results(path)["privacy"]["guarantees"][0]["sites"]
    assert {site: each["steps"] for site, each in spent.items()} == charged(path)
    assert "replies of 80 are missing" in " ".join(results(path)["notes"]) or len(lost) <= 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["training.cohort=61"], "training.cohort=61: there are only 60 sites"),
        (["training.cohort=0"], "training.cohort=0"),
        (["training.min_replies=9"], "a round asks only 8"),
        (["availability.dropout=0.5"], "training.min_replies=all"),
        (["availability.deadline=1.0", "training.min_replies=1"], "go together"),
        (["strategy=krum", "training.cohort=2"], "needs at least"),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, words, said):
    code, error = run(tmp_path / "run", *words)
    assert code == ExitCode.BAD_INPUT
    assert said in error
    assert len(error.splitlines()) == 1

"""What docs/results.md says of accuracy: which rows, which seeds, and the sentences below them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks import accuracy
from benchmarks.accuracy import MEAN, RUN, Interval, gathered, interval, rows_of, runs
from tacit.errors import ConfigurationError
from tacit.runs.evaluation import Direction, evaluation
from tacit.runs.results import Comparison

ALONE = "Each site alone, under the same ε"


def at(north, south):
    """A model's accuracy at two sites."""
    return evaluation("accuracy", Direction.MAXIMIZE, {"north": north, "south": south}, pooled=None)


def run_of(own=(0.8, 0.6), alone=(0.7, 0.6), singles=((0.7, 0.5), (0.4, 0.6)), privacy=None):
    """What the benchmark takes of the results of one noise seed."""
    return SimpleNamespace(
        evaluation=at(*own),
        baselines={"majority_class": at(0.5, 0.55)},
        comparison=(
            Comparison("alone", ALONE, at(*alone), 1.0, ""),
            Comparison("best_single", "Best single site", at(*singles[0]), 1.0, ""),
            Comparison("pooled_no_privacy", "Pooled", at(0.9, 0.7), None, ""),
        ),
        single_models={"north": at(*singles[0]), "south": at(*singles[1])},
        privacy=privacy,
    )


@pytest.fixture
def printed(monkeypatch, capsys):
    """Call the benchmark for the given runs; gives its lines."""

    def call(*found):
        monkeypatch.setattr(accuracy, "runs", lambda words, seeds, missing: iter(found[:seeds]))
        monkeypatch.setattr("sys.argv", ["accuracy", "made_up", "--seeds", str(len(found))])
        monkeypatch.setenv("COLUMNS", "120")
        accuracy.main()
        return capsys.readouterr().out.splitlines()

    return call


def test_the_interval_is_students():
    values = np.random.default_rng(0).normal(0.8, 0.02, size=20).tolist()
    found = interval(values)
    low, high = stats.t.interval(0.95, 19, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)


def test_one_seed_has_no_interval():
    assert str(interval([0.75])) == "0.750"


def test_a_figure_that_no_run_has_is_no_number():
    assert str(interval([])) == "nan"


def test_an_interval_is_shown_where_it_can_be_seen():
    assert str(Interval(0.75, 0.0004)) == "0.750"
    assert str(Interval(0.75, 0.0006)) == "0.750 ± 0.001"


def test_rows_are_the_run_and_all_beside_it_but_the_choice_among_the_single_models():
    found = run_of()
    assert rows_of(found) == {
        RUN: at(0.8, 0.6),
        "majority class": at(0.5, 0.55),
        ALONE: at(0.7, 0.6),
        "Pooled": at(0.9, 0.7),
        "north's model": at(0.7, 0.5),
        "south's model": at(0.4, 0.6),
    }
    assert next(iter(rows_of(found))) == RUN


def test_each_row_is_gathered_over_seeds_at_every_site_and_for_the_mean():
    found = [run_of(own=(0.8, 0.6)), run_of(own=(0.9, 0.7)), run_of(own=(0.7, 0.65))]
    table = gathered(found)
    assert table.keys() == rows_of(found[0]).keys()
    assert table[RUN].keys() == {"north", "south", MEAN}
    for column, values in {
        "north": [0.8, 0.9, 0.7],
        "south": [0.6, 0.7, 0.65],
        MEAN: [0.7, 0.8, 0.675],
    }.items():
        assert table[RUN][column].mean == pytest.approx(np.mean(values))
        assert table[RUN][column].half == pytest.approx(interval(values).half)
        assert table[RUN][column].half > 0
    assert table["majority class"]["south"] == Interval(0.55, 0.0)


def test_a_site_without_a_figure_counts_only_where_it_has_one():
    table = gathered([run_of(own=(0.8, 0.6)), run_of(own=(0.9, None))])
    assert table[RUN]["south"] == interval([0.6])
    # The mean of sites is taken in each run: 0.7, and 0.9 of the one site left.
    assert table[RUN][MEAN].mean == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("own", "alone", "sites"),
    [
        ((0.8, 0.6), (0.7, 0.6), "no site"),
        ((0.8, 0.6), (0.7, 0.65), "south"),
        ((0.8, 0.6), (0.9, 0.45), "north"),
        ((0.8, 0.6), (0.81, 0.61), f"north, south, {MEAN}"),
    ],
)
def test_where_the_federation_loses_is_said(printed, own, alone, sites):
    assert f"federated is worse than a site's own model at: {sites}" in printed(run_of(own, alone))


def test_it_loses_by_the_mean_over_seeds(printed):
    lines = printed(run_of((0.8, 0.6), (0.7, 0.61)), run_of((0.6, 0.64), (0.69, 0.62)))
    assert "federated is worse than a site's own model at: no site" in lines


@pytest.mark.parametrize(
    ("singles", "best"),
    [
        (((0.7, 0.5), (0.4, 0.6)), "north's model, 0.600"),
        (((0.7, 0.5), (0.6, 0.64)), "south's model, 0.620"),
    ],
)
def test_the_best_single_model_is_that_with_the_highest_mean_of_sites(printed, singles, best):
    assert f"best single site at all sites: {best}" in printed(run_of(singles=singles))


def test_the_best_single_model_is_chosen_by_its_mean_over_seeds(printed):
    found = [run_of(singles=((0.9, 0.9), (0.7, 0.7))), run_of(singles=((0.1, 0.1), (0.6, 0.6)))]
    (line,) = [line for line in printed(*found) if line.startswith("best single site")]
    assert line.startswith("best single site at all sites: south's model, 0.650 ± ")


def test_nothing_is_said_of_models_that_were_not_trained(printed):
    found = run_of()
    found.comparison, found.single_models = (), {}
    said = "\n".join(printed(found))
    assert RUN in said
    assert "federated is worse than" not in said
    assert "best single site" not in said


def test_the_largest_epsilon_is_told(printed):
    """Of the first guarantee, which is the headline."""
    sites = {"north": SimpleNamespace(epsilon=0.9), "south": SimpleNamespace(epsilon=0.99994)}
    alone = {"north": SimpleNamespace(epsilon=3.0)}
    guarantees = [SimpleNamespace(delta=1e-4, sites=each) for each in (sites, alone)]
    lines = printed(run_of(privacy=SimpleNamespace(guarantees=guarantees)))
    assert "ε 0.9999 at δ 0.0001, per site" in lines


def test_the_table_and_the_last_line_give_the_same_figures(printed):
    lines = printed(run_of((0.8, 0.6)), run_of((0.7, 0.6)))
    first = [line.split("│")[2].split()[0] for line in lines if line.startswith("│ ")]
    assert [cell for cell in first if cell.startswith("0.")] == ["0.750", "0.600", "0.675"]
    figures = json.loads(lines[-1])["figures"]
    assert figures[f"{RUN}/north"] == 0.75
    assert figures[f"{RUN}/{MEAN}"] == 0.675
    assert figures["Pooled/south"] == 0.7
    # Student's 0.975 quantile with one degree of freedom is tan(0.475 π) = 12.706.
    half = np.tan(0.475 * np.pi) * 0.025
    assert figures[f"{RUN}/half width of the mean"] == pytest.approx(half)


SHORT = ["domain=hospitals", "privacy=shared_noise", "training.rounds=2", "training.min_replies=3"]


def test_a_site_that_is_missing_is_in_no_round_and_measured_as_ever():
    (found,) = runs(SHORT, 1, "county")
    away = [note for note in found.notes if "did not take part" in note]
    assert [note.partition(" did not")[0] for note in away] == [
        "round 1: county",
        "round 2: county",
    ]
    assert "county" in found.evaluation.sites
    (whole,) = runs(SHORT, 1)
    assert not any("did not take part" in note for note in whole.notes)
    assert found.weights_sha256 != whole.weights_sha256


def test_whoever_is_missing_must_be_one_of_the_sites():
    with pytest.raises(ConfigurationError, match=r"--missing va: is none of .* county, referral"):
        list(runs(SHORT, 1, "va"))


def test_the_last_line_says_who_was_missing(monkeypatch, capsys):
    told = []
    monkeypatch.setattr(accuracy, "runs", lambda *given: told.append(given) or iter([run_of()]))
    words = ["accuracy", "made_up", "--seeds", "1", "--missing", "north", "a=b"]
    monkeypatch.setattr("sys.argv", words)
    accuracy.main()
    assert told == [(["domain=made_up", "a=b"], 1, "north")]
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == "accuracy domain=made_up a=b --missing north"

import json
from pathlib import Path

import pytest

from benchmarks import many_sites
from benchmarks.many_sites import Measured, cost_per_site, figures_of, measure, ratios_of
from benchmarks.many_sites_plot import draw
from tacit.errors import TacitError


def line(number, seconds, sites):
    replied = [f"user-{n}" for n in range(sites)]
    return json.dumps(
        {"round": number, "cpu_seconds": seconds, "seconds": seconds / 2, "replied": replied}
    )


def history(folder, *lines):
    path = folder / "history.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def measured(engine, cohort, milliseconds):
    return Measured(engine, cohort, milliseconds, milliseconds, 2**20 * cohort, 9.0, 8.0)


FOUND = [measured("stacked", 10, 2.0), measured("stacked", 100, 1.6), measured("loop", 10, 40.0)]


def test_the_cost_is_the_median_of_the_rounds_after_the_first(tmp_path):
    lines = [line(0, 0.0, 0), *(line(n + 1, s, 4) for n, s in enumerate((9, 0.2, 8, 0.1)))]
    assert cost_per_site(history(tmp_path, *lines), 4) == pytest.approx((50, 25))


def test_a_site_that_took_no_part_and_too_few_rounds_are_named(tmp_path):
    short = history(tmp_path, line(0, 0, 0), line(1, 1, 4), line(2, 1, 3))
    with pytest.raises(TacitError, match="round 2: 3 of 4 sites"):
        cost_per_site(short, 4)
    with pytest.raises(TacitError, match="no round after the first"):
        cost_per_site(history(tmp_path, line(0, 0, 0), line(1, 1, 4)), 4)


def test_a_small_cohort_has_many_rounds_and_a_large_one_a_few():
    counts = [many_sites.rounds_for(cohort) for cohort in many_sites.COHORTS]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= 3
    assert many_sites.COHORTS[0] == 10
    assert many_sites.COHORTS[-1] == 10_000


def test_ratios_are_those_of_the_stacked_engine():
    assert ratios_of(FOUND) == {
        "dearest_over_cheapest_cohort": 1.25,
        "largest_over_smallest_cohort": 0.8,
    }
    assert ratios_of([]) == {}
    assert figures_of(FOUND)["stacked_100_peak_mebibytes"] == 100
    assert figures_of(FOUND)["loop_10_cpu_milliseconds_per_site"] == 40.0


def test_the_command_prints_one_json_line_and_draws(monkeypatch, capsys, tmp_path):
    asked = []

    def fake(sites, cohort, rounds, engine="stacked", device="cpu"):
        asked.append((engine, sites, cohort, rounds))
        return measured(engine, cohort, 1.5)

    target = tmp_path / "made" / "plot.png"
    monkeypatch.setattr(many_sites, "measure", fake)
    words = ["many_sites", "--cohorts", "10", "100", "--plot", str(target)]
    monkeypatch.setattr("sys.argv", words)
    many_sites.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["benchmark"] == "many_sites"
    assert found["ratios"]["largest_over_smallest_cohort"] == 1.0
    assert [each[:3] for each in asked] == [
        ("stacked", 10, 10),
        ("stacked", 100, 100),
        ("loop", 10, 10),
    ]
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_hundred_thousand_sites_are_held_against_what_they_may_take(monkeypatch, capsys):
    found = Measured("stacked", 1000, 1.5, 1.5, 10**9, 60.0, 50.0)
    monkeypatch.setattr(many_sites, "measure", lambda *asked, **more: found)
    monkeypatch.setattr("sys.argv", ["many_sites", "--hundred-thousand"])
    many_sites.main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ratios"] == {"minutes_over_most": 0.5, "gigabytes_over_most": 0.5}


def test_the_plot_is_the_same_for_the_same_figures(tmp_path):
    draw(FOUND, tmp_path / "a.png")
    draw(FOUND, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw(FOUND[:1], tmp_path / "one.png")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["stacked", "loop"])
def test_a_process_is_measured(engine):
    found = measure(4, 4, 3, engine)
    assert found.engine == engine
    assert 0 < found.milliseconds < 10_000
    assert found.cpu_seconds > 0
    # More than an interpreter and less than what no machine has.
    assert 50 * 2**20 < found.peak_bytes < 2**36


def test_a_run_that_fails_is_said():
    with pytest.raises(TacitError, match="failed"):
        measure(4, 4, 3, "bogus")


def test_the_work_is_that_of_the_cohort_benchmark():
    assert (Path(many_sites.ROOT) / "benchmarks" / "conf" / "model" / "cohort.yaml").is_file()
    assert "privacy=record" in many_sites.WORK

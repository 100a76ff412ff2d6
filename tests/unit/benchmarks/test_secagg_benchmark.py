"""The benchmark of secure sums, on sums that take no time."""

import json

import pytest

from benchmarks import secagg
from tacit.secagg.context import Modulus


def test_the_last_line_is_one_json_object_with_every_figure(monkeypatch, capsys):
    words = ["secagg", "--repeats", "1", "--length", "500", "--many", "6"]
    monkeypatch.setattr("sys.argv", words)
    secagg.main()
    said = capsys.readouterr().out.splitlines()
    found = json.loads(said[-1])
    assert list(found) == ["benchmark", "machine", "figures", "ratios"]
    assert found["benchmark"] == "secagg"
    figures, ratios = found["figures"], found["ratios"]
    assert {"cpu_seconds_10x1m", "cpu_seconds_100x1m"} < set(figures)
    assert ratios["flower_over_ours"] == pytest.approx(
        figures["flower_cpu_seconds_10x1m"] / figures["cpu_seconds_10x1m"]
    )
    assert all(value > 0 for value in {**figures, **ratios}.values())
    assert all(any(name in line for line in said[:-1]) for name in {**figures, **ratios})


def test_rounds_of_many_sites_are_medians_too(monkeypatch, capsys):
    """One slow round among three moves no figure."""
    taken = iter([8.0, 7.0, 30.0, 31.0, 9.0, 6.0])

    def made_up(sites, length, modulus, dropped=0):
        return secagg.Taken(next(taken) if sites == 6 else 1.0, 1)

    monkeypatch.setattr(secagg, "secure_round", made_up)
    words = ["secagg", "--repeats", "1", "--length", "500", "--many", "6"]
    monkeypatch.setattr("sys.argv", words)
    secagg.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["cpu_seconds_100x1m"] == 9.0
    assert figures["cpu_seconds_100x1m_5_dropped"] == 7.0


def test_a_wrong_sum_is_not_timed(monkeypatch):
    monkeypatch.setattr("tacit.secagg.unmasking.apply", lambda masks, vector: None)
    with pytest.raises(RuntimeError, match="the sum is wrong"):
        secagg.secure_round(4, 10, Modulus.BITS_32)

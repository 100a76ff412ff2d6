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


def test_a_wrong_sum_is_not_timed(monkeypatch):
    monkeypatch.setattr("tacit.secagg.unmasking.apply", lambda masks, vector: None)
    with pytest.raises(RuntimeError, match="the sum is wrong"):
        secagg.secure_round(4, 10, Modulus.BITS_32)

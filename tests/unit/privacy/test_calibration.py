"""σ for a budget: never too little, hardly too much, and no cache file can change that."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import ConfigurationError
from tacit.privacy import calibration
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.events import GaussianSteps

QUESTION = (2.0, 1e-5, 0.1, 50)


def cost(sigma: float, delta: float, rate: float, steps: int, *accountant: Accountant) -> float:
    return epsilon([GaussianSteps(sigma, rate, steps, 1.0)], delta, *accountant)


@settings(max_examples=8, deadline=None)
@given(
    target=st.floats(0.1, 12),
    delta=st.sampled_from([1e-4, 1e-5, 1e-7]),
    rate=st.sampled_from([0.02, 0.3, 1.0]),
    steps=st.integers(1, 300),
)
def test_enough_noise_and_no_more(target: float, delta: float, rate: float, steps: int) -> None:
    sigma = noise_multiplier(target, delta, rate, steps)
    assert cost(sigma, delta, rate, steps) <= target
    # 1e-4 for five digits, 2e-5 for the root, twice that for the next of five digits
    assert cost(sigma * (1 - 3e-4), delta, rate, steps) > target
    assert float(f"{sigma:.5g}") == sigma


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        # dp_accounting 0.6 calibrate_dp_mechanism with its own PLD accountant and grid
        ((2, 1e-5, 0.01, 1000), 0.95910),
        # Balle and Wang's Gaussian: σ = 10 over 100 full-batch steps costs 4.377178
        ((4.377178, 1e-5, 1.0, 100), 10.0),
    ],
)
def test_known_noise(question: tuple[float, float, float, int], expected: float) -> None:
    assert noise_multiplier(*question) == pytest.approx(expected, rel=2e-4)


def test_a_budget_between_rdp_and_pld_of_hopeless_noise() -> None:
    """PLD jumps from 61 to RDP's 100 here; the answer stays on the safe side of the jump."""
    question = 90, 1e-5, 0.1, 100
    assert cost(noise_multiplier(*question), *question[1:]) <= 90


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": 0.0}, "privacy.epsilon=0.0"),
        ({"epsilon": -1.0}, "privacy.epsilon=-1.0"),
        ({"epsilon": math.inf}, "privacy.epsilon=inf"),
        ({"epsilon": math.nan}, "privacy.epsilon=nan"),
        ({"delta": 0.0}, "privacy.delta=0.0"),
        ({"delta": 1.0}, "privacy.delta=1.0"),
        ({"delta": math.nan}, "privacy.delta=nan"),
        # 50 steps at q = 0.001 use a record with probability 0.0488 at all
        ({"delta": 0.05, "sampling_rate": 0.001}, r"privacy.delta=0.05 is not below 0\.0488"),
    ],
)
def test_budgets_out_of_range(change: dict[str, float], words: str) -> None:
    question = {"epsilon": 1.0, "delta": 1e-5, "sampling_rate": 0.1, "steps": 50}
    with pytest.raises(ConfigurationError, match=words):
        noise_multiplier(**(question | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "steps", "words"),
    [(0.0, 5, "sampling_rate=0.0"), (1.5, 5, "sampling_rate=1.5"), (0.1, 0, "steps=0")],
)
def test_plans_out_of_range(rate: float, steps: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        noise_multiplier(1, 1e-5, rate, steps)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Each search for an answer, as it is made."""
    made: list[tuple[Any, ...]] = []
    find = calibration._find

    def counting(*question: Any) -> float:
        made.append(question)
        return find(*question)

    monkeypatch.setattr(calibration, "_find", counting)
    return made


def test_an_answer_is_kept_and_used_again(tmp_path: Path, searches: list[Any]) -> None:
    first = noise_multiplier(*QUESTION, cache=tmp_path / "new" / "folder")
    again = noise_multiplier(*QUESTION, cache=tmp_path / "new" / "folder")
    assert first == again == noise_multiplier(*QUESTION)
    assert len(searches) == 2  # the first, and the one without a cache
    (file,) = (tmp_path / "new" / "folder").iterdir()  # no draft is left behind
    assert json.loads(file.read_text())["question"]["epsilon"] == QUESTION[0]


def test_another_question_or_method_is_searched_anew(
    tmp_path: Path, searches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_multiplier(*QUESTION, cache=tmp_path)
    noise_multiplier(2.5, *QUESTION[1:], cache=tmp_path)
    monkeypatch.setattr(calibration, "METHOD", "pld/next")
    noise_multiplier(*QUESTION, cache=tmp_path)
    monkeypatch.setattr(calibration, "version", lambda package: "99")
    noise_multiplier(*QUESTION, cache=tmp_path)
    assert len(searches) == len(list(tmp_path.iterdir())) == 4


def kept(sigma: object, **changed: object) -> Any:
    def damage(text: str) -> str:
        answer = json.loads(text)
        answer["question"] |= changed
        return json.dumps(answer | {"noise_multiplier": sigma})

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2]",
        lambda text: "null",
        lambda text: '{"noise_multiplier": 5.0}',
        lambda text: "\ud800",
        kept("much"),
        kept(None),
        kept([1.0]),
        kept(math.nan),
        kept(math.inf),
        kept(-3.0),
        kept(0.0),
        kept(1.0),  # far too little noise
        kept(1.8),  # a little too little
        kept(2.0),  # too much spoils a run for nothing
        kept(1e300),
        kept(1.9, epsilon=9.0),
    ],
)
def test_a_damaged_answer_is_searched_anew(
    damage: Any, tmp_path: Path, searches: list[Any]
) -> None:
    right = noise_multiplier(*QUESTION, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_text()).encode(errors="surrogatepass"))
    assert noise_multiplier(*QUESTION, cache=tmp_path) == right
    assert len(searches) == 2
    assert noise_multiplier(*QUESTION, cache=tmp_path) == right
    assert len(searches) == 2  # and the file is whole again


def test_a_weaker_answer_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of what is read, an edited file would exceed the budget."""
    right = noise_multiplier(*QUESTION, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(kept(right / 2)(file.read_text()))
    monkeypatch.setattr(calibration, "_cost", lambda *plan: QUESTION[0])
    weak = noise_multiplier(*QUESTION, cache=tmp_path)
    assert cost(weak, *QUESTION[1:]) > QUESTION[0]


@pytest.mark.parametrize(
    ("budget", "delta", "rate", "steps"),
    [(1e-3, 1e-9, 16 / 70, 10), (1e-4, 1e-9, 0.01, 100), (0.02, 1e-6, 0.001, 10_000)],
)
def test_a_budget_below_what_rdp_can_say_is_calibrated_all_the_same(budget, delta, rate, steps):
    sigma = noise_multiplier(budget, delta, rate, steps)
    assert epsilon([GaussianSteps(sigma, rate, steps, 1.0)], delta) <= budget
    assert epsilon([GaussianSteps(0.98 * sigma, rate, steps, 1.0)], delta) > budget
    # Sampling never costs more than taking part in every step.
    assert sigma <= noise_multiplier(budget, delta, 1.0, steps)


def test_a_budget_below_floating_point_is_refused():
    with pytest.raises(ConfigurationError, match=r"epsilon=1e-06 .* below what can be computed"):
        noise_multiplier(1e-6, 1e-12, 0.01, 1000)

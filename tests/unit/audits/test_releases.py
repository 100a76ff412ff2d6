"""What a reply may hold: each kind of stranger in it is named."""

from dataclasses import replace

import pytest

from audits.releases import _flaws
from audits.repeat import Letter
from tacit.privacy.policy import Reason

SHAPES = {"head.weight": (2, 8), "head.bias": (2,)}
RECEIPT = {("ledger", "count"): 7, ("ledger", "head"): "a" * 64}
ARRAYS = {("arrays", name): ("float32", shape) for name, shape in SHAPES.items()}
TRAINED = Letter("county", "train", None, ARRAYS, RECEIPT, ())
LIMITS = {
    ("site", key): 1
    for key in ("name", "epsilon", "delta", "least-noise-multiplier", "most-rounds", "predictable")
}


def flaws(letter):
    return list(_flaws(letter, SHAPES))


@pytest.mark.parametrize(
    "letter",
    [
        TRAINED,
        replace(TRAINED, arrays={("arrays", "sum"): ("uint8", (900,))}),
        replace(TRAINED, arrays={("arrays", "sum"): ("uint32", (18,))}),
        Letter("county", "query.enrol", None, {}, LIMITS, ()),
        Letter("county", "query.reserve", None, {}, RECEIPT, ()),
        Letter("county", "query.secure", None, {}, {("secure", "content"): b"x"}, ()),
        Letter("county", "train", Reason.BUDGET, {}, {}, ()),
    ],
)
def test_what_sites_send_has_its_place(letter):
    assert flaws(letter) == []


@pytest.mark.parametrize(
    ("letter", "named"),
    [
        (replace(TRAINED, strangers=("metrics",)), "a record 'metrics'"),
        (replace(TRAINED, entries={**RECEIPT, ("ledger", "rows"): 78}), "'ledger/rows'"),
        (replace(TRAINED, entries={**RECEIPT, ("metrics", "loss"): 0.1}), "'metrics/loss'"),
        (replace(TRAINED, entries={**RECEIPT, ("ledger", "head"): "78 rows"}), "no hash"),
        (replace(TRAINED, arrays={("arrays", "norms"): ("float32", (9,))}), "arrays/norms"),
        (replace(TRAINED, arrays={("arrays", "head.bias"): ("float64", (2,))}), "head.bias"),
        (replace(TRAINED, arrays={("arrays", "head.bias"): ("float32", (3,))}), "head.bias"),
        (replace(TRAINED, asked="query.enrol"), "arrays in answer"),
        (replace(TRAINED, asked="query.unheard"), "arrays in answer"),
        (Letter("county", "train", "loss was 0.3", {}, {}, ()), "words of its own"),
    ],
)
def test_what_has_no_place_is_named(letter, named):
    assert any(named in flaw for flaw in flaws(letter))

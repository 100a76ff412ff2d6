"""One experiment by every engine: the same weights but for rounding."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from whole_run import epsilons, results, uninterrupted


def trained(folder, engine, *more):
    path = uninterrupted(folder / engine, 3, f"engine={engine}", "training.local_steps=2", *more)
    return path, load_file(path / "model.safetensors")


@pytest.mark.parametrize(
    "more", [["model=linear"], ["model=tabular"], ["model=tabular", "model.train=all"]], ids=str
)
@pytest.mark.parametrize("privacy", ["record", "none"])
def test_loop_and_stacked(tmp_path, more, privacy):
    """Three rounds of two steps in fp32: 1e-5 of the largest weight is a hundred roundings."""
    words = [*more, f"privacy={privacy}", "training.batch_size=64", "training.learning_rate=0.1"]
    loop, expected = trained(tmp_path, "loop", *words)
    stacked, found = trained(tmp_path, "stacked", *words)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5 * abs(value).max())
    assert results(loop)["evaluation"] == results(stacked)["evaluation"]
    if privacy == "record":
        assert epsilons(loop) == epsilons(stacked)

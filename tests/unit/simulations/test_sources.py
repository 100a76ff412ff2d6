"""Invariants that hold of every line of source, whatever runs."""

import ast
from pathlib import Path

import pytest

import simulations

ROOT = Path(simulations.__file__).parents[1]
FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.save", "read_pickle", "to_pickle"}


def unsafe(source):
    """What a module uses that writes or opens a pickle."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node), node.attr}
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.add(f"allow_pickle={ast.unparse(node.value)}")
    return {
        name
        for name in found
        if name.split(".")[0] in FORBIDDEN
        or name in CALLS
        or (name.startswith("allow_pickle=") and name != "allow_pickle=False")
    }


def test_no_pickle_in_any_source():
    folders = ["tacit", "strategies", "client", "server", "simulations", "commands", "benchmarks"]
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    assert {str(p): found for p in sources if (found := unsafe(p.read_text()))} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import joblib.numpy_pickle as jp",
        "from pickle import loads",
        "from torch import load",
        "import torch\ntorch.save(model, path)",
        "frame.to_pickle(path)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_pickle_in_a_source_is_seen(planted):
    assert unsafe(planted)


def test_held_out_rows_are_read_by_the_simulation_alone():
    """Sites, coordinator and learning never touch a test row or a metric."""
    for folder in ("client", "server", "strategies", "tacit/learning"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
            modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            if path.name != "domain_screen.py":  # tells the rows' owner how many are held out
                assert "test" not in names, path
            if folder == "server":
                modules.discard("tacit.runs.evaluation")  # in which it says that nothing was
            assert not {m for m in modules if m and ("evaluation" in m or "sklearn" in m)}, path

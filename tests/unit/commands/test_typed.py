"""Commands of words and paths: help without heavy imports, and what is wrong in one line."""

import subprocess
import sys

import pytest

import commands.export
import commands.predict
from commands.typed import moved
from tacit.errors import ConfigurationError

MAINS = {"tacit-export": commands.export._main, "tacit-predict": commands.predict._main}
NAMES = pytest.mark.parametrize("name", [*MAINS])


@NAMES
def test_help_says_how_it_ends_and_teaches_the_options(command, name):
    ended = command("--help", main=MAINS[name])
    assert ended.code == 0
    assert f"Usage: {name} [OPTIONS] RUN" in ended.out
    assert "Ends with 0 when done, 2 when" in " ".join(ended.out.split())
    assert "--at KEY=PATH" in ended.out
    assert "\\[" not in ended.out
    assert command("--version", main=MAINS[name]).out.startswith("tacit ")


@NAMES
def test_a_run_that_is_none_is_said_in_one_line(command, tmp_path, name):
    words = [tmp_path / "nowhere", *([tmp_path / "rows.csv"] if name == "tacit-predict" else [])]
    ended = command(*words, main=MAINS[name])
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "results.json" in ended.err
    assert command("--nothing", main=MAINS[name]).code == 2


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'pandas', 'sklearn', 'transformers', 'onnx', 'jinja2'} & {*sys.modules}"
    code = f"import sys, commands.export, commands.predict; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_where_things_lie_by_now_is_a_key_and_a_path():
    assert moved(["domain.root=a=b", "model.name=c"]) == {"domain.root": "a=b", "model.name": "c"}
    assert moved(None) == {}
    with pytest.raises(ConfigurationError, match="KEY=PATH"):
        moved(["domain.root="])

"""tacit-audit at the command line: help, words that are wrong, and what cannot be read."""

import sqlite3
from contextlib import closing

import pytest
from rich.console import Console

from audits.command import _main, _verdict
from commands import entry
from tacit.errors import ExitCode
from tacit.runs.audited import NEEDED, Audit, Finding, Stage, StageName


def call(words, capsys):
    with pytest.raises(SystemExit) as left:
        entry.run(lambda: _main(words))
    return left.value.code, capsys.readouterr()


def test_help_teaches_what_to_type(capsys):
    code, said = call(["--help"], capsys)
    assert code == 0
    for words in ("run=RUN", "ledger=PATH", "target.rows=", "at most 5 %", "4 not tested"):
        assert words in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "tacit-audit run=RUN"),
        (["run="], "tacit-audit run=RUN"),
        (["run=a", "ledger=b"], "tacit-audit run=RUN"),
        (["runs=a"], "runs: there is no such key; did you mean 'run'?"),
        (["run=nowhere"], "run=nowhere: there is no results.json"),
        (["ledger=nowhere.sqlite"], "nowhere.sqlite"),
    ],
)
def test_what_cannot_be_audited_is_said(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    code, output = call(words, capsys)
    assert code == ExitCode.BAD_INPUT
    assert said in output.err
    assert "Traceback" not in output.err


@pytest.mark.parametrize(
    ("tests", "use"),
    [(["parts of a sum"], True), (["steps"], False), (["parts of a sum", "x"], False)],
)
def test_a_fault_of_use_is_not_said_to_be_one_of_privacy(capsys, tests, use):
    found = tuple(Finding(test, "it is not", contradicted=True) for test in tests)
    _verdict(Console(width=200), Audit("RUN", (Stage(StageName.MECHANISM, found),)))
    said = capsys.readouterr().out
    assert said.strip().startswith("Contradicted")
    assert ("a fault of use and not of privacy" in said) == use


def test_no_test_is_said_to_state_a_power_that_it_does_not(capsys):
    good = (Finding("steps", "all is well"),)
    _verdict(Console(width=200), Audit("RUN", tuple(Stage(name, good) for name in NEEDED)))
    said = capsys.readouterr().out
    assert "Not contradicted by these tests" in said
    assert "power" not in said


def foreign(path, *tables):
    with closing(sqlite3.connect(path)) as database:
        for table in tables:
            database.execute(f"CREATE TABLE {table}")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a folder: name the file in it"),
        (lambda path: path.touch(), "is no ledger of ours"),
        (lambda path: path.write_bytes(bytes(5000)), "is no ledger of ours"),
        (lambda path: foreign(path, "people (name TEXT)"), "is no ledger of ours"),
        (lambda path: foreign(path, "rows (number INTEGER, cells TEXT)"), "is no ledger of ours"),
    ],
)
def test_what_is_no_ledger_is_bad_input(tmp_path, capsys, make, said):
    path = tmp_path / "site.sqlite"
    make(path)
    code, output = call([f"ledger={path}"], capsys)
    assert code == ExitCode.BAD_INPUT
    assert f"ledger={path} {said}" in output.err.replace("\n", " ")
    assert "Traceback" not in output.err

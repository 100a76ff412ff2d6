"""tacit-audit at the command line: help, words that are wrong, and what cannot be read."""

import pytest

from audits.command import _main
from commands import entry
from tacit.errors import ExitCode


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

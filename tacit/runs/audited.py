"""What an audit found of a run, stage by stage, and what follows from it: audit.json.

Written by tacit-audit, and read by the report.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from tacit.errors import ExitCode, RunDirectoryError
from tacit.runs.encoding import decode, encode, write_text

SCHEMA: Final = "tacit/audit/1"
FILE: Final = "audit.json"


class Outcome(StrEnum):
    """What a stage, or all of them, say of the claim."""

    NOT_CONTRADICTED = "not_contradicted"
    """Looked for, and not found."""
    CONTRADICTED = "contradicted"
    """The run did not do what it says."""
    NOT_TESTED = "not_tested"
    """The stage could not be done on this run; it says why."""


class StageName(StrEnum):
    """The stages, in their order."""

    LEDGER = "ledger"
    MECHANISM = "mechanism"
    MODEL = "model"
    SEEN = "what_the_server_sees"
    CLIENTS = "clients"
    RELEASES = "releases"


NEEDED: Final = (StageName.LEDGER, StageName.MECHANISM, StageName.RELEASES)
"""Stages without which nothing is said to be tested."""
OF_USE: Final = frozenset({"parts of a sum"})
"""Tests that find faults of use: what is sent stands for something else, and gives nothing away."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One test of a stage.

    Parameters
    ----------
    test
        What was looked at, in a few words.
    said
        What was found, in a sentence.
    contradicted
        Whether the claim does not survive it.
    figures
        The numbers behind it.
    series
        Numbers for a picture, by name.
    tested
        False where the run has not what the test needs, which `said` says: the stage is then not
        tested, whatever its other tests found.
    """

    test: str
    said: str
    contradicted: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tested: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of an audit; `why` says why it was not done, and is empty where it was."""

    name: StageName
    findings: tuple[Finding, ...] = ()
    why: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the stage says."""
        if any(finding.contradicted for finding in self.findings):
            return Outcome.CONTRADICTED
        whole = self.findings and all(finding.tested for finding in self.findings)
        return Outcome.NOT_CONTRADICTED if whole and not self.why else Outcome.NOT_TESTED


@dataclass(frozen=True, slots=True)
class Audit:
    """All stages of an audit of one run or one ledger, and the hash of the run's weights."""

    what: str
    stages: tuple[Stage, ...]
    weights: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the audit says: it needs the stages `NEEDED` to say that nothing was found."""
        outcomes = {stage.name: stage.outcome for stage in self.stages}
        if Outcome.CONTRADICTED in outcomes.values():
            return Outcome.CONTRADICTED
        if all(outcomes.get(name) is Outcome.NOT_CONTRADICTED for name in NEEDED):
            return Outcome.NOT_CONTRADICTED
        return Outcome.NOT_TESTED

    @property
    def against_privacy(self) -> bool:
        """Whether what is contradicted is about privacy, and not about use alone."""
        found = [each for stage in self.stages for each in stage.findings if each.contradicted]
        return any(each.test not in OF_USE for each in found)

    def write(self, path: Path) -> None:
        """Write audit.json whole or not at all.

        Raises
        ------
        RunDirectoryError
            The file cannot be written.
        """
        text = json.dumps(encode(self.to_fields()), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    def to_fields(self) -> dict[str, object]:
        """Return it as values for audit.json."""
        return {
            "schema": SCHEMA,
            "what": self.what,
            "weights_sha256": self.weights,
            "outcome": self.outcome,
            "stages": [
                {
                    "name": stage.name,
                    "outcome": stage.outcome,
                    "why": stage.why,
                    "findings": [asdict(finding) for finding in stage.findings],
                }
                for stage in self.stages
            ],
        }

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code of a command that made the audit."""
        return {
            Outcome.NOT_CONTRADICTED: ExitCode.DONE,
            Outcome.CONTRADICTED: ExitCode.CONTRADICTED,
            Outcome.NOT_TESTED: ExitCode.INCOMPLETE,
        }[self.outcome]


def read_audit(path: Path) -> Audit | None:
    """Read an audit.json; None where the run was not audited.

    Raises
    ------
    RunDirectoryError
        It has another schema, or a field is missing or of another kind.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise RunDirectoryError(f"{path} has schema {found['schema']!r}, not {SCHEMA!r}")
        stages = tuple(
            Stage(
                StageName(stage["name"]),
                tuple(decode(Finding, finding, path.name) for finding in stage["findings"]),
                str(stage["why"]),
            )
            for stage in found["stages"]
        )
        return Audit(str(found["what"]), stages, str(found["weights_sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error!r}: audit the run again") from error

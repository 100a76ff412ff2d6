"""tacit-audit: attack a run and say whether its promise held.

Only what a line of help needs is imported at the top.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from commands import entry
from tacit.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from tacit.runs.audited import Audit

USAGE = """\
tacit-audit: attack a run, and say whether what it promises was contradicted.

  tacit-audit run=RUN        a run's directory: its ledgers anew; the run's own step function on
                             made-up records (noise, clipping, divisor, sampler); and the run once
                             more from its config.yaml, with everything that leaves written down
  tacit-audit ledger=PATH    one site's ledger: at best its arithmetic is right
  tacit-audit target=PACKAGE.MODULE:APP target.weights=... claim.unit=... claim.KEY=VALUE ...
                             a Flower ClientApp that is not ours: called in this process, with its
                             claim said here

Of a run it writes RUN/audit.json and a chapter of RUN/report.html, and reads nothing but what is in
RUN and the data that RUN names. It never says what ε is: a claim is contradicted, or not
contradicted by these tests, of which some state what they would have found. All tests together
contradict at most 5 % of honest runs.

A target (docs/audits-of-others.md has a page for it)
  target.weights=MODULE:NAME     a function or class that gives the weights that a server sends
  target.rows=MODULE:NAME        a function that takes rows of the audit, a torch Dataset, for the
                                 client to train on, and domain=NAME, what they look like; without
                                 it the client keeps its own data, and less is tested
  target.run_config.KEY=VALUE    also node_config (of the client's context) and config (of the
                                 message)
  claim.unit=record|client       what is protected; claim.epsilon, delta, noise_multiplier (or
                                 'textbook'), clipping_norm, sampling_rate, steps (of a reply),
                                 replies, learning_rate, divisor, relation, noise_by=client|server
  out=PATH                       writes audit.json there

Options
  -h, --help       this
  --version        the version

Exit codes: 0 not contradicted, 1 a fault of ours, 2 configuration or bad input, 3 contradicted,
4 not tested (a stage that is needed was skipped; it says why), 130 Ctrl-C, 143 SIGTERM.
"""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    if entry.answered(words, USAGE):
        return 0
    target = any(word.startswith(("target=", "target.", "claim.")) for word in words)
    from rich.console import Console

    console = Console()
    audit = _audited_target(words, console) if target else _audited(*_what(words), console)
    _verdict(console, audit)
    return audit.exit_code


def _audited_target(words: list[str], console: "Console") -> "Audit":
    from audits.target.audit import audit_target
    from tacit.runs.terminal import show_stage

    return audit_target(words, console, lambda stage: show_stage(console, stage))


def _what(words: list[str]) -> tuple[str, Path]:
    """Read ``run=RUN`` or ``ledger=PATH``."""
    found = [word.partition("=") for word in words]
    for key, _, _value in found:
        if key not in ("run", "ledger"):
            from tacit.nearest import nearest

            raise ConfigurationError(
                f"{key}: there is no such key; {nearest(key, ('run', 'ledger', 'target'))}"
            )
    if len(found) != 1 or not found[0][2]:
        raise ConfigurationError(
            "say what to audit: tacit-audit run=RUN, ledger=PATH, or target=PACKAGE.MODULE:APP"
        )
    key, _, value = found[0]
    return key, Path(value)


def _audited(kind: str, path: Path, console: "Console") -> "Audit":
    from audits.audit import audit_ledger_file, audit_run
    from tacit.runs.audited import FILE
    from tacit.runs.report import write_report
    from tacit.runs.terminal import show_stage

    if kind == "ledger":
        audit = audit_ledger_file(path)
        for stage in audit.stages:
            show_stage(console, stage)
        return audit
    audit = audit_run(path, console, lambda stage: show_stage(console, stage))
    audit.write(path / FILE)
    write_report(path)
    return audit


def _verdict(console: "Console", audit: "Audit") -> None:
    from tacit.runs.audited import NEEDED, Outcome

    outcome = audit.outcome
    console.print()
    if outcome is Outcome.CONTRADICTED:
        if audit.against_privacy:
            console.print("Contradicted: it does not do what it says. See the lines with '!'.")
        else:
            console.print(
                "Contradicted: it does not do what it says, which is a fault of use and not of "
                "privacy. See the lines with '!'."
            )
    elif outcome is Outcome.NOT_CONTRADICTED:
        console.print("Not contradicted by these tests; what they do not look at may be wrong.")
    else:
        open_ = Outcome.NOT_TESTED
        names = [s.name for s in audit.stages if s.name in NEEDED and s.outcome is open_]
        skipped = ", ".join(name.replace("_", " ") for name in names)
        console.print(f"Not tested: {skipped} would have to be.")


if __name__ == "__main__":
    main()

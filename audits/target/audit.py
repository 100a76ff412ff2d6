"""The audit of a Flower client that is not ours, stage by stage."""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console

from audits.target.app import Target, TargetError
from audits.target.claims import Claim, arithmetic
from audits.target.probes import TargetProbes
from audits.target.releases import releases
from audits.target.rows import MadeUp
from audits.target.words import read_words
from commands.compose import composed
from tacit.components import make
from tacit.configuration import read_settings
from tacit.runs.audited import Audit, Stage, StageName

ONE_MESSAGE: Final = "a client is called a message at a time: there is no run to attack"


def audit_target(
    words: Sequence[str], console: Console, on_stage: Callable[[Stage], None] = lambda stage: None
) -> Audit:
    """Audit the client that words name, and write audit.json where they say.

    Parameters
    ----------
    words
        Of the command line: ``audits.target.words``.
    console
        Shows that it is at work.
    on_stage
        Told of every stage when it is done.

    Raises
    ------
    ConfigurationError
        A word is wrong, or names something that is not there.
    TargetError
        The client fails with usual rows, or answers with something that is no update.
    """
    said = read_words(words)
    made_up = None
    if said.domain:
        settings = read_settings(composed(said.domain))
        made_up = MadeUp(make("domain", settings.domain))
    target = Target(said)
    stages = []

    def done(stage: Stage) -> None:
        stages.append(stage)
        on_stage(stage)

    done(Stage(StageName.LEDGER, tuple(arithmetic(said.claim))))
    with console.status("sending messages to the client"):
        probed = tuple(TargetProbes(target, said.claim, made_up).findings())
    done(Stage(StageName.MECHANISM, probed))
    for name in (StageName.MODEL, StageName.SEEN, StageName.CLIENTS):
        done(Stage(name, why=ONE_MESSAGE))
    with console.status("comparing what it sends"):
        done(_left(target, said.claim, made_up))
    audit = Audit(said.app, tuple(stages))
    if said.out is not None:
        audit.write(said.out)
    return audit


def _left(target: Target, claim: Claim, made_up: MadeUp | None) -> Stage:
    try:
        return Stage(StageName.RELEASES, tuple(releases(target, claim, made_up)))
    except TargetError as error:
        # What was found before is not lost for it.
        return Stage(StageName.RELEASES, why=str(error))

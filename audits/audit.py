"""An audit from its first word to its verdict, stage by stage."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from audits.canary_clients import CanaryClients
from audits.case import Case
from audits.coordinator import added_noise, shows_its_noise
from audits.ledgers import audit_ledger, audit_ledgers
from audits.masks import masks
from audits.membership import Membership
from audits.probes import Probes
from audits.releases import audit_releases
from audits.server_view import ServerView
from audits.stranger import Stranger, read_stranger
from tacit.errors import TacitError
from tacit.privacy.events import Unit
from tacit.privacy_settings import protected
from tacit.runs.audited import Audit, Finding, Stage, StageName
from tacit.settings import EngineKind

NO_CLAIM: Final = "the run claims no privacy"
DEPLOYED: Final = (
    "a deployed run cannot be made again: its sites' data and keys are theirs, and it carried no "
    "canaries"
)

OnStage = Callable[[Stage], None]


def audit_run(path: Path, console: Console, on_stage: OnStage = lambda stage: None) -> Audit:
    """Audit a run by its directory.

    Parameters
    ----------
    path
        The directory of a run that has ended.
    console
        Shows how far a run that is made again is.
    on_stage
        Told of every stage when it is done.

    Raises
    ------
    TacitError
        The directory cannot be read.
    """
    stages = []
    with Case(read_stranger(path), console) as case:
        for name, make in STAGES.items():
            try:
                stages.append(make(case))
            except TacitError as error:
                # What other stages have found is not lost by it.
                stages.append(Stage(name, why=f"it cannot be done here: {error}"))
            on_stage(stages[-1])
        return Audit(str(path), tuple(stages), case.stranger.results.weights_sha256)


def audit_ledger_file(path: Path) -> Audit:
    """Audit one site's ledger, which at best is right in its arithmetic.

    Raises
    ------
    ConfigurationError
        There is no such file.
    """
    why = "a ledger says what was charged, and not what was done"
    others = [Stage(name, why=why) for name in StageName if name is not StageName.LEDGER]
    return Audit(str(path), (audit_ledger(path), *others))


def _ledger(case: Case) -> Stage:
    return audit_ledgers(case.stranger)


def _mechanism(case: Case) -> Stage:
    why = _not_here(case.stranger)
    if why:
        return Stage(StageName.MECHANISM, why=why)
    with case.console.status("probing the run's own step function"):
        probed = list(Probes(case.stranger, case.bench).findings())
    return Stage(StageName.MECHANISM, (*probed, *_in_the_run(case)))


def _in_the_run(case: Case) -> list[Finding]:
    """What was seen of the noise in the run, made again: by canaries, or at the coordinator."""
    if shows_its_noise(case.stranger):
        return added_noise(case.stranger, case.again.rounds, case.again.ended)
    if protected(case.stranger.settings.privacy)[0] is Unit.CLIENT:
        return []
    return [*case.heard_in_the_run(), *_heard_again(case)]


def _heard_again(case: Case) -> list[Finding]:
    """What canary records heard in the run, made again with them."""
    if why := case.stranger.without_canaries:
        return [Finding("canaries in the run", why, tested=False)]
    canaries = case.again.canaries
    return canaries.findings(case.again.stranger) if canaries else []


def _seen(case: Case) -> Stage:
    if not case.stranger.results.simulation:
        return Stage(StageName.SEEN, why=DEPLOYED)
    with case.console.status("rebuilding made-up records from what is seen"):
        findings = tuple(ServerView(case.stranger, case.bench).findings())
    if case.stranger.results.secure_sum:
        findings = (masks(case.again.letters), *findings)
    return Stage(StageName.SEEN, findings)


def _releases(case: Case) -> Stage:
    why = _not_here(case.stranger) or _not_heard(case.stranger)
    if why:
        return Stage(StageName.RELEASES, why=why)
    return audit_releases(case.stranger, case.again)


def _model(case: Case) -> Stage:
    why, privacy = _not_here(case.stranger), case.stranger.results.privacy
    if why or privacy is None:
        return Stage(StageName.MODEL, why=why)
    claimed = privacy.guarantees[0]
    if claimed.unit is Unit.CLIENT:
        why = "the unit is a client, of whom canary clients tell; canaries here are records"
        return Stage(StageName.MODEL, why=why)
    with case.console.status("training with canaries among the rows"):
        return Stage(StageName.MODEL, tuple(Membership(claimed, case.bench).findings()))


def _clients(case: Case) -> Stage:
    why, privacy = _not_here(case.stranger), case.stranger.results.privacy
    if why or privacy is None:
        return Stage(StageName.CLIENTS, why=why)
    claimed = privacy.guarantees[0]
    if claimed.unit is not Unit.CLIENT:
        why = f"the unit is a {claimed.unit}: that one took part is not hidden"
        return Stage(StageName.CLIENTS, why=why)
    with case.console.status("summing the updates of canary clients"):
        return Stage(StageName.CLIENTS, tuple(CanaryClients(claimed, case.bench).findings()))


def _not_here(stranger: Stranger) -> str:
    if not stranger.results.simulation:
        return DEPLOYED
    return "" if stranger.results.privacy else NO_CLAIM


def _not_heard(stranger: Stranger) -> str:
    if stranger.settings.engine.kind is EngineKind.RAY:
        return "with engine=ray sites are processes whose replies are not listened to"
    return ""


STAGES: Final[Mapping[StageName, Callable[[Case], Stage]]] = {
    StageName.LEDGER: _ledger,
    StageName.MECHANISM: _mechanism,
    StageName.MODEL: _model,
    StageName.SEEN: _seen,
    StageName.CLIENTS: _clients,
    StageName.RELEASES: _releases,
}
"""What does each stage, in their order."""

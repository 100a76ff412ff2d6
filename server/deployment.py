"""A deployed run from its first word to its report; it outlives sites, and its own process.

The same command again goes on where the last complete round was.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from server.call_off import CALLED_OFF, CalledOffError, findable
from server.checkpoint import FILE, load_checkpoint, save_checkpoint
from server.deployed_rounds import rounds_left
from server.deployed_settings import ServerSettings
from server.history import timing
from server.joining import Joining
from server.kept_plan import PLAN, kept_cohort, read_plan, write_plan
from server.link import Link, superlink
from server.planning import check_sizes, plan_run
from server.run_plan import RunPlan, State
from server.status import Phase, SiteStatus, Status, StatusBoard
from server.summary import summarise
from server.watch_service import watch_service
from strategies.build import build_strategy
from strategies.limits import check_run
from tacit.domains.domain import Card, Domain
from tacit.errors import ConfigurationError, ModelError, RunDirectoryError, TrustError
from tacit.experiment import Prepared, declared_units, domain_of, prepare_model
from tacit.messages import Limits
from tacit.models.trainable import trainable_weights
from tacit.plans import LEAST_SITES, ON_FROM, THREE, sums_securely
from tacit.privacy.events import Event
from tacit.privacy.policy import steps_of, with_steps
from tacit.privacy_settings import NoPrivacy
from tacit.runs import directory
from tacit.runs.directory import RunDirectory, claim, read_config
from tacit.runs.evaluation import DIRECTIONS, Evaluation, evaluation
from tacit.runs.report import write_report
from tacit.runs.results import Results, read, read_history, write
from tacit.settings import SecureAggregation, Settings
from tacit.trust.bundle import ServerBundle, load_server_bundle, warnings
from tacit.trust.validity import utc_now

log = logging.getLogger(__name__)

NOT_MEASURED: Final = "a deployed site releases no measurement of its own rows"


def deploy(
    settings: Settings, config: Mapping[str, Any], own: ServerSettings
) -> tuple[Results, Path]:
    """Run an experiment with the sites of the roster, or go on with it.

    Parameters
    ----------
    settings
        The experiment.
    config
        The same as plain values, to be kept in the run directory.
    own
        How this process serves.

    Raises
    ------
    TacitError
        Input cannot be used, too few sites take part, or the run was called off.
    """
    path = run_path(settings)
    if (path / directory.RESULTS).is_file():
        log.info("%s: the run has ended", path)
        if not (path / directory.REPORT).is_file():
            write_report(path)
        return read(path / directory.RESULTS), path
    if (path / CALLED_OFF).exists():
        raise RunDirectoryError(f"run.dir={path}: the run was called off: choose another")
    resume = (path / directory.CONFIG).is_file()
    if resume:
        _check_same(path, config)
    bundle = load_server_bundle(own.bundle)
    for sentence in warnings(bundle):
        log.warning("%s", sentence)
    domain = domain_of(settings)
    sites = _sites(bundle, domain, settings)
    prepared = prepare_model(settings, domain)
    started = time.perf_counter()
    size = sum(array.nbytes for array in trainable_weights(prepared.shared.module).values())
    with claim(path, resume=resume, needed=3 * size) as directory_:
        run, done = _start(directory_, prepared, config, resume=resume)
        board = StatusBoard(_first_status(settings, run, done, sites))
        with (
            findable(path),
            superlink(
                host=own.host,
                port=own.port,
                certificate=bundle.certificate,
                key=bundle.key,
                nodes={m.name: m.node_key for m in bundle.roster.valid(utc_now())},
                heartbeat=own.heartbeat,
            ) as link,
            watch_service(
                board,
                address=f"{own.host}:{own.watch_port}",
                certificate=bundle.certificate,
                key=bundle.key,
                ca=bundle.ca,
                entitled=_entitled(bundle),
            ) as watch_port,
        ):
            log.info("run %s; sites at port %d, watchers at port %d", run, link.port, watch_port)
            joining = _joining(path, prepared, sites, run, link, board)
            try:
                state, notes = rounds_left(
                    directory_, prepared, joining, own, board, _identities(bundle)
                )
            except (KeyboardInterrupt, SystemExit):
                log.info("stopped after round %d; the same command goes on", board.status.round)
                raise
            except BaseException as error:
                over = Phase.CALLED_OFF if isinstance(error, CalledOffError) else Phase.FAILED
                board.update(lambda status: replace(status, phase=over))
                if isinstance(error, CalledOffError):
                    joining.end(run)
                    (path / CALLED_OFF).touch()
                raise
            joining.end(run)
            results = _finish(path, prepared, joining, state, notes, started)
            board.update(lambda status: replace(status, phase=Phase.FINISHED))
    return results, path


def run_path(settings: Settings) -> Path:
    """Return the run's directory: a deployed run that is not named has one for each experiment."""
    return Path(settings.run.dir or Path("outputs") / settings.name / "deployed")


def _check_same(path: Path, config: Mapping[str, Any]) -> None:
    before = read_config(path)
    different = sorted(
        key for key in before.keys() | config.keys() if before.get(key) != config.get(key)
    )
    if different := [key for key in different if key not in ("run", "cache", "engine")]:
        raise RunDirectoryError(
            f"run.dir={path}: holds a run with another {', '.join(different)}: give the words it "
            "was begun with to go on, or choose another directory"
        )


def _sites(bundle: ServerBundle, domain: Domain, settings: Settings) -> dict[str, int]:
    """Return the declared sizes of the sites that may take part."""
    if isinstance(settings.privacy, NoPrivacy):
        raise ConfigurationError(
            "privacy=none: a deployed run has a guarantee; without one there is tacit-simulate"
        )
    if settings.training.cohort != "all":
        raise ConfigurationError(
            f"training.cohort={settings.training.cohort}: a deployed run asks all its sites in "
            "every round; drawing some is for tacit-simulate"
        )
    if settings.audit is not None:
        raise ConfigurationError(
            f"audit={settings.audit.name}: canaries take part in simulated runs only; leave it out"
        )
    if not settings.availability.perfect:
        raise ConfigurationError(
            "availability: who is there is not made up in a deployed run; leave it out"
        )
    known = {member.name for member in bundle.roster.valid(utc_now())}
    sizes = {s: n for s, n in declared_units(domain, settings.privacy).items() if s in known}
    if not sizes:
        raise ConfigurationError(
            f"none of the sites of the roster ({', '.join(sorted(known)) or 'it is empty'}) is one "
            f"of {domain.card.name}'s ({', '.join(domain.declared_sizes)})"
        )
    check_sizes(sizes, settings)
    secure = sums_securely(settings, len(sizes), deployed=True)
    check_run(build_strategy(settings.strategy), settings, len(sizes), secure=secure)
    if secure and len(sizes) < ON_FROM:
        log.warning("%s", THREE)
    elif len(sizes) == LEAST_SITES and settings.secure_aggregation is SecureAggregation.AUTO:
        log.warning(
            "secure_aggregation=auto: of three sites each one's part is seen by itself; with "
            "secure_aggregation=required their sum only would be: %s",
            THREE,
        )
    return sizes


def _start(
    own: RunDirectory, prepared: Prepared, config: Mapping[str, Any], *, resume: bool
) -> tuple[str, int]:
    """Begin a run in its directory, or look where it stands; return its name and last round."""
    checkpoint = own.path / directory.CHECKPOINT
    # A process that was stopped right after the configuration was written began no run.
    if resume and ((checkpoint / FILE).exists() or (own.path / PLAN).exists()):
        run, state = load_checkpoint(checkpoint)
        if state.model != prepared.model_sha256:
            raise ModelError(
                f"{own.path}: the run was made with model {state.model[:12]}… and this is "
                f"{prepared.model_sha256[:12]}…: were its pretrained weights exchanged?"
            )
        own.keep_history_through(state.round)
        log.info("going on after round %d", state.round)
        return run, state.round
    run = secrets.token_hex(8)
    state = State(0, trainable_weights(prepared.shared.module), model=prepared.model_sha256)
    own.write_config(config)
    save_checkpoint(checkpoint, run, state)
    return run, state.round


def _first_status(settings: Settings, run: str, done: int, sites: Mapping[str, int]) -> Status:
    shown = tuple(SiteStatus(name, declared_size=size) for name, size in sites.items())
    return Status(
        experiment=settings.name,
        run=run,
        rounds=settings.training.rounds,
        sites=shown,
        started=time.time(),
        round=done,
    )


def _entitled(bundle: ServerBundle) -> Callable[[str, bytes], bool]:
    def entitled(name: str, certificate: bytes) -> bool:
        try:
            return bundle.watcher(certificate) == name
        except TrustError as error:
            log.warning("watch: %s", error)
            return False

    return entitled


def _joining(
    path: Path,
    prepared: Prepared,
    sites: Mapping[str, int],
    run: str,
    link: Link,
    board: StatusBoard,
) -> Joining:
    settings = prepared.settings
    secure = sums_securely(settings, len(sites), deployed=True)

    def planner(limits: Mapping[str, Limits]) -> RunPlan:
        return plan_run(
            run,
            prepared.card.name,
            prepared.model_sha256,
            sites,
            settings.training,
            settings.privacy,
            settings.strategy,
            prepared.cache,
            prepared.trained,
            limits,
            secure=secure,
        )

    planned, kept = planner({}), read_plan(path / PLAN)
    cohort = kept_cohort(path / PLAN)
    if cohort is not None and cohort != (planned.summed or {}).keys():
        raise RunDirectoryError(
            f"run.dir={path}: its sums are over {', '.join(sorted(cohort))}, and the roster now "
            f"has {', '.join(sorted(planned.summed or {}))}: sites hold each other to the first. "
            "Begin another run in another directory"
        )
    if kept is not None:
        # Who is in a sum does not hang on who has joined.
        kept = replace(kept, summed=planned.summed)
    return Joining(
        grid=link.grid,
        names={node: site for node, site in link.names.items() if site in sites},
        terms=planned.terms,
        training=settings.training,
        privacy=settings.privacy,
        planner=planner,
        least=planned.min_replies,
        present=link.present,
        heard=board.heard,
        keep=partial(write_plan, path / PLAN),
        plan=kept,
    )


def _identities(bundle: ServerBundle) -> dict[str, bytes]:
    return {member.name: member.identity for member in bundle.roster.valid(utc_now())}


def _finish(
    path: Path,
    prepared: Prepared,
    joining: Joining,
    state: State,
    notes: Sequence[str],
    started: float,
) -> Results:
    plan = joining.planned()
    history = read_history(path / directory.HISTORY)
    spent: dict[str, list[Event]] = {
        # All that it kept for the run: a round that was asked and lost may have been charged too.
        site: with_steps(each.event(), plan.rounds * steps_of(each.event()))
        for site, each in plan.sites.items()
    }
    results = summarise(
        prepared,
        plan,
        state,
        spent,
        _unmeasured(prepared.card, plan.sites),
        timing(time.perf_counter() - started, history),
        tuple(notes),
        path,
        simulation=False,
        simulated_noise=any(limits.predictable for limits in joining.limits.values()),
    )
    write(results, path / directory.RESULTS)
    write_report(path)
    return results


def _unmeasured(card: Card, sites: Mapping[str, object]) -> Evaluation:
    return evaluation(
        card.metric.value,
        DIRECTIONS[card.metric],
        dict.fromkeys(sites),
        pooled=None,
        reasons=dict.fromkeys(sites, NOT_MEASURED),
    )

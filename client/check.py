"""``check=true``: everything a run would need, looked at by itself; nothing is spent or sent."""

import math
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from client.ledger_home import check_there, place_of
from client.resident import open_bundle
from client.setup import allowed_by, own_data, own_model, policy_of, site_privacy
from client.site import stated_limits
from client.site_file import SiteFile
from strategies.build import build_strategy, proximal_mu
from tacit.domains.domain import Domain
from tacit.domains.persons import declared_persons
from tacit.errors import ConfigurationError, ExitCode, InputError, TacitError
from tacit.experiment import Prepared, domain_of
from tacit.learning.sampling import People
from tacit.logs import one_line
from tacit.messages import Terms
from tacit.plans import LEAST_SITES, THREE, fewest_summed, site_plans, sums_securely
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import NoisedSteps, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.ledger_summary import summarise
from tacit.privacy.ledger_view import LedgerView, read_ledger
from tacit.privacy.policy import Plan, in_rounds
from tacit.privacy_settings import RecordPrivacy, persons_of, protected
from tacit.settings import Settings
from tacit.trust.bundle import CA, warnings
from tacit.trust.certificates import load_authority
from tacit.trust.validity import utc_now

PATIENCE: Final = 10.0
"""Seconds to wait for the coordinator."""
AHEAD: Final = 5.0
BEHIND: Final = 300.0
"""Seconds by which this clock may be ahead of the coordinator's, and behind it: Flower refuses what
was signed later than that, or longer ago."""
_CLOCK_CODES: Final = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

Lines = Iterator[str]
T = TypeVar("T")


def check_site(file: SiteFile, settings: Settings) -> ExitCode:
    """Look at each thing and print what was found.

    Returns
    -------
    ExitCode
        `ExitCode.INCOMPLETE` where something is wrong.
    """
    console, check = Console(), _Check(file, settings)
    looks = {
        "keys": check.keys,
        "data": check.data,
        "model": check.model,
        "policy and cost": check.cost,
        "ledger": check.ledger,
        "connection and clock": check.connection,
    }
    good = [_look(console, title, look) for title, look in looks.items()]
    console.print()
    if all(good):
        console.print("Nothing stands in the way of a run. Nothing was spent.")
        return ExitCode.DONE
    console.print("A run would fail here. Nothing was spent.")
    return ExitCode.INCOMPLETE


def _look(console: Console, title: str, look: Callable[[], Lines]) -> bool:
    """Print what one look found; what Tacit raises on purpose is its finding."""
    lines, good = [], True
    try:
        with console.status(title):
            for line in look():
                lines.append(line)
    except TacitError as error:
        lines, good = [*lines, str(error)], False
    except OSError as error:
        lines, good = [*lines, f"{error.filename or title}: {error.strerror or error}"], False
    mark = Text("ok     ", style="green") if good else Text("wrong  ", style="bold red")
    console.print(mark + Text(title, style="bold"))
    for line in lines:
        console.print(Text(f"       {one_line(line)}"), soft_wrap=True)
    return good


class _Check:
    """The looks, in their order: what one of them found the next ones use."""

    def __init__(self, file: SiteFile, settings: Settings) -> None:
        self._file = file
        self._settings = settings
        self._policy = policy_of(file)
        self._domain: Domain | None = None
        self._prepared: Prepared | None = None
        self._plan: Plan | None = None

    def keys(self) -> Lines:
        bundle = open_bundle(self._file)
        yield f"keys of {bundle.name}, roster version {bundle.roster.version}"
        yield from warnings(bundle)

    def data(self) -> Lines:
        self._domain = domain = domain_of(self._settings)
        data = own_data(domain, self._file, self._settings)
        yield (
            f"{domain.card.name}: {len(data.train)} training rows (declared: "
            f"{domain.declared_sizes[self._file.name]}), all within the schema"
        )
        if persons_of(self._settings.privacy) and data.train.persons is not None:
            yield (
                f"they are of {len(People(data.train.persons))} persons (declared: "
                f"{declared_persons(domain)[self._file.name]}), each of them a unit"
            )

    def model(self) -> Lines:
        domain = _needed(self._domain, "data")
        self._prepared = prepared = own_model(self._file, self._settings, domain)
        yield f"model {prepared.model_sha256}"
        terms = Terms(domain.card.name, prepared.model_sha256, self._settings.strategy.name)
        # Whom a sum would hide it among is a matter of the plan.
        replace(allowed_by(self._file, prepared, ()), others=0).check(terms)

    def cost(self) -> Lines:
        """Say what the experiment would cost here, by the site's own numbers."""
        prepared, policy = _needed(self._prepared, "model"), self._policy
        privacy, settings = site_privacy(self._settings), self._settings
        self._check_delta(prepared)
        sizes = {s: n for s, n in prepared.declared_units.items() if s in self._roster()}
        secure = sums_securely(settings, len(sizes), deployed=True)
        limits = stated_limits(policy, predictable=self._file.noise_seed is not None)
        own = site_plans(
            sizes,
            settings.training,
            privacy,
            mu=proximal_mu(build_strategy(self._settings.strategy)),
            cache=prepared.cache,
            dimension=prepared.trained,
            # The coordinator plans within what each site says that it allows.
            limits={self._file.name: limits},
            secure=secure,
        )[self._file.name]
        fewest = fewest_summed(settings.training, len(sizes), secure)
        terms = Terms(
            prepared.card.name,
            prepared.model_sha256,
            settings.strategy.name,
            fewest - 1 if secure else 0,
        )
        allowed = allowed_by(self._file, prepared, sizes)
        allowed.check(terms)
        allowed.check_plan(terms, own)
        event, rounds = own.event(), self._settings.training.rounds
        spent = epsilon(in_rounds(event, rounds), privacy.delta)
        sigma = event.noise_multiplier if isinstance(event, NoisedSteps) else 0.0
        yield (
            f"{rounds} rounds would cost ε = {spent:.4g} at δ = {privacy.delta:g}, with "
            f"σ = {sigma:.4g}; allowed per run: ε = {policy.epsilon_per_run:g} at "
            f"δ = {policy.delta_per_run:g}"
        )
        if own.share is not None:
            alone = epsilon(in_rounds(own.event_alone(), rounds), privacy.delta)
            yield (
                f"that counts on {own.share.honest} sites' noise; by this site's own alone it "
                f"would be ε = {alone:.4g}, and {policy.epsilon_alone:g} is allowed"
            )
        if len(sizes) == LEAST_SITES and not secure and self._file.secure_aggregation == "auto":
            yield (
                "of three sites the coordinator sees each one's part by itself. With "
                "secure_aggregation=required, at the coordinator and in site.yaml's experiment, it "
                "sees their sum only; secure_aggregation: 2 in site.yaml demands that. But "
                f"{THREE}"
            )
        budget = privacy.epsilon
        if isinstance(privacy, RecordPrivacy) and privacy.epsilon > policy.epsilon_per_run:
            budget = policy.epsilon_per_run
            yield f"the experiment allows ε = {privacy.epsilon:g}: here it has more noise"
        plan = Plan("check", event, rounds, budget, privacy.delta, limits.predictable)
        policy.check_plan(plan)
        self._plan = plan

    def ledger(self) -> Lines:
        """Say what is left, and rehearse the run's reservation on a copy."""
        file = self._file
        place = place_of(file.ledger, file.data_set)
        check_there(place)
        with TemporaryDirectory() as folder:
            copy, head = Path(folder) / "copy.sqlite", Path(folder) / "head"
            # The head first: one that is copied later may be ahead of the rows.
            if place.head.exists():
                shutil.copy(place.head, head)
            if place.ledger.exists():
                with read_ledger(place.ledger, place.head) as view:
                    view.verify()
                    view.check_head()
                    self._check_ledger(view)
                    view.backup(copy)
            else:
                yield f"{place.ledger} is not there: it begins with the first run"
            unit, relation = protected(self._settings.privacy)
            with Ledger.open(
                copy,
                data_set=file.data_set,
                unit=unit,
                relation=relation,
                delta=file.limits.lifetime_delta,
                head_path=head,
            ) as ledger:
                yield self._left(ledger)
                if file.test_data:
                    yield "test data: no promise is made for anybody in them"
                ledger.reserve(_needed(self._plan, "policy or the cost"), self._policy)
                yield "the run would be admitted"

    def connection(self) -> Lines:
        yield from _connection(self._file)

    def _roster(self) -> frozenset[str]:
        roster = open_bundle(self._file).roster
        return frozenset(member.name for member in roster.valid(utc_now()))

    def _check_delta(self, prepared: Prepared) -> None:
        """Refuse a δ that is too large for the public number of units."""
        unit, _ = protected(self._settings.privacy)
        declared = "declared_persons" if unit is Unit.PERSON else "declared_sizes"
        key = f"domain.{declared}.{self._file.name}"
        size = prepared.declared_units.get(self._file.name)
        if not isinstance(size, int) or size < 1:
            what = "person" if unit is Unit.PERSON else "row"
            raise ConfigurationError(f"{key}={size}: a site declares at least 1 {what}")
        if unit is Unit.CLIENT:
            return
        for name, delta in (
            ("privacy.delta", site_privacy(self._settings).delta),
            ("limits.lifetime_delta", self._file.limits.lifetime_delta),
        ):
            if delta > 1 / size:
                raise ConfigurationError(
                    f"{name}={delta:g} is larger than one over {key} ({size}): it would allow one "
                    f"of the {unit}s to be published. Use at most {1 / (10 * size):.0e}"
                )

    def _check_ledger(self, view: LedgerView) -> None:
        limits = self._file.limits
        if (view.data_set, view.delta) != (self._file.data_set, limits.lifetime_delta):
            raise ConfigurationError(
                f"{view.path} is the ledger of {view.data_set!r} with δ = {view.delta:g}, not of "
                f"{self._file.data_set!r} with limits.lifetime_delta={limits.lifetime_delta:g}: "
                "a data set keeps what its ledger began with"
            )

    def _left(self, ledger: Ledger) -> str:
        limit = self._file.limits.lifetime_epsilon
        summary = summarise(ledger, limit)
        pld = summary.standing.pld
        line = (
            f"{self._file.data_set!r} has spent ε = {'∞' if math.isinf(pld) else f'{pld:.4g}'} of "
            f"{limit:g} at δ = {ledger.delta:g} over its life"
        )
        if summary.room is None:
            return line
        return f"{line}; about ε = {summary.room:.4g} is left for one more run"


def _needed(found: T | None, key: str) -> T:
    if found is None:
        raise InputError(f"not looked at: something is wrong with the {key}")
    return found


def _connection(file: SiteFile) -> Lines:
    """Set up TLS with the authority of the bundle alone, and compare clocks."""
    load_authority(file.bundle / CA)
    context = ssl.create_default_context(cafile=str(file.bundle / CA))
    host, _, port = file.address.rpartition(":")
    link = HTTPSConnection(host.strip("[]"), int(port), timeout=PATIENCE, context=context)
    try:
        link.connect()
        sent = time.time()
        link.request("GET", "/health")
        answer = link.getresponse()
        got = time.time()
    except ssl.SSLCertVerificationError as error:
        hint = " by this clock: is it right?" if error.verify_code in _CLOCK_CODES else ""
        raise InputError(
            f"{file.server}: its certificate is not one of this bundle's authority for this name: "
            f"{error.verify_message}{hint}"
        ) from error
    except (ssl.SSLError, HTTPException) as error:
        raise InputError(
            f"{file.server}: answers, but not as tacit-server does ({error!r}): is it the port for "
            "sites (server.port)?"
        ) from error
    except OSError as error:
        raise InputError(
            f"{file.server}: does not answer ({error}): is tacit-server running there, and does "
            "every firewall on the way let this port through?"
        ) from error
    finally:
        link.close()
    if answer.status != 200:
        raise InputError(f"{file.server}: answers {answer.status}: no tacit-server is there")
    yield f"{file.server} answers, with a certificate of this bundle's authority"
    there = _seconds(answer.getheader("Date"))
    if there is None:
        raise InputError(f"{file.server}: does not tell the time, so that clocks go unchecked")
    if sent - there > AHEAD:
        raise InputError(f"this clock is {sent - there:.0f} s ahead of the coordinator's: set it")
    if there - got > BEHIND:
        raise InputError(f"this clock is {there - got:.0f} s behind the coordinator's: set it")
    yield "clocks agree"


def _seconds(date: str | None) -> float | None:
    try:
        at = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

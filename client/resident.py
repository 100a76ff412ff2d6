"""A site's process while it is connected: model warm, ledger open, one message after another."""

import logging
import threading
from collections.abc import Callable

from flwr.app import Context, Message

from client import door
from client.app import build_client_app
from client.fleet import serve
from client.ledger_home import open_ledger
from client.secure import SecureSums
from client.setup import make_site, take_stock
from client.site_file import SiteFile
from tacit.errors import ConfigurationError, InputError
from tacit.logs import set_up
from tacit.privacy.policy import Reason
from tacit.privacy_settings import protected
from tacit.settings import Settings
from tacit.trust.bundle import SiteBundle, load_site_bundle, warnings
from tacit.trust.validity import utc_now

log = logging.getLogger(__name__)


def stay(file: SiteFile, settings: Settings) -> None:
    """Make the site ready and answer until a signal ends the process."""
    set_up(file.log, file.name)
    bundle = open_bundle(file)
    for sentence in warnings(bundle):
        log.warning("%s", sentence)
    holdings = take_stock(file, settings)
    log.info("ready for %s with model %s", holdings.card.name, holdings.prepared.model_sha256)
    unit, relation = protected(settings.privacy)
    with open_ledger(
        file.ledger,
        file.data_set,
        unit=unit,
        relation=relation,
        delta=file.limits.lifetime_delta,
    ) as ledger:
        identities = {m.name: m.identity for m in bundle.roster.valid(utc_now())}
        sizes = holdings.prepared.declared_units
        sums = SecureSums(file.name, bundle.identity, identities, sizes)
        site = make_site(file, holdings, ledger, sums, identities.keys() & sizes.keys())
        serve(
            address=file.address,
            ca=bundle.ca,
            node_key=bundle.node_key,
            app=patient(build_client_app(lambda context: site)),
            name=file.name,
            stop=threading.Event(),
            # The connection says so itself.
            on_state=lambda state: None,
            heartbeat=file.heartbeat,
        )


def patient(
    app: Callable[[Message, Context], Message],
) -> Callable[[Message, Context], Message]:
    """Refuse what this machine cannot do now, and stay: a disk that is full gets room again."""

    def answer(message: Message, context: Context) -> Message:
        try:
            return app(message, context)
        except InputError as error:
            log.error("could not answer: %s", error)
            return door.refuse(message, Reason.NOT_AVAILABLE)

    return answer


def open_bundle(file: SiteFile) -> SiteBundle:
    """Read the site's keys and check that they are this site's.

    Raises
    ------
    TrustError
        The bundle cannot be used.
    ConfigurationError
        It is another site's.
    """
    bundle = load_site_bundle(file.bundle)
    if bundle.name != file.name:
        raise ConfigurationError(
            f"bundle={file.bundle}: belongs to {bundle.name!r}, and site.yaml is {file.name!r}'s"
        )
    return bundle

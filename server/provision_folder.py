"""The coordinator's folder of keys: made once, then changed site by site.

::

    DIR/authority/{ca.key,ca.pem}     stays offline
    DIR/server/                       the coordinator's bundle
    DIR/sites/NAME/                   a bundle for each site
    DIR/old/NAME-VERSION/             keys that were replaced

No private key is ever overwritten. A change counts from the moment the signed roster in DIR/server
is exchanged, which happens at once or not at all; what comes after it, handing the new files over
and the roster to every bundle, is finished by the next command if it was stopped.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from server.provision_files import (
    CA_KEY,
    PARTIAL,
    make_authority,
    make_common,
    make_server,
    make_site,
    new_folder,
    partial_folder,
)
from tacit.errors import ConfigurationError, TrustError
from tacit.files import replace_file
from tacit.trust import bundle
from tacit.trust.certificates import (
    Authority,
    certified_key,
    client_certificate,
    load_certificate,
    server_certificate,
    to_pem,
)
from tacit.trust.hosts import Hosts
from tacit.trust.keys import FOLDER, load_ec_key, write_public
from tacit.trust.member import Member
from tacit.trust.names import SERVER_NAME, check_name
from tacit.trust.request import read_request
from tacit.trust.roster import Roster, newer, revoke

AUTHORITY: Final = "authority"
SERVER: Final = "server"
SITES: Final = "sites"
OLD: Final = "old"

_KEYS: Final = (bundle.NODE_KEY, bundle.IDENTITY, bundle.WATCH_KEY, bundle.WATCH_CERTIFICATE)
"""What is new in a bundle when its keys are."""


def make_folder(path: Path, names: Sequence[str], hosts: Hosts, now: datetime) -> None:
    """Make an authority, the coordinator's bundle and one for each site.

    Raises
    ------
    ConfigurationError
        A name is malformed or given twice.
    TrustError
        The folder is there already.
    """
    for name in names:
        check_name(name)
        if names.count(name) > 1:
            raise ConfigurationError(f"--site {name}: is given more than once")
    with new_folder(path) as partial:
        authority = make_authority(partial / AUTHORITY, now)
        make_server(partial / SERVER, authority, hosts, now)
        (partial / SITES).mkdir(FOLDER)
        members = []
        for name in names:
            site = partial / SITES / name
            site.mkdir(FOLDER)
            members.append(make_site(site, name, authority, None, now))
            make_common(site, name, authority, hosts)
        roster = Roster.sign(1, now, tuple(members), authority.key)
        write_public(partial / SERVER / bundle.ROSTER, roster.to_bytes())
        _hand_out(partial, roster, authority.certificate)


def add_site(path: Path, name: str, request: Path | None, now: datetime) -> None:
    """Enrol a site: with the keys of its own request, or with keys made here.

    Raises
    ------
    ConfigurationError
        The name is malformed or listed already.
    TrustError
        The folder or the request cannot be used.
    """
    check_name(name)
    with _opened(path) as opened:
        if _counts(opened.roster, name):
            raise ConfigurationError(
                f"{name} is in the roster: tacit-provision renew {path} {name} gives it new keys"
            )
        _enlist(opened, name, request, now)


def renew_site(path: Path, name: str, request: Path | None, now: datetime) -> None:
    """Give a site new keys and revoke the ones it has.

    Raises
    ------
    ConfigurationError
        The site is not listed, or made its own keys and no request is given.
    TrustError
        The folder or the request cannot be used.
    """
    with _opened(path) as opened:
        _check_listed(opened, name)
        if request is None and not (path / SITES / name / bundle.IDENTITY).exists():
            raise ConfigurationError(
                f"{path / SITES / name} holds no private keys: the site makes new ones "
                f"(tacit-provision keys FOLDER {name}), then: "
                f"tacit-provision renew {path} {name} --keys FILE"
            )
        _enlist(opened, name, request, now)


def revoke_site(path: Path, name: str, now: datetime) -> None:
    """Mark a site's keys as revoked.

    Raises
    ------
    ConfigurationError
        The site is not listed, or revoked already.
    TrustError
        The folder cannot be used.
    """
    with _opened(path) as opened:
        _check_listed(opened, name)
        _publish(opened, _next(opened, revoke(opened.roster.members, name, now), now))


def renew_server(path: Path, now: datetime) -> None:
    """Issue the coordinator's certificates anew, for the same keys, names and addresses.

    Raises
    ------
    TrustError
        The folder cannot be used, or the authority has expired.
    """
    with _opened(path) as opened:
        server, authority = path / SERVER, opened.authority
        hosts = Hosts.of(load_certificate(server / bundle.SERVER_CERTIFICATE))
        key, watch = (load_ec_key(server / k) for k in (bundle.SERVER_KEY, bundle.WATCH_KEY))
        issued = {
            bundle.SERVER_CERTIFICATE: server_certificate(authority, key.public_key(), hosts, now),
            bundle.WATCH_CERTIFICATE: client_certificate(
                authority, watch.public_key(), SERVER_NAME, now
            ),
        }
        for file, certificate in issued.items():
            replace_file(server / file, to_pem(certificate))


@dataclass(frozen=True, slots=True)
class _Opened:
    path: Path
    authority: Authority
    roster: Roster


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """Hold the folder alone, with whatever an earlier command left unfinished finished."""
    try:
        lock = os.open(path / AUTHORITY, os.O_RDONLY)
    except OSError as error:
        raise TrustError(
            f"{path / AUTHORITY}: cannot be opened: {error.strerror}; tacit-provision init makes "
            "it, and changes need it"
        ) from error
    try:
        _hold(lock, path)
        authority = Authority.load(path / AUTHORITY / CA_KEY, path / AUTHORITY / bundle.CA)
        server = bundle.read_server_bundle(path / SERVER)
        if server.authority != authority.certificate:
            raise TrustError(f"{path / SERVER / bundle.CA}: is not that of {path / AUTHORITY}")
        _finish(path, server.roster, server.authority)
        yield _Opened(path, authority, server.roster)
    finally:
        os.close(lock)


def _hold(lock: int, path: Path) -> None:
    # Two at once would sign two rosters of the same version.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrustError(
            f"{path}: another tacit-provision is at work in it: wait for it"
        ) from error


def _counts(roster: Roster, name: str) -> bool:
    latest = roster.latest(name)
    return latest is not None and latest.revoked is None


def _check_listed(opened: _Opened, name: str) -> None:
    if not _counts(opened.roster, name):
        raise ConfigurationError(
            f"{name} is not in the roster, or is revoked: tacit-provision status {opened.path} "
            f"shows who is; tacit-provision add {opened.path} {name} enrols it"
        )


def _enlist(opened: _Opened, name: str, request: Path | None, now: datetime) -> None:
    """Revoke a site's entry, if it has one, add another, and hand the new files over."""
    site = opened.path / SITES / name
    handed_in = None if request is None else read_request(request)
    if handed_in is not None and handed_in.name != name:
        raise TrustError(f"{request}: is the request of {handed_in.name!r}, not of {name!r}")
    with partial_folder(site) as partial:
        member = make_site(partial, name, opened.authority, handed_in, now)
        if not site.exists():
            server = load_certificate(opened.path / SERVER / bundle.SERVER_CERTIFICATE)
            make_common(partial, name, opened.authority, Hosts.of(server))
        roster = _next(opened, (*revoke(opened.roster.members, name, now), member), now)
    _publish(opened, roster)


def _next(opened: _Opened, members: tuple[Member, ...], now: datetime) -> Roster:
    return Roster.sign(opened.roster.version + 1, now, members, opened.authority.key)


def _publish(opened: _Opened, roster: Roster) -> None:
    # From here on it counts: the coordinator's roster is the one that all others follow.
    replace_file(opened.path / SERVER / bundle.ROSTER, roster.to_bytes())
    _finish(opened.path, roster, opened.authority.certificate)


def _finish(path: Path, roster: Roster, ca: x509.Certificate) -> None:
    """Hand over new files of sites that the roster lists, and the roster to every site."""
    for partial in sorted((path / SITES).glob(f"*{PARTIAL}")):
        certificate = partial / bundle.WATCH_CERTIFICATE
        latest = roster.latest(partial.stem)
        if not any(partial.iterdir()):
            partial.rmdir()
        elif (
            latest is not None
            and certificate.exists()
            and certified_key(load_certificate(certificate)) == latest.watch
        ):
            _hand_over(partial, path / SITES / latest.name, path / OLD, roster.version)
    _hand_out(path, roster, ca)


def _hand_over(partial: Path, site: Path, old: Path, version: int) -> None:
    """Put a site's new files in place, its old keys aside; to be called again if it is stopped."""
    if not site.exists():
        partial.rename(site)
        return
    aside = old / f"{site.name}-{version}"
    if not aside.exists():
        moving = aside.with_name(aside.name + PARTIAL)
        old.mkdir(FOLDER, exist_ok=True)
        moving.mkdir(FOLDER, exist_ok=True)
        for file in _KEYS:
            if (site / file).exists():
                (site / file).rename(moving / file)
        moving.rename(aside)
    # The certificate last: it says whose files these are.
    for new in sorted(partial.iterdir(), key=lambda file: file.name == bundle.WATCH_CERTIFICATE):
        new.rename(site / new.name)
    partial.rmdir()


def _hand_out(path: Path, roster: Roster, ca: x509.Certificate) -> None:
    """Give every site the coordinator's roster, which must be the newest that any of them has."""
    for site in sorted((path / SITES).iterdir()):
        if site.suffix == PARTIAL or not site.is_dir():
            continue
        file = site / bundle.ROSTER
        # An old copy put back into DIR/server would give one version twice, with other entries.
        if not file.exists() or _newest(file, roster, ca) is roster:
            replace_file(file, roster.to_bytes())


def _newest(file: Path, roster: Roster, ca: x509.Certificate) -> Roster:
    known = Roster.read(file, ca)
    try:
        return newer(known, roster)
    except TrustError as error:
        raise TrustError(
            f"{file} is not older than that of the coordinator: {error}: put the newest "
            f"{bundle.ROSTER} back into the coordinator's folder"
        ) from error

"""What goes into the folders that tacit-provision makes, and how a folder comes to be whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.provision_template import site_yaml
from tacit.errors import TrustError
from tacit.trust import bundle
from tacit.trust.certificates import (
    Authority,
    client_certificate,
    server_certificate,
    term,
    to_pem,
)
from tacit.trust.hosts import Hosts
from tacit.trust.keys import (
    FOLDER,
    ec_public_key,
    make_ec_key,
    make_identity,
    public_bytes,
    write_private,
    write_public,
)
from tacit.trust.member import Member
from tacit.trust.names import SERVER_NAME, check_name
from tacit.trust.request import Request, make_request

CA_KEY: Final = "ca.key"
SITE_FILE: Final = "site.yaml"
PARTIAL: Final = ".partial"
"""Ending of a folder that is not whole yet; no site's name has a dot."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill; it gets its name once it is complete."""
    if os.path.lexists(path):
        raise TrustError(f"{path}: is there already, and nothing is overwritten: name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_folder(path) as partial:
        yield partial
        partial.rename(path)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside `path` to fill; it goes again when that fails."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.mkdir(FOLDER)
    except FileExistsError as error:
        raise TrustError(
            f"{partial}: is left of a command that was stopped before anything counted, or one is "
            "at work: remove it and try again"
        ) from error
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial)
        raise


def make_own_keys(folder: Path, name: str) -> Path:
    """Make a site's keys at the site, and the public request that it hands in.

    Returns
    -------
    Path
        The request.

    Raises
    ------
    ConfigurationError
        The name is malformed.
    TrustError
        The folder is there already.
    """
    check_name(name)
    request = f"{name}.request.json"
    with new_folder(folder) as partial:
        write_public(partial / request, make_request(name, *_make_keys(partial)))
    return folder / request


def make_authority(folder: Path, now: datetime) -> Authority:
    """Make an authority and write it into a new folder."""
    authority = Authority.make(make_ec_key(), now)
    folder.mkdir(FOLDER)
    write_private(folder / CA_KEY, authority.key)
    write_public(folder / bundle.CA, to_pem(authority.certificate))
    return authority


def make_server(folder: Path, authority: Authority, hosts: Hosts, now: datetime) -> None:
    """Write the coordinator's bundle into a new folder, all but the roster."""
    folder.mkdir(FOLDER)
    key, watch = make_ec_key(), make_ec_key()
    write_private(folder / bundle.SERVER_KEY, key)
    write_private(folder / bundle.WATCH_KEY, watch)
    certificate = server_certificate(authority, key.public_key(), hosts, now)
    watching = client_certificate(authority, watch.public_key(), SERVER_NAME, now)
    write_public(folder / bundle.SERVER_CERTIFICATE, to_pem(certificate))
    write_public(folder / bundle.WATCH_CERTIFICATE, to_pem(watching))
    write_public(folder / bundle.CA, to_pem(authority.certificate))


def make_common(folder: Path, name: str, authority: Authority, hosts: Hosts) -> None:
    """Write what stays the same in a site's bundle when its keys are renewed."""
    write_public(folder / bundle.CA, to_pem(authority.certificate))
    write_public(folder / SITE_FILE, site_yaml(name, hosts.first).encode())


def make_site(
    folder: Path, name: str, authority: Authority, request: Request | None, now: datetime
) -> Member:
    """Write what a site's keys need: themselves, unless it made its own, and a certificate."""
    if request is None:
        keys = (public_bytes(key.public_key()) for key in _make_keys(folder))
        request = Request(name, *keys)
    certificate = client_certificate(authority, ec_public_key(request.watch), name, now)
    write_public(folder / bundle.WATCH_CERTIFICATE, to_pem(certificate))
    since, until = term(authority, now)
    return Member(name, request.node, request.identity, request.watch, since, until)


def _make_keys(
    folder: Path,
) -> tuple[EllipticCurvePrivateKey, Ed25519PrivateKey, EllipticCurvePrivateKey]:
    node, identity, watch = make_ec_key(), make_identity(), make_ec_key()
    write_private(folder / bundle.NODE_KEY, node)
    write_private(folder / bundle.IDENTITY, identity)
    write_private(folder / bundle.WATCH_KEY, watch)
    return node, identity, watch

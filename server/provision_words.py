"""The words of tacit-provision: what each takes and says."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from commands.typed import app_of
from server.provision_files import make_own_keys
from server.provision_folder import (
    SERVER,
    SITES,
    add_site,
    make_folder,
    renew_server,
    renew_site,
    revoke_site,
)
from tacit.trust import bundle
from tacit.trust.certificates import fingerprint, load_certificate
from tacit.trust.hosts import Hosts
from tacit.trust.names import SERVER_NAME
from tacit.trust.validity import Validity, utc_now

app = app_of("tacit-provision")

_Dir = Annotated[Path, typer.Argument(metavar="DIR")]
_Name = Annotated[str, typer.Argument(metavar="NAME")]
_Keys = Annotated[Path | None, typer.Option("--keys", metavar="FILE")]
_Texts = list[str]


@app.command()
def init(
    path: _Dir,
    site: Annotated[_Texts | None, typer.Option("--site")] = None,
    name: Annotated[_Texts | None, typer.Option("--name")] = None,
    address: Annotated[_Texts | None, typer.Option("--address")] = None,
) -> None:
    """Make an authority, the coordinator's bundle and one for each site."""
    hosts = Hosts.parse(name or [], address or [])
    make_folder(path, site or [], hosts, utc_now())
    authority = bundle.read_server_bundle(path / SERVER).authority
    print(f"made {path}: a coordinator at {hosts} and {_counted(len(site or []), 'site')}")
    print(f"the authority's fingerprint, to compare with each site: {fingerprint(authority)}")
    print(f"next: {path}/authority goes offline, {path / SERVER} to the coordinator's machine,")
    print(f"  {path / SITES}/NAME to the site NAME and to nobody else")


@app.command()
def add(path: _Dir, name: _Name, keys: _Keys = None) -> None:
    """Enrol another site."""
    add_site(path, name, keys, utc_now())
    _say_enrolled(path, name, keys)


@app.command()
def renew(path: _Dir, name: _Name, keys: _Keys = None) -> None:
    """Give a site new keys, or the coordinator new certificates."""
    if name != SERVER_NAME:
        renew_site(path, name, keys, utc_now())
        _say_enrolled(path, name, keys)
        return
    if keys is not None:
        raise typer.BadParameter("--keys is for a site: the coordinator keeps its own")
    renew_server(path, utc_now())
    files = f"{bundle.SERVER_CERTIFICATE} and {bundle.WATCH_CERTIFICATE}"
    print(f"renewed: copy {files} of {path / SERVER} to the coordinator's machine")


@app.command()
def revoke(path: _Dir, name: _Name) -> None:
    """Let a site in no longer."""
    revoke_site(path, name, utc_now())
    print(f"revoked: {name}")
    _say_roster(path)


@app.command()
def status(path: _Dir) -> None:
    """Show who there is and until when."""
    from rich.console import Console
    from rich.table import Table

    now = utc_now()
    server = bundle.read_server_bundle(path / SERVER)
    table = Table(box=None, pad_edge=False)
    for column in ("", "from", "until", "days left", ""):
        table.add_column(column, justify="right" if column == "days left" else "left")

    def row(what: str, counts: Validity, note: str) -> None:
        since, until = (f"{moment:%Y-%m-%d}" for moment in (counts.since, counts.until))
        table.add_row(what, since, until, str(counts.days_left(now)), note)

    authority, certificate, watching = server.own
    row("authority", authority, "")
    row("server", certificate, str(Hosts.of(load_certificate(server.certificate))))
    row("server, to watch", watching, "")
    for member in sorted(server.roster.members, key=lambda m: m.name):
        gone = member.revoked
        row(member.name, member.validity, f"revoked on {gone:%Y-%m-%d}" if gone else "")
    console = Console(highlight=False, markup=False)
    console.print(table)
    print(f"roster: version {server.roster.version} of {server.roster.created:%Y-%m-%d}")
    print(f"authority's fingerprint: {fingerprint(server.authority)}")
    for sentence in bundle.warnings(server, now):
        print(f"warning: {sentence.replace('DIR', str(path))}")


@app.command()
def keys(folder: Annotated[Path, typer.Argument(metavar="FOLDER")], name: _Name) -> None:
    """Make a site's keys at the site."""
    request = make_own_keys(folder, name)
    print(f"made {folder}: its *.key never leave this machine")
    print(f"next: hand in {request}, SHA-256 {_sha256(request)};")
    print(f"  what the coordinator sends for it goes into {folder} too")


def _say_enrolled(path: Path, name: str, request: Path | None) -> None:
    if request is not None:
        print(f"{request} has SHA-256 {_sha256(request)}: compare it with the site")
    print(f"enrolled: {path / SITES / name} goes to the site and to nobody else")
    _say_roster(path)


def _say_roster(path: Path) -> None:
    roster = bundle.read_server_bundle(path / SERVER).roster
    print(
        f"it counts once {path / SERVER / bundle.ROSTER} (version {roster.version}) is on the "
        "coordinator's machine"
    )


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

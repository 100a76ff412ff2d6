"""An authority, members and bundles, with a clock of the test's own."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from server.provision_folder import make_folder
from tacit.errors import TrustError
from tacit.trust.certificates import Authority, term
from tacit.trust.hosts import Hosts
from tacit.trust.keys import make_ec_key, make_identity, public_bytes
from tacit.trust.member import Member
from tacit.trust.roster import Roster

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTS = Hosts.parse(["coordinator.example", "localhost"], ["192.0.2.1", "127.0.0.1"])
SITES = ("county", "referral")


@cache
def authority(number: int = 0) -> Authority:
    """An authority; another number is another one."""
    return Authority.make(make_ec_key(), NOW)


@cache
def member(name: str, number: int = 0) -> Member:
    """A site's entry; another number has other keys."""
    node, identity, watch = (
        public_bytes(key.public_key()) for key in (make_ec_key(), make_identity(), make_ec_key())
    )
    return Member(name, node, identity, watch, *term(authority(), NOW))


def roster(*members: Member, version: int = 1) -> Roster:
    return Roster.sign(version, NOW, members, authority().key)


def folder(path, sites=SITES, now=NOW):
    make_folder(path, sites, HOSTS, now)
    return path


def refused(action, *words: str) -> str:
    """Check that an action is refused, with a message that has these words."""
    with pytest.raises(TrustError) as caught:
        action()
    said = str(caught.value)
    for word in words:
        assert word in said
    return said

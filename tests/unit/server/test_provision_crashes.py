"""A command of tacit-provision that is killed: at every step, and what the next one makes of it."""

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server import provision_folder
from server.provision_files import make_own_keys
from server.provision_folder import (
    add_site,
    make_folder,
    renew_server,
    renew_site,
    revoke_site,
)
from tacit.errors import ConfigurationError, TrustError
from tacit.trust.bundle import load_server_bundle, load_site_bundle
from tacit.trust.hosts import Hosts
from tacit.trust.roster import newer

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
HOSTS = Hosts.parse(["coordinator.example"], [])
STEPS = ("mkdir", "rename", "replace", "rmdir", "fsync", "unlink")
MOST_STEPS = 200


class Killed(BaseException):
    """The process is gone: nothing more of it happens."""


class Kill:
    """Let so many changes to the disk happen, and none after them."""

    def __init__(self, monkeypatch, steps: int) -> None:
        self.left = steps
        for name in STEPS:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, real):
        def step(*args, **kwargs):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return real(*args, **kwargs)

        return step


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made")
    make_folder(path / "fed", ["county", "referral"], HOSTS, NOW)
    make_own_keys(path / "own", "county")
    make_own_keys(path / "uni", "uni")
    return path


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """What a killed process wrote is kept by the system; a power cut is not what is tried here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed(action, steps: int) -> bool:
    """Run an action that is killed after so many steps; return whether it got to its end."""
    with pytest.MonkeyPatch.context() as patch:
        kill = Kill(patch, steps)
        try:
            action()
        except Killed:
            return False
        finally:
            kill.left = -1
    return True


def again(action) -> None:
    """Do it again as a person would, who reads what is said and does that."""
    said = refusal(action)
    if left := re.match(r"(\S+\.partial): is left of .*: remove it and try again$", said):
        shutil.rmtree(left[1])
        said = refusal(action)
    # Or it had counted already, and is finished now.
    assert re.search("^$|is in the roster|is revoked|is listed already", said), said


def refusal(action) -> str:
    try:
        action()
    except (ConfigurationError, TrustError) as error:
        return str(error)
    return ""


def check_bundles(fed: Path, before, sites) -> None:
    roster = newer(before, load_server_bundle(fed / "server", NOW).roster)
    assert sorted(m.name for m in roster.valid(NOW)) == sorted(sites)
    for name in sites:
        if (fed / "sites" / name / "node.key").exists():
            assert load_site_bundle(fed / "sites" / name, NOW).roster == roster
        else:
            assert not list((fed / "sites" / name).glob("*.key"))


CHANGES = {
    "add": (lambda p: add_site(p / "fed", "screening", None, NOW), ["screening"]),
    "add with own keys": (
        lambda p: add_site(p / "fed", "uni", p / "uni/uni.request.json", NOW),
        ["uni"],
    ),
    "renew": (lambda p: renew_site(p / "fed", "county", None, NOW), []),
    "renew with own keys": (
        lambda p: renew_site(p / "fed", "county", p / "own/county.request.json", NOW),
        [],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_killed_anywhere_is_undone_or_finished_by_the_next(name, made, tmp_path):
    change, more = CHANGES[name]
    before = load_server_bundle(made / "fed/server", NOW).roster
    for steps in range(MOST_STEPS):
        work = shutil.copytree(made, tmp_path / str(steps))
        ended = killed(lambda work=work: change(work), steps)
        # Whatever comes next, nobody's keys are exchanged unless the roster says so.
        renew_server(work / "fed", NOW)
        roster = load_server_bundle(work / "fed/server", NOW).roster
        counted = ["county", "referral", *(name for name in more if roster.latest(name))]
        check_bundles(work / "fed", before, counted)
        if not ended:
            again(lambda work=work: change(work))
        check_bundles(work / "fed", before, ["county", "referral", *more])
        assert not list((work / "fed").rglob("*.partial"))
        if ended:
            assert steps > 5
            return
        shutil.rmtree(work)
    pytest.fail("it never came to its end")


def test_a_revocation_killed_anywhere_is_finished_by_any_next_command(made, tmp_path):
    before = load_server_bundle(made / "fed/server", NOW).roster
    for steps in range(MOST_STEPS):
        work = shutil.copytree(made, tmp_path / str(steps))
        ended = killed(lambda work=work: revoke_site(work / "fed", "county", NOW), steps)
        if not ended:
            again(lambda work=work: revoke_site(work / "fed", "county", NOW))
        check_bundles(work / "fed", before, ["referral"])
        if ended:
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: make_folder(path / "x", ["county"], HOSTS, NOW),
        lambda path: make_own_keys(path / "x", "county"),
    ],
)
def test_a_folder_that_was_not_finished_is_not_there_and_the_next_try_says_why(make, tmp_path):
    for steps in range(MOST_STEPS):
        work = tmp_path / str(steps)
        work.mkdir()
        if killed(lambda work=work: make(work), steps):
            assert [p.name for p in work.iterdir()] == ["x"]
            return
        assert not (work / "x").exists()
        again(lambda work=work: make(work))
        assert [p.name for p in work.iterdir()] == ["x"]
    pytest.fail("it never came to its end")


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    """Not killed but refused, by Ctrl-C or a full disk: what was begun goes again."""

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        make_folder(tmp_path / "x", ["county"], HOSTS, NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_of_one_site_does_not_stop_the_revocation_of_another(made, tmp_path):
    work = shutil.copytree(made, tmp_path / "work")
    (work / "fed/sites/county.partial").mkdir()
    (work / "fed/sites/county.partial/node.key").write_text("x")
    revoke_site(work / "fed", "referral", NOW)
    assert load_site_bundle(work / "fed/sites/county", NOW).roster.version == 2
    with pytest.raises(TrustError, match=r"county\.partial: is left of"):
        renew_site(work / "fed", "county", None, NOW)


def test_planted_a_roster_that_counts_before_the_keys_are_kept_loses_them(
    made, tmp_path, monkeypatch
):
    """The tests above notice when the order is the wrong one."""

    def too_early(path, roster, ca):
        (path / "server/roster.json").write_bytes(roster.to_bytes())
        shutil.rmtree(path / "sites/screening.partial")

    work = shutil.copytree(made, tmp_path / "work")
    before = load_server_bundle(work / "fed/server", NOW).roster
    with monkeypatch.context() as patch:
        patch.setattr(provision_folder, "_finish", too_early)
        with pytest.raises(FileNotFoundError):
            add_site(work / "fed", "screening", None, NOW)
    with pytest.raises((TrustError, AssertionError)):
        check_bundles(work / "fed", before, ["county", "referral", "screening"])

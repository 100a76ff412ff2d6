"""The checks of the soak find what they are there for: each thing that must not be is planted."""

import json

import pytest

from benchmarks.invariants import BrokenError, check, check_end, left, rounds
from tacit.errors import LedgerError
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.ledger_view import reply_sha256
from tacit.privacy.policy import Plan, Policy

ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=2, clipping_norm=1.0)
PLAN = Plan(run="a", event=ROUND, rounds=3, epsilon=4.0, delta=1e-5)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=10.0, delta_per_run=1e-5)
REPLY = [b"weights"]


class Scene:
    """What a deployment of one site leaves after a round in which it replied."""

    sites = ("north",)

    def __init__(self, folder):
        self.folder = folder
        self.run_dir = folder / "RUN"
        self.found = []
        for each in ("RUN", "north/ledger", "state/tacit/heads", "faults/north"):
            (folder / each).mkdir(parents=True)
        self.book = Ledger.open(
            self.ledger("north"),
            data_set="ward",
            unit=Unit.RECORD,
            relation=Relation.ADD_OR_REMOVE_ONE,
            delta=1e-5,
            head_path=folder / "state" / "tacit" / "heads" / "ward.head",
        )
        self.book.reserve(PLAN, POLICY)
        self.charge = self.book.charge("a", "r1", ROUND, POLICY)
        self.book.store_reply(self.charge, REPLY)
        self.leave(reply_sha256(REPLY), "w1")
        self.done(1)

    def site_file(self, site):
        return self.folder / site / "site.yaml"

    def ledger(self, site):
        return self.folder / site / "ledger" / "ward.sqlite"

    def orphans(self):
        return self.found

    def leave(self, kept, weights):
        with (self.folder / "faults" / "north" / "left").open("a") as file:
            file.write(f"{kept} {weights}\n")

    def done(self, number):
        with (self.run_dir / "history.jsonl").open("a") as file:
            file.write(json.dumps({"round": number, "replied": ["north"]}) + "\n")

    def end(self, steps):
        sites = {"north": {"steps": steps}}
        results = {"rounds": 1, "privacy": {"guarantees": [{"sites": sites}]}}
        (self.run_dir / "results.json").write_text(json.dumps(results))
        (self.run_dir / "report.html").touch()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.book.close()


def test_what_was_paid_for_holds_and_the_same_reply_may_leave_again(scene):
    scene.leave(reply_sha256(REPLY), "w1")
    assert left(scene, "north") == [(reply_sha256(REPLY), "w1")] * 2
    assert rounds(scene.run_dir) == rounds(scene.run_dir, "north") == [1]
    check(scene)
    scene.end(steps=2)
    check_end(scene)


def test_weights_without_a_charge_are_found(scene):
    scene.leave("no ledger", "w2")
    with pytest.raises(BrokenError, match="weights w2 left, and no row of the ledger pays"):
        check(scene)


def test_two_releases_for_one_charge_are_found(scene):
    scene.leave(reply_sha256(REPLY), "w2")
    with pytest.raises(BrokenError, match="more than one thing left"):
        check(scene)


def test_a_round_that_no_ledger_knows_is_found(scene):
    scene.done(2)
    with pytest.raises(BrokenError, match="was charged for 1"):
        check(scene)


def test_an_old_copy_of_a_ledger_is_found(scene):
    copy = scene.folder / "old"
    scene.book.backup(copy)
    scene.book.charge("a", "r2", ROUND, POLICY)
    scene.book.close()
    copy.replace(scene.ledger("north"))
    with pytest.raises(LedgerError, match="an old copy was put back"):
        check(scene)


def test_a_process_that_was_left_behind_is_found(scene):
    scene.found = [4711]
    with pytest.raises(BrokenError, match="4711"):
        check(scene)


@pytest.mark.parametrize("missing", ["results.json", "report.html"])
def test_an_end_without_its_files_is_found(scene, missing):
    scene.end(steps=2)
    (scene.run_dir / missing).unlink()
    with pytest.raises(BrokenError, match=f"{missing} is missing"):
        check_end(scene)


def test_a_gap_in_the_history_and_too_little_in_the_report_are_found(scene):
    scene.end(steps=1)
    with pytest.raises(BrokenError, match="2 steps were charged and 1 told"):
        check_end(scene)
    (scene.run_dir / "history.jsonl").write_text("")
    with pytest.raises(BrokenError, match="the history has"):
        check_end(scene)

"""A sum over a grid: sites that stay, go, lie and refuse, and what the coordinator makes of it."""

import logging
from copy import deepcopy
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, RecordDict
from secure_example import (
    ALLOWED,
    PART,
    PLAN,
    WEIGHTS,
    joint_of,
    numbers_of_a,
    roster_of,
    stage_of,
    sums_of,
    train_request,
)

from server import secure
from server.secure import Secured, SecureRound
from simulations.grid import LocalGrid
from tacit.errors import RefusedError, TooFewSitesError
from tacit.messages import ARRAYS, LEDGER, SECURE, SUM, SecureRequest, SecureStage
from tacit.privacy.policy import Reason

TRAIN = "train"
STAGES = ("advertise", "share", TRAIN, "agree", "reveal")
BEFORE_SUMMED = STAGES[:3]
RECEIPT = {"count": 3, "head": "a" * 64}


def names(number):
    return tuple(f"site-{letter}" for letter in "abcdefg"[:number])


class Sites:
    """Sites that keep what they are asked.

    Parameters
    ----------
    joint
        What they sum.
    say
        Given the stage, the site and its reply, returns the reply that comes; None for silence.
    """

    def __init__(self, joint, say=None, roster=None):
        self.joint = joint
        self.roster = roster or roster_of(joint.sites)
        self.sums = {site: sums_of(site, self.roster) for site in joint.sites}
        self.asked = []
        self.say = say or (lambda stage, site, reply: reply)
        self.grid = LocalGrid(joint.sites, self._answer)
        self.numbers = count(1)

    def _answer(self, cohort):
        return [self._one(message, site) for message, site in cohort]

    def _one(self, message, site):
        stage, content = TRAIN, None
        if message.metadata.message_type == MessageType.TRAIN:
            work = self._trained
        else:
            assert message.metadata.message_type == "query.secure"
            asked = SecureRequest.from_config(dict(message.content[SECURE]))
            stage, work = asked.stage.value, self._staged
        self.asked.append((stage, site))
        try:
            content = work(message, site)
        except RefusedError as error:
            return self.say(stage, site, Message(Error(1001, error.reason), reply_to=message))
        return self.say(stage, site, Message(content, reply_to=message))

    def _staged(self, message, site):
        asked = SecureRequest.from_config(dict(message.content[SECURE]))
        return said(self.sums[site].answer(asked, ALLOWED))

    def _trained(self, message, site):
        number, dealt = (message.content[SECURE][key] for key in ("number", "content"))
        request = train_request(self.plan_of(site), number=number)
        self.sums[site].ready(request, WEIGHTS, dealt, ALLOWED)
        vector = numbers_of_a(site, self.joint)
        return masked(np.frombuffer(self.sums[site].masked(request, dealt, vector), np.uint8))

    def plan_of(self, site):
        return replace(PLAN, part=replace(PLAN.part, bits=self.joint.bits, largest=2**10))

    def round(self, **changed):
        grid = self.grid
        there = {node: site for node, site in grid.names.items() if site in self.joint.sites}
        fields = {
            "grid": grid,
            "names": there,
            "joint": self.joint,
            "secured": Secured(self.roster, self.numbers),
            "weights": WEIGHTS,
            "timeout": None,
        }
        return SecureRound(**fields | changed)

    def run(self, **changed):
        made = self.round(**changed)
        nodes = {site: node for node, site in self.grid.names.items()}

        def train(dealt):
            return [
                Message(
                    RecordDict({SECURE: ConfigRecord({"number": made.number, "content": content})}),
                    nodes[site],
                    MessageType.TRAIN,
                )
                for site, content in dealt.items()
            ]

        return made.run(train)

    def were_asked(self, stage):
        return [site for each, site in self.asked if each == stage]

    def check(self, summed, sites, failed=None):
        """Check that a sum is of the vectors of these sites, in Python's integers."""
        rows = [numbers_of_a(site, self.joint).tolist() for site in sites]
        expected = [sum(column) % 2**self.joint.bits for column in zip(*rows, strict=True)]
        assert summed.total.tolist() == expected
        assert list(summed.answers) == list(sites)
        assert summed.failed == (failed or {})


def joint_among(sites, bits=32, **changed):
    plan = replace(PLAN, part=replace(PART, bits=bits, largest=2**10))
    return joint_of(sites, plan, **changed)


def said(content):
    return RecordDict({SECURE: ConfigRecord({"content": content})})


def masked(numbers):
    arrays = ArrayRecord({SUM: Array(np.asarray(numbers))})
    return RecordDict({ARRAYS: arrays, LEDGER: ConfigRecord(RECEIPT)})


def silent(*who, at):
    return lambda stage, site, reply: None if site in who and stage == at else reply


def instead(content, *who, at):
    """Have sites say something else at a stage."""

    def say(stage, site, reply):
        if site in who and stage == at:
            reply.content = deepcopy(content)
        return reply

    return say


def refusing(reason, *who, at):
    def say(stage, site, reply):
        if site in who and stage == at:
            vars(reply)["_content"] = None
            reply.error = Error(1001, reason)
        return reply

    return say


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("number", [4, 5, 7])
def test_the_total_is_the_sum_of_integers(number, bits):
    sites = Sites(joint_among(names(number), bits))
    sites.check(sites.run(), names(number))
    assert sites.asked == [(stage, site) for stage in STAGES for site in names(number)]


def test_a_summed_reply_keeps_its_receipt_and_nothing_of_its_part():
    sites = Sites(joint_among(names(4)))
    for message in sites.run().answers.values():
        assert dict(message.content[LEDGER]) == RECEIPT
        assert list(message.content[ARRAYS]) == []


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize(("number", "gone"), [(4, 1), (5, 1), (7, 2)])
def test_a_quorum_is_enough_at_every_stage(number, gone, at):
    everybody = names(number)
    missing = everybody[1 : 1 + gone]
    sites = Sites(joint_among(everybody), silent(*missing, at=at))
    summed = sites.run()
    if at in BEFORE_SUMMED:
        left = [site for site in everybody if site not in missing]
        sites.check(summed, left, dict.fromkeys(missing, "no_reply"))
    else:
        sites.check(summed, everybody)
    assert sites.were_asked("given_up") == []


def test_sites_may_go_one_after_the_other_down_to_the_quorum():
    leaving = {"share": "site-b", TRAIN: "site-f"}
    sites = Sites(
        joint_among(names(7)),
        lambda stage, site, reply: None if leaving.get(stage) == site else reply,
    )
    left = [site for site in names(7) if site not in leaving.values()]
    sites.check(sites.run(), left, dict.fromkeys(["site-b", "site-f"], "no_reply"))
    assert sites.were_asked(TRAIN) == [site for site in names(7) if site != "site-b"]
    assert sites.were_asked("agree") == left


def test_a_site_that_has_not_joined_is_missing():
    joint = joint_among(names(4))
    sites = Sites(joint)
    there = {node: site for node, site in sites.grid.names.items() if site != "site-c"}
    left = [site for site in names(4) if site != "site-c"]
    sites.check(sites.run(names=there), left, {"site-c": "no_reply"})
    assert "site-c" not in {site for _, site in sites.asked}


def gave_up(sites, number=1):
    """Check that every site was told, and has let go of its secrets."""
    assert sorted(sites.were_asked("given_up")) == list(sites.joint.sites)
    for each in sites.sums.values():
        for stage in (SecureStage.SHARE, SecureStage.AGREE, SecureStage.REVEAL):
            with pytest.raises(RefusedError, match=f"sum {number} did not begin here, or is over"):
                each.answer(stage_of(stage, number=number), ALLOWED)


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize(("number", "gone"), [(4, 2), (7, 3)])
def test_with_too_few_at_any_stage_all_are_told_and_it_is_said_why(number, gone, at):
    missing = names(number)[-gone:]
    sites = Sites(joint_among(names(number)), silent(*missing, at=at))
    with pytest.raises(TooFewSitesError, match="sum 1 of run-1 is given up") as failed:
        sites.run()
    assert failed.value.reasons == dict.fromkeys(missing, "no_reply")
    gave_up(sites)
    after = STAGES[STAGES.index(at) + 1 :]
    assert not {stage for stage, _ in sites.asked} & set(after)


def test_a_sum_of_fewer_than_were_agreed_on_is_not_asked_for():
    """Five of seven are a quorum, and all were told that six would be in it."""
    joint = joint_among(names(7))
    joint = joint_among(names(7), terms=replace(joint.terms, others=5))
    sites = Sites(joint, silent("site-b", "site-c", at=TRAIN))
    with pytest.raises(TooFewSitesError, match="5 of 7 sites sent their part and 6 are") as failed:
        sites.run()
    assert failed.value.reasons == dict.fromkeys(["site-b", "site-c"], "no_reply")
    assert sites.were_asked("agree") == []
    gave_up(sites)


def garbage_at(stage, content=b"garbage"):
    return masked(np.frombuffer(content, np.uint8)) if stage == TRAIN else said(content)


@pytest.mark.parametrize("at", STAGES)
def test_whoever_sends_garbage_is_left_out_and_named(at):
    sites = Sites(joint_among(names(4)), instead(garbage_at(at), "site-b", at=at))
    summed = sites.run()
    if at in BEFORE_SUMMED:
        sites.check(summed, ["site-a", "site-c", "site-d"], {"site-b": "malformed"})
        later = STAGES[STAGES.index(at) + 1 :]
        assert [stage for stage, site in sites.asked if site == "site-b" and stage in later] == []
    else:
        sites.check(summed, names(4))


@pytest.mark.parametrize("at", STAGES)
def test_where_too_many_send_garbage_it_is_said_who_did(at):
    bad = ("site-a", "site-d")
    sites = Sites(joint_among(names(4)), instead(garbage_at(at), *bad, at=at))
    with pytest.raises(TooFewSitesError) as failed:
        sites.run()
    assert failed.value.reasons == dict.fromkeys(bad, "malformed")
    gave_up(sites)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        said("text"),
        said(7),
        RecordDict({SECURE: ConfigRecord()}),
        RecordDict({SECURE: ArrayRecord()}),
        RecordDict({"other": ConfigRecord({"content": b"x"})}),
    ],
    ids=["nothing", "text", "number", "no content", "arrays", "another record"],
)
@pytest.mark.parametrize("at", ["advertise", "share"])
def test_a_reply_that_is_no_stage_is_malformed(content, at):
    sites = Sites(joint_among(names(4)), instead(content, "site-b", at=at))
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})


def of_arrays(**arrays):
    made = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return RecordDict({ARRAYS: made, LEDGER: ConfigRecord(RECEIPT)})


MOST = PART.dimension * 4 + (1 << 20)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (masked(np.zeros(100, np.float32)), "is float32 of shape"),
        (masked(np.zeros(100, np.int8)), "is int8 of shape"),
        (masked(np.zeros(100, np.uint16)), "is uint16 of shape"),
        (masked(np.zeros((10, 10), np.uint8)), "is uint8 of shape"),
        (masked(np.uint8(1)), "is uint8 of shape"),
        (masked(np.zeros(MOST + 1, np.uint8)), f"is uint8 of shape ({MOST + 1},)"),
        (of_arrays(sum=np.zeros(9, np.uint8), more=np.zeros(9, np.uint8)), "is not one masked"),
        (of_arrays(weights=np.zeros(9, np.uint8)), "is not one masked"),
        (of_arrays(), "is not one masked"),
        (RecordDict({LEDGER: ConfigRecord(RECEIPT)}), "it holds no weights"),
        (RecordDict({ARRAYS: masked(np.zeros(9, np.uint8))[ARRAYS]}), "or no receipt"),
    ],
)
def test_a_masked_part_is_one_row_of_bytes(content, words, caplog):
    sites = Sites(joint_among(names(4)), instead(content, "site-b", at=TRAIN))
    with caplog.at_level(logging.WARNING):
        sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})
    assert words in caplog.text


def test_bytes_that_are_no_array_are_malformed():
    broken = masked(np.zeros(9, np.uint8))
    broken[ARRAYS][SUM] = Array("uint8", (9,), "numpy.ndarray", b"not npy")
    sites = Sites(joint_among(names(4)), instead(broken, "site-b", at=TRAIN))
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})


def test_a_masked_part_of_the_most_bytes_is_read_and_found_wrong(caplog):
    content = masked(np.zeros(MOST, np.uint8))
    sites = Sites(joint_among(names(4)), instead(content, "site-b", at=TRAIN))
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})
    assert "site-b: this is not the MaskedInput that was awaited" in caplog.text


def test_a_part_of_another_length_is_malformed():
    def say(stage, site, reply):
        if stage == TRAIN and site == "site-b":
            sent = reply.content[ARRAYS][SUM].numpy()
            reply.content = masked(np.concatenate([sent, sent[:4]]))
        return reply

    sites = Sites(joint_among(names(4)), say)
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})


@pytest.mark.parametrize("at", BEFORE_SUMMED)
@pytest.mark.parametrize("reason", [Reason.BUDGET, Reason.SECURE_AGGREGATION_REQUIRED])
def test_why_a_site_refuses_comes_through(reason, at):
    sites = Sites(joint_among(names(4)), refusing(reason, "site-b", at=at))
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": reason})
    everybody = Sites(joint_among(names(4)), refusing(reason, *names(4), at=at))
    with pytest.raises(TooFewSitesError) as failed:
        everybody.run()
    assert failed.value.reasons == dict.fromkeys(names(4), reason)


def test_a_reason_that_is_a_sites_own_is_not_repeated():
    sites = Sites(joint_among(names(4)), refusing("<b>mine</b>", "site-b", at="share"))
    sites.check(sites.run(), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})


def test_sites_that_were_told_otherwise_refuse_and_say_so():
    """The coordinator's grid turns one site's plan into another: its masks would not cancel."""
    joint = joint_among(names(4))
    sites = Sites(joint)
    other = joint_among(names(4), rounds=9)
    grid, honest = sites.grid, sites._one

    def turned(message, site):
        if site == "site-b" and message.metadata.message_type != MessageType.TRAIN:
            config = dict(message.content[SECURE])
            if config["stage"] == "advertise":
                message.content[SECURE] = ConfigRecord(config | {"content": other.text()})
        return honest(message, site)

    sites._one = turned
    sites.check(sites.run(grid=grid), ["site-a", "site-c", "site-d"], {"site-b": "malformed"})


def test_each_sum_has_a_larger_number_and_its_own_masks():
    sites = Sites(joint_among(names(4)))
    rounds = [sites.round() for _ in range(3)]
    assert [each.number for each in rounds] == [1, 2, 3]
    sites.check(sites.run(), names(4))
    sites.check(sites.run(), names(4))


def test_a_number_that_was_there_is_refused_by_all():
    sites = Sites(joint_among(names(4)))
    sites.check(sites.run(), names(4))
    sites.check(sites.run(), names(4))
    sites.numbers = count(1)
    with pytest.raises(TooFewSitesError) as failed:
        sites.run()
    assert failed.value.reasons == dict.fromkeys(names(4), Reason.SECURE_SUM)


def test_after_a_sum_was_given_up_the_next_succeeds():
    sites = Sites(joint_among(names(4)), silent("site-a", "site-b", at=TRAIN))
    with pytest.raises(TooFewSitesError):
        sites.run()
    sites.say = lambda stage, site, reply: reply
    sites.check(sites.run(), names(4))


@pytest.mark.parametrize(
    ("timeout", "waits"), [(None, (60.0, None)), (7.0, (7.0, 7.0)), (3600.0, (60.0, 3600.0))]
)
def test_only_training_may_take_as_long_as_it_may(timeout, waits, monkeypatch):
    sites = Sites(joint_among(names(4)))
    seen = []
    honest = sites.grid.send_and_receive

    def watched(messages, *, timeout=None):
        seen.append(timeout)
        return honest(messages, timeout=timeout)

    monkeypatch.setattr(sites.grid, "send_and_receive", watched)
    sites.run(timeout=timeout)
    stage, training = waits
    assert seen == [stage, stage, training, stage, stage]
    assert secure.STAGE_SECONDS == 60.0

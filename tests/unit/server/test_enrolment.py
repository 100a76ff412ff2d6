"""Who is there, and who sets the run aside."""

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from rounds_example import SIZES, run_plan

import server.enrolment
from server.enrolment import enrol, reserve
from simulations.grid import LocalGrid
from tacit.errors import RefusedError, TooFewSitesError
from tacit.messages import CONFIG, RunRequest

SITES = sorted(SIZES)


def reply_to(message, record=None, error=None):
    if error is not None:
        return Message(Error(1001, error), reply_to=message)
    return Message(RecordDict(record or {}), reply_to=message)


class AskedGrid(LocalGrid):
    """A grid whose nodes answer what the test wants; nodes come one by one where it is told so."""

    def __init__(self, answer, nodes=SITES, arriving=False):
        def engine(cohort):
            self.asked += [message for message, _ in cohort]
            return [answer(self.names[m.metadata.dst_node_id], m) for m, _ in cohort]

        super().__init__(nodes, engine)
        self.asked, self.looks, self._arriving = [], 0, arriving

    def get_node_ids(self):
        self.looks += 1
        nodes = super().get_node_ids()
        return nodes[: self.looks] if self._arriving else nodes


def honest(site, message):
    return reply_to(message, {"site": ConfigRecord({"name": site})})


def test_every_node_says_which_site_it_is():
    grid = AskedGrid(honest)
    assert enrol(grid, 3, timeout=5) == grid.names
    assert {m.metadata.message_type for m in grid.asked} == {"query.enrol"}
    assert all(len(m.content) == 0 for m in grid.asked)


def test_it_waits_until_enough_are_there(monkeypatch):
    monkeypatch.setattr(server.enrolment, "PAUSE", 0)
    grid = AskedGrid(honest, arriving=True)
    assert list(enrol(grid, 2, timeout=5).values()) == SITES[:2]
    assert grid.looks == 2


def test_too_few_nodes_are_said_with_their_number(monkeypatch):
    monkeypatch.setattr(server.enrolment, "PAUSE", 0)
    with pytest.raises(TooFewSitesError, match=r"3 nodes are connected after 0\.01 s and 4"):
        enrol(AskedGrid(honest), 4, timeout=0.01)


@pytest.mark.parametrize(
    "odd", [{"error": "not_available"}, {"record": {"site": ConfigRecord({"title": "west"})}}, {}]
)
def test_a_node_without_a_site_is_left_out(odd):
    def answer(site, message):
        return reply_to(message, **odd) if site == "west" else honest(site, message)

    assert "west" not in enrol(AskedGrid(answer), 2, timeout=5).values()
    with pytest.raises(TooFewSitesError, match="2 of 3 nodes have a site, 3 are needed"):
        enrol(AskedGrid(answer), 3, timeout=5)


def test_two_nodes_of_one_name_are_refused():
    with pytest.raises(TooFewSitesError, match="more than one node says it is east"):
        enrol(AskedGrid(lambda site, message: honest("east", message)), 3, timeout=5)


def confirmed(site, message):
    return reply_to(message, {"ledger": ConfigRecord({"count": 2, "head": "a" * 64})})


def test_every_site_is_asked_for_its_own_plan():
    grid, plan = AskedGrid(confirmed), run_plan()
    reserve(grid, plan, grid.names)
    asked = {
        grid.names[m.metadata.dst_node_id]: RunRequest.from_config(dict(m.content[CONFIG]))
        for m in grid.asked
    }
    assert asked == {
        site: RunRequest(
            plan.run, plan.rounds, plan.terms, plan.sites[site], plan.epsilons[site], plan.delta
        )
        for site in SITES
    }


def refusing(*refusals):
    said = dict(refusals)
    return lambda site, message: (
        reply_to(message, error=said[site]) if site in said else confirmed(site, message)
    )


def test_enough_sites_may_go_on_without_the_others():
    grid = AskedGrid(refusing(("west", "budget")))
    reserve(grid, run_plan(min_replies=2), grid.names)
    with pytest.raises(RefusedError, match=r"2 of 3 .*, 3 are needed; missing: west \(budget\)"):
        reserve(grid, run_plan(min_replies=3), grid.names)


def test_a_refusal_is_told_from_a_site_that_does_not_answer():
    grid = AskedGrid(refusing(*((site, "data_not_test") for site in SITES)))
    with pytest.raises(RefusedError) as refused:
        reserve(grid, run_plan(), grid.names)
    assert refused.value.reason == "data_not_test"
    grid = AskedGrid(confirmed)
    absent = dict(list(grid.names.items())[1:])
    with pytest.raises(TooFewSitesError) as missing:
        reserve(grid, run_plan(), absent)
    assert missing.value.reasons == {SITES[0]: "no_reply"}


@pytest.mark.parametrize("odd", ["age=212", ""])
def test_other_words_than_those_of_the_closed_list_go_no_further(odd):
    grid = AskedGrid(refusing(("west", odd)))
    with pytest.raises(TooFewSitesError) as missing:
        reserve(grid, run_plan(), grid.names)
    assert missing.value.reasons == {"west": "malformed"}


def test_an_answer_without_a_receipt_is_malformed():
    grid = AskedGrid(honest)
    with pytest.raises(TooFewSitesError) as missing:
        reserve(grid, run_plan(), grid.names)
    assert set(missing.value.reasons.values()) == {"malformed"}

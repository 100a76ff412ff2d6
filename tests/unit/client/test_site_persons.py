"""A site where a person is the unit: what it holds, charges, trains on and refuses."""

from dataclasses import replace

import pytest
import torch
from officer_example import file_of, settings_of
from site_example import POLICY, ROUND, ROUNDS, ROWS, RUN, app_of, ask, make_site, payload

from client.setup import take_stock
from tacit.domains import fleets
from tacit.errors import ConfigurationError, DataError
from tacit.learning.plan import Persons, Within
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Plan, Reason

PERSON = replace(ROUND, unit=Unit.PERSON, persons=Persons(2, Within.MEAN))
PEOPLE = replace(ROWS, persons=torch.arange(16) // 4)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(
        tmp_path / "north.sqlite",
        data_set="wards/north",
        unit=Unit.PERSON,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=1e-5,
    ) as opened:
        opened.reserve(Plan(RUN, PERSON.event(), ROUNDS, 1.0, 1e-5), POLICY)
        yield opened


def site_of(ledger, data=PEOPLE):
    kept, ledger.reserve = ledger.reserve, lambda plan, policy: None
    site = make_site(ledger, data=data)
    ledger.reserve = kept
    return site


def test_a_round_is_charged_for_persons_and_trained(ledger):
    reply = app_of(site_of(ledger))(ask(plan=PERSON))
    assert payload(reply).keys() == {"head.weight", "head.bias"}
    assert ledger.spent_events(RUN) == [PERSON.event()]
    assert {event.unit for event in ledger.spent_events(RUN)} == {Unit.PERSON}


def test_a_plan_of_records_is_not_this_data_sets(ledger):
    reply = app_of(site_of(ledger))(ask(plan=ROUND))
    assert reply.error.reason == Reason.PLAN_DIFFERS
    assert ledger.spent_events(RUN) == []


def test_rows_that_name_nobody_release_nothing(ledger):
    """A site finds out when it takes stock; were it asked all the same, nothing leaves."""
    reply = app_of(site_of(ledger, ROWS))(ask(plan=PERSON))
    assert reply.error.reason == Reason.NOT_AVAILABLE


def test_a_site_takes_stock_of_its_persons(monkeypatch):
    words = ("domain=fleets", "privacy.unit=person")
    file = replace(file_of(), name="metro", experiment=words)
    holdings = take_stock(file, settings_of(file))
    assert holdings.prepared.declared_units["metro"] == 7
    assert holdings.data.train.persons.unique().tolist() == list(range(7))
    named, joined = fleets._together, lambda *rows: replace(named(*rows), persons=None)
    monkeypatch.setattr(fleets, "_together", joined)
    with pytest.raises(DataError, match="site 'metro' do not say whose they are"):
        take_stock(file, settings_of(file))
    monkeypatch.undo()
    monkeypatch.setattr(fleets.Fleets, "declared_persons", None)
    with pytest.raises(ConfigurationError, match="fleets declares no persons"):
        take_stock(file, settings_of(file))

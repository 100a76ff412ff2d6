"""A site stays when its machine cannot do something now, and says so at its terminal alone."""

import logging
import shutil
from types import SimpleNamespace

import pytest
from site_example import app_of, ask, kinds, make_site

from client import door
from client.resident import patient
from tacit.errors import TacitError
from tacit.messages import ARRAYS
from tacit.privacy.policy import Reason


def test_a_full_disk_refuses_the_request_and_charges_nothing(ledger, monkeypatch, caplog):
    app = app_of(make_site(ledger))
    answer = patient(lambda message, context: app(message))
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        with caplog.at_level(logging.ERROR):
            reply = answer(ask(), None)
    assert (reply.error.code, reply.error.reason) == (door.REFUSED, Reason.NOT_AVAILABLE)
    assert "the disk is full: 0.0 MiB are left" in caplog.text
    assert kinds(ledger) == ["opened", "reserved"]
    # There is room again.
    assert ARRAYS in answer(ask(), None).content
    assert kinds(ledger) == ["opened", "reserved", "charged", "replied"]


def test_a_fault_of_ours_still_ends_it():
    def app(message, context):
        raise TacitError("not of this ledger")

    with pytest.raises(TacitError):
        patient(app)(ask(), None)

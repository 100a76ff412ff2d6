"""A new ledger of its own for each test that asks for one."""

import pytest
from ledger_example import open_ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ward.sqlite"


@pytest.fixture
def ledger(path):
    with open_ledger(path) as opened:
        yield opened

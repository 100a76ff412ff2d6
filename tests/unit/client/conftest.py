"""A new ledger of its own for each test that asks for one."""

import pytest
from site_example import open_ledger


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path) as opened:
        yield opened

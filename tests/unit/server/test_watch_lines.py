"""In a pipe: a line for what is new, on the right stream, and an exit code for how it ended."""

import json
from dataclasses import replace

import pytest

from server import watch, watch_client
from server.status import Phase, SiteStatus, Status

STATUS = Status("hospitals", "run-1", 4, (SiteStatus("berlin"),), 0.0)
FINISHED = replace(STATUS, phase=Phase.FINISHED)


@pytest.fixture
def follow(monkeypatch):
    """Play statuses, and troubles as text, to whoever follows."""

    def play(*events):
        def played(address, bundle, say):
            for event in events:
                if isinstance(event, str):
                    say(event)
                else:
                    yield event

        monkeypatch.setattr(watch_client, "follow", played)

    return play


def test_what_looks_the_same_is_one_line(follow, capsys):
    seen = replace(STATUS, sites=(SiteStatus("berlin", last_seen=5.0),), written=5.0)
    follow(STATUS, seen, seen, FINISHED)
    assert watch._show_lines("here:1", None, json=False) == 0
    assert [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "waiting",
        "finished",
    ]


def test_as_json_every_status_is_a_line(follow, capsys):
    seen = replace(STATUS, sites=(SiteStatus("berlin", last_seen=5.0),), written=5.0)
    follow(STATUS, seen, FINISHED)
    watch._show_lines("here:1", None, json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sites"][0]["last_seen"] for line in found] == [None, 5.0, None]


def test_an_outage_is_said_once_and_so_is_its_end(follow, capsys):
    follow(STATUS, "gone", "gone", "gone", "", STATUS, "gone", "refused", "", FINISHED)
    watch._show_lines("here:1", None, json=False)
    assert capsys.readouterr().err.splitlines() == [
        "gone",
        "here:1: connected again",
        "gone",
        "refused",
        "here:1: connected again",
    ]


@pytest.mark.parametrize(
    ("phase", "code"), [(Phase.FINISHED, 0), (Phase.FAILED, 4), (Phase.CALLED_OFF, 4)]
)
def test_the_exit_code_says_how_the_run_ended(follow, phase, code):
    follow(STATUS, replace(STATUS, phase=phase))
    assert watch._show_lines("here:1", None, json=False) == code

"""Which sites replied in how many rounds."""

from deployed_run import deployed, history
from example_run import SITES

from tacit.runs.attendance import Attendance, attendance
from tacit.runs.results import Round


def test_every_round_of_every_site_is_counted_once():
    lines = history()
    found = attendance(deployed(), lines)
    assert found == (
        Attendance("cleveland", 8, {}, 0),
        Attendance("hungarian", 8, {}, 0),
        Attendance("switzerland", 6, {}, 2),
        Attendance("va", 5, {"no_reply": 2, "not_available": 1}, 0),
    )
    assert [each.missing for each in found] == [0, 0, 0, 3]
    assert all(each.replied + each.missing + each.not_asked == len(lines) for each in found)


def test_what_was_before_training_is_no_round():
    before = Round(0, 0.0, 0.0, (), {})
    assert attendance(deployed(), (before, *history())) == attendance(deployed(), history())


def test_a_site_that_only_the_history_knows_is_not_forgotten():
    gone = Round(9, 0.1, 0.1, ("basel",), {"bern": "budget"})
    found = attendance(deployed(), (*history(), gone))
    assert [each.site for each in found] == [*SITES, "basel", "bern"]
    assert found[-2:] == (
        Attendance("basel", 1, {}, 8),
        Attendance("bern", 0, {"budget": 1}, 8),
    )


def test_without_rounds_nobody_took_part():
    assert attendance(deployed(), ()) == tuple(Attendance(site, 0, {}, 0) for site in SITES)

"""What stands on the terminal while a run works."""

import io

from rich.console import Console

from simulations.progress import LiveProgress
from simulations.simulate import HELD_OUT
from tacit.runs.results import Round
from tacit.runs.summary import LOSS_ON


def test_every_place_of_a_loss_has_words():
    assert set(LOSS_ON) == {HELD_OUT}


def test_the_terminal_says_where_a_loss_was_measured():
    out = io.StringIO()
    line = Round(2, 0.1, 0.1, ("north",), {}, loss=0.5, loss_on=HELD_OUT, epsilon={"north": 0.4})
    with LiveProgress(Console(file=out, width=200)) as progress:
        progress.round(line, 3, 1.0)
    assert f"on {LOSS_ON[HELD_OUT]}" in out.getvalue()
    assert HELD_OUT not in out.getvalue()

"""Sites that train together: one ledger for all, and the same guarantee as with one each."""

import pytest
from test_invariants import forget_last_rows
from whole_run import ROUNDS, SITES, SYSTEM, Crash, charges, epsilons, results
from whole_run import rows_together as rows

import simulations.simulate
from tacit.errors import ExitCode


def test_a_run_leaves_one_ledger(whole):
    assert sorted(file.name for file in (whole / "ledger").iterdir()) == [
        "sites.sqlite",
        "sites.sqlite.head",
    ]


def test_a_cohort_is_charged_in_one_row_a_plan(whole):
    """Sites of one declared size have one plan, and so one row."""
    opened, *rest = rows(whole)
    assert (opened["kind"], opened["data_set"], opened["delta"]) == (
        "opened-together/1",
        "hospitals",
        1e-4,
    )
    reserved = [row for row in rest if row["kind"] == "reserved-together/1"]
    charged = [row for row in rest if row["kind"] == "charged-together/1"]
    assert reserved + charged == rest
    assert sorted(site for row in reserved for site in row["sites"]) == SITES
    for site in SITES:
        (plan,) = [row["plan"] for row in reserved if site in row["sites"]]
        assert (plan["rounds"], plan["epsilon"], plan["delta"]) == (ROUNDS, 1.0, 1e-4)
        own = [row for row in charged if site in row["sites"]]
        assert [row["event"] for row in own] == [plan["event"]] * ROUNDS
        assert len({row["request"] for row in own}) == ROUNDS


def test_a_cut_ledger_stops_the_run_between_rounds(run, tmp_path, monkeypatch):
    """Database and head cut together, as if an old copy was put back."""
    path = tmp_path / "run"
    honest = simulations.simulate.save_checkpoint

    def cut(folder, name, state):
        honest(folder, name, state)
        if state.round == 2:
            forget_last_rows(path / "ledger" / "sites.sqlite", 2)

    monkeypatch.setattr(simulations.simulate, "save_checkpoint", cut)
    code, error = run(path)
    assert code == ExitCode.REFUSED
    assert "sites.sqlite is damaged" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("more", [(), (SYSTEM,)], ids=["seeded", "system"])
def test_a_crash_after_the_charge_gives_no_budget_away(
    run, resume, tmp_path, monkeypatch, whole, more
):
    """The power is cut when round 3 is charged, learnt and released, and before it is kept."""
    path = tmp_path / "run"
    honest = simulations.simulate.save_checkpoint

    def cut(folder, name, state):
        if state.round == 3:
            raise Crash
        honest(folder, name, state)

    with monkeypatch.context() as patched:
        patched.setattr(simulations.simulate, "save_checkpoint", cut)
        with pytest.raises(Crash):
            run(path, *more)
    assert resume(path)[0] == ExitCode.DONE
    for site in SITES:
        own = charges(path, site)
        assert len(own) == (ROUNDS if more else ROUNDS + 1)
        assert [row["repeat"] for row in own].count(True) == (0 if more else 1)
    assert epsilons(path) == epsilons(whole)
    if more:
        # The charge that was lost is spent: the last round is not made.
        assert results(path)["rounds"] == ROUNDS - 1
        assert "not given back" in results(path)["notes"][0]
    else:
        assert results(path)["weights_sha256"] == results(whole)["weights_sha256"]

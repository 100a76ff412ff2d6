"""Secure sums in simulations: what they change is rounding alone; and what they bear."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from whole_run import SITES, call, charges, results, rounds_of, stopped_after

import client.site
import simulations.cohort
from simulations.command import _main
from tacit.domains.domain import site_data
from tacit.domains.hospitals import Hospitals
from tacit.errors import ExitCode
from tacit.messages import CONFIG, SUM
from tacit.privacy.grid import finest_grid
from tacit.privacy.ledger_view import read_ledger

REQUIRED = "secure_aggregation=required"
HOSPITALS = ("domain=hospitals", "model=linear", "compare=false", "training.rounds=4")
SHARED = (*HOSPITALS, "privacy=shared_noise", "privacy.epsilon=0.5", "training.learning_rate=0.5")
DIGITS = ("domain=digits", "domain.partition.sites=10", "domain.partition.rows=20")
NAMES = [f"user-{number:06d}" for number in range(10)]


@pytest.fixture
def simulated(capsys):
    """Simulate in this process, without a report; gives exit code and stderr."""
    return lambda path, *given: call([*given, f"run.dir={path}"], capsys)


def digest(path):
    return results(path)["weights_sha256"]


def history(path):
    return [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Hash of the weights that noise in shares gives where each part is seen."""
    path = tmp_path_factory.mktemp("seen") / "run"
    assert _main([*SHARED, f"run.dir={path}"]) == ExitCode.DONE
    assert results(path)["secure_sum"] is None
    return digest(path)


@pytest.mark.parametrize(
    "more",
    [
        "engine=stacked",
        "engine=loop",
        pytest.param("engine.workers=2", marks=pytest.mark.slow),
    ],
)
def test_masks_change_no_bit_of_a_sum(simulated, tmp_path, seen, more):
    assert simulated(tmp_path / "run", *SHARED, REQUIRED, more)[0] == ExitCode.DONE
    assert digest(tmp_path / "run") == seen
    assert results(tmp_path / "run")["secure_sum"] == {
        "sites": 4,
        "fewest": 4,
        "bits": 32,
        "corrupt": 1,
    }


@pytest.mark.parametrize("more", [(), ("privacy.bits=16",), ("strategy=fedadam",)])
def test_two_engines_sum_alike(simulated, tmp_path, more):
    """DP-SGD at the site, summed: engines round differently in fp32, and then on the grid."""
    for engine in ("stacked", "loop"):
        given = (*HOSPITALS, REQUIRED, *more, f"engine={engine}")
        assert simulated(tmp_path / engine, *given)[0] == ExitCode.DONE
    stacked, loop = (load_file(tmp_path / e / "model.safetensors") for e in ("stacked", "loop"))
    bits = 16 if more == ("privacy.bits=16",) else 32
    assert results(tmp_path / "loop")["secure_sum"]["bits"] == bits
    for name, value in stacked.items():
        # A coordinate that lies at a step's edge may be rounded another way by one of four sites.
        step = 2e-2 if bits == 16 else 1e-5
        np.testing.assert_allclose(loop[name], value, rtol=step, atol=step * abs(value).max())


def test_a_report_says_what_the_coordinator_sees(tmp_path):
    for more, words in (
        ((REQUIRED,), "the sum over at least 4 of 4 simulated sites, and no"),
        ((), "noised update, by itself and by name"),
    ):
        path = tmp_path / str(len(more))
        assert _main([*HOSPITALS, *more, f"run.dir={path}"]) == ExitCode.DONE
        page = (path / "report.html").read_text()
        assert "What the coordinator sees" in page
        assert words in " ".join(page.split())


def test_without_privacy_a_sum_is_right_but_for_rounding(simulated, tmp_path):
    """Each of n parts is rounded by under a step, so that their mean is off by n ÷ Σ weights steps.

    A later round carries that on: one step of gradient descent stretches a difference of weights by
    1 + η L at most, where L, the largest second derivative of the loss of two classes, is half the
    sum of the rows' squared norms over the divisor. What a row is taken for can only change where
    the difference of its two scores is less than the weights' difference can move it.
    """
    rate, given = 0.5, (*HOSPITALS, "privacy=none", "training.learning_rate=0.5")
    assert simulated(tmp_path / "seen", *given)[0] == ExitCode.DONE
    assert simulated(tmp_path / "summed", *given, REQUIRED)[0] == ExitCode.DONE
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("seen", "summed"))

    domain = Hospitals()
    sizes = domain.declared_sizes
    weights = [sizes[site] / max(sizes.values()) for site in SITES]
    dimension = sum(array.size for array in one.values())
    spacing = finest_grid(32, dimension, len(SITES), 128.0).spacing
    # And rounding in fp32, of a sum of four and of what is added to.
    error = len(SITES) / sum(weights) * spacing
    error += 8 * 2**-24 * max(abs(array).max() for array in one.values())
    error *= np.sqrt(dimension)
    squares = [
        (site_data(domain, site).train.features.square().sum(1) + 1).sum() / sizes[site]
        for site in SITES
    ]
    stretched = 1 + rate * 0.5 * float(max(squares))
    bound = error * sum(stretched**number for number in range(4))
    moved = np.sqrt(sum(((one[name] - other[name]) ** 2).sum() for name in one))
    assert 0 < moved <= bound

    close = 0
    for site in SITES:
        rows = site_data(domain, site).test.features
        scores = rows @ torch.from_numpy(one["head.weight"].T) + torch.from_numpy(one["head.bias"])
        reach = bound * np.sqrt(2) * (rows.square().sum(1) + 1).sqrt()
        close += int(((scores[:, 0] - scores[:, 1]).abs() <= reach).sum())
    rows = sum(len(site_data(domain, site).test.targets) for site in SITES)
    assert close <= 0.03 * rows
    accuracies = [results(tmp_path / n)["evaluation"]["pooled"] for n in ("seen", "summed")]
    assert abs(accuracies[0] - accuracies[1]) <= close / rows
    assert results(tmp_path / "summed")["privacy"] is None


@pytest.mark.parametrize("engine", ["stacked", "loop"])
def test_a_site_that_is_not_reached_is_named_and_the_others_are_summed(simulated, tmp_path, engine):
    """Seed 1 loses two, three and two of ten: seven are the fewest that a sum of ten bears."""
    given = (*DIGITS, REQUIRED, f"engine={engine}", "training.rounds=3", "training.min_replies=3")
    lossy = ("availability.dropout=0.2", "seed=1")
    assert simulated(tmp_path / "run", *given, *lossy)[0] == ExitCode.DONE
    assert results(tmp_path / "run")["secure_sum"]["fewest"] == 7
    lost = [set(line["failed"]) for line in history(tmp_path / "run")[1:]]
    assert [len(each) for each in lost] == [2, 3, 2]
    for line in history(tmp_path / "run")[1:]:
        assert set(line["failed"].values()) == {"no_reply"}
        assert set(line["replied"]) | set(line["failed"]) == set(NAMES)
        assert not set(line["replied"]) & set(line["failed"])
    # Who was not reached paid nothing for the round.
    for name in NAMES:
        rounds = 3 - sum(name in each for each in lost)
        assert len(charges_of(tmp_path / "run", name, engine)) == rounds
    # Without masks the same sites give the same but for the grid.
    assert simulated(tmp_path / "seen", *given[:3], *given[4:], *lossy)[0] == ExitCode.DONE
    assert [set(line["failed"]) for line in history(tmp_path / "seen")[1:]] == lost
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("run", "seen"))
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-4 * abs(value).max())


def charges_of(path, name, engine):
    if engine == "stacked":
        return charges(path, name)
    with read_ledger(path / "ledger" / f"{name}.sqlite") as ledger:
        bodies = [json.loads(row.body) for row in ledger.rows()]
    return [body for body in bodies if body["kind"] == "charged/1"]


def test_too_few_are_left_and_the_run_goes_on_without_what_was_lost(
    simulated, tmp_path, monkeypatch, capsys
):
    """A round that had begun is paid for, though nobody saw its sum: the last one is too much."""
    path, lost = tmp_path / "run", set(NAMES[:4])
    hit = []

    def once(engine, chosen, seed):
        """Four are not reached when the second round asks them first."""

        def answer(cohort):
            asked = dict(cohort[0][0].content.get(CONFIG, {})).get("server-round")
            if asked != 2 or hit:
                return engine(cohort)
            hit.append(True)
            here = [each for each in cohort if each[1] not in lost]
            replies = dict(zip([name for _, name in here], engine(here), strict=True))
            return [replies.get(name) for _, name in cohort]

        return answer

    monkeypatch.setattr(simulations.cohort, "lossy", once)
    given = (*DIGITS, REQUIRED, "training.rounds=4", "training.min_replies=7")
    code, said = simulated(path, *given, "availability.dropout=0.01")
    assert code == ExitCode.TOO_FEW_SITES
    assert "round 2: " in said
    assert "6 sites have masked, and 7 of the 10 in the cohort must" in said
    assert rounds_of(path) == [0, 1]
    for name in NAMES:
        assert len(charges(path, name)) == (1 if name in lost else 2)

    code, _ = call([f"run.resume={path}"], capsys)
    assert code == ExitCode.DONE
    assert rounds_of(path) == [0, 1, 2, 3]
    found = results(path)
    assert (found["rounds"], found["planned_rounds"]) == (3, 4)
    assert any("the run ends after round 3 of 4" in note for note in found["notes"])
    for name, spent in found["privacy"]["guarantees"][0]["sites"].items():
        assert spent["epsilon"] <= spent["epsilon_budget"], name
        assert len(charges(path, name)) == 4


def test_all_who_were_told_of_a_sum_that_failed_hear_so(simulated, tmp_path, caplog):
    given = (*DIGITS, REQUIRED, "training.rounds=2", "training.min_replies=9", "seed=1")
    code, said = simulated(tmp_path / "run", *given, "availability.dropout=0.2")
    assert code == ExitCode.TOO_FEW_SITES
    assert "8 of 10 sites sent their part and 9 are needed" in said
    heard = [m for m in caplog.messages if m.startswith("the coordinator gives up sum 1")]
    assert len(heard) == len(NAMES)


RUN_OF_TWO = ("domain=digits", "domain.partition.sites=2")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((*HOSPITALS, REQUIRED, "strategy=krum"), "strategy=krum"),
        ((*HOSPITALS, REQUIRED, "strategy=fedmedian"), "strategy=fedmedian"),
        ((*HOSPITALS, REQUIRED, "strategy=bulyan"), "strategy=bulyan"),
        ((*RUN_OF_TWO, REQUIRED), "secure_aggregation=required: with 2 sites"),
        ((*DIGITS, REQUIRED, "training.cohort=2"), "secure_aggregation=required: with 2 sites"),
        ((*HOSPITALS, REQUIRED, "engine=ray"), "with engine=ray"),
        ((*HOSPITALS, "privacy.bits=16"), "privacy.bits=16"),
        ((*HOSPITALS, REQUIRED, "privacy.bits=16", "training.optimizer=adam"), "privacy.bits=16"),
        ((*HOSPITALS, "secure_aggregation=on"), "secure_aggregation"),
    ],
    ids=lambda given: given[-1] if isinstance(given, tuple) else "",
)
def test_what_makes_no_sense_is_refused(simulated, tmp_path, given, named):
    code, said = simulated(tmp_path / "run", *given)
    assert code == ExitCode.BAD_INPUT
    assert named in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_cohort_that_is_drawn_is_summed(simulated, tmp_path):
    """Three of ten a round, of which none may be missing; each round other ones."""
    given = (*DIGITS, REQUIRED, "training.cohort=3", "training.rounds=3")
    assert simulated(tmp_path / "run", *given)[0] == ExitCode.DONE
    assert results(tmp_path / "run")["secure_sum"] == {
        "sites": 3,
        "fewest": 3,
        "bits": 32,
        "corrupt": 0,
    }
    drawn = [line["replied"] for line in history(tmp_path / "run")[1:]]
    assert [len(each) for each in drawn] == [3, 3, 3]
    assert len({name for each in drawn for name in each}) == 9


def test_stopped_and_gone_on_with(simulated, tmp_path):
    """New keys, the same noise: the weights are those of the run that was not stopped."""
    given = (*HOSPITALS, REQUIRED, "engine=loop")
    assert simulated(tmp_path / "whole", *given)[0] == ExitCode.DONE
    stopped_after(2, [*given, f"run.dir={tmp_path / 'cut'}"])
    assert _main([f"run.resume={tmp_path / 'cut'}"]) == ExitCode.DONE
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


@pytest.mark.parametrize("secure", [REQUIRED, "secure_aggregation=off"])
def test_no_file_holds_a_sites_part(simulated, tmp_path, monkeypatch, secure):
    """Nor does its own ledger: what it keeps, to send it again, is under masks.

    Where each part is seen it holds the part: so there was something to find.
    """
    parts, honest = [], client.site.leaving

    def noted(site, admitted, learnt):
        parts.append(learnt[SUM].tobytes())
        return honest(site, admitted, learnt)

    monkeypatch.setattr(client.site, "leaving", noted)
    path = tmp_path / "run"
    assert simulated(path, *SHARED, secure, "engine=loop")[0] == ExitCode.DONE
    assert len(parts) == 4 * len(SITES)
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert len(files) > 8
    holding = {
        file.name
        for part in parts
        for start in range(0, len(part) - 16, 16)
        for file, content in files.items()
        if part[start : start + 16] in content
    }
    if secure == REQUIRED:
        assert not holding
    else:
        assert {name for name in holding if name.endswith(".sqlite")}

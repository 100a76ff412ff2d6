"""C-MAPSS turbofans: windows, who holds them, and what is refused in their files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from turbofan_files import change, write_turbofans

from tacit.domains.cmapss import PREFIX, SENSORS, read_engines
from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.engine_windows import CONDITIONS, Scaling, last_windows, nearest, windows_of
from tacit.domains.fleet_engines import FleetEngines
from tacit.errors import ConfigurationError, DataError

ROOT = Path(os.environ.get("TACIT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "cmapss"
needs_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no data in {ROOT}: set TACIT_DATA to the folder of data sets"
)


@pytest.fixture
def folder(tmp_path):
    return write_turbofans(tmp_path / "cmapss")


def domain_of(folder, **more):
    return FleetEngines(str(folder), **{"operators": 2, "engines": 6, **more})


def cycles_of(targets):
    return np.rint((targets.numpy() + 1) * 62.5)


def test_windows_end_every_few_cycles_back_from_the_failure():
    engine = np.arange(90.0)[:, None] * np.ones(14, np.float32)
    features, targets = last_windows(engine, 30, 5, 40)
    ends = features[:, -1, 0].numpy() + 1
    assert ends.tolist() == list(range(90, 19, -5))
    assert cycles_of(targets).tolist() == (90 - ends).tolist()
    assert torch.equal(features[0, :, 3], torch.arange(60.0, 90.0))


def test_a_window_longer_than_a_life_repeats_its_first_cycle():
    engine = np.array([[7.0], [8.0], [9.0]])
    assert windows_of(engine, [3, 1], 5)[:, :, 0].tolist() == [[7, 7, 7, 8, 9], [7, 7, 7, 7, 7]]


def test_lives_are_capped_and_windows_counted():
    features, targets = last_windows(np.zeros((300, 14), np.float32), 50, 5, 40)
    assert len(features) == len(targets) == 40
    assert cycles_of(targets).max() == 125
    assert len(last_windows(np.zeros((9, 14), np.float32), 50, 5, 40)[0]) == 1


@pytest.mark.parametrize(("window", "stride", "windows"), [(30, 1, 99), (50, 5, 40), (7, 3, 2)])
def test_a_measurement_lies_in_as_many_windows_as_the_domain_says(folder, window, stride, windows):
    domain = domain_of(folder, window=window, stride=stride, windows=windows)
    life = 140
    cycles = np.arange(life, dtype=np.float32)[:, None] * np.ones(14, np.float32)
    features, _ = last_windows(cycles, window, stride, windows)
    held = np.array([(features[:, :, 0] == cycle).any(1).sum() for cycle in range(life)])
    assert held.max() == domain.overlap


def test_operators_take_turns_and_engines_are_their_persons(folder):
    domain = domain_of(folder)
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    assert domain.declared_persons == {"operator-1": 3, "operator-2": 3}
    assert domain.declared_sizes == {"operator-1": 120, "operator-2": 120}
    engines = read_engines(folder / "train_FD001.txt")
    for turn, held in enumerate(data.values()):
        whole = [len(last_windows(e[:, 3:], 50, 5, 40)[0]) for e in engines[turn::2]]
        assert held.train.persons.bincount().tolist() == whole
        assert cycles_of(held.train.targets[:2]).tolist() == [0, 5]


def test_engines_can_be_sites_that_share_one_test_set(folder):
    domain = domain_of(folder, sites="engines")
    data = domain.load()
    assert list(data) == [f"engine-{n:03}" for n in range(1, 7)]
    assert set(domain.declared_persons.values()) == {1}
    assert len({id(held.test) for held in data.values()}) == 1
    whole = domain_of(folder).load()
    together = torch.cat([data["engine-001"].train.targets, data["engine-003"].train.targets])
    assert torch.equal(whole["operator-1"].train.targets[: len(together)], together)


def test_each_test_engine_has_its_last_window_and_capped_life(folder):
    domain = domain_of(folder, window=30)
    test = domain.load()["operator-1"].test
    lives = np.loadtxt(folder / "RUL_FD001.txt")
    assert cycles_of(test.targets).tolist() == np.minimum(lives, 125).tolist()
    scaled = Scaling.of(read_engines(folder / f"train_FD003{PREFIX}"))
    for engine, window in zip(read_engines(folder / "test_FD001.txt"), test.features, strict=True):
        kept = min(30, len(engine))
        assert np.array_equal(window[-kept:], scaled(engine)[-kept:])
        assert (window[:-kept] == window[-kept]).all()


def test_sensors_are_scaled_by_the_pool_alone(folder):
    pool = domain_of(folder).public_pool()
    assert pool.shape[1:] == (50, len(SENSORS))
    scaled = Scaling.of(read_engines(folder / f"train_FD003{PREFIX}"))
    before = domain_of(folder).load()["operator-1"].train.features
    assert before.abs().max() <= 3
    lines = (folder / "train_FD001.txt").read_text().splitlines()
    change(folder / "train_FD001.txt", len(lines), "T24 (°R)", "999")
    assert torch.equal(domain_of(folder).public_pool(), pool)
    after = Scaling.of(read_engines(folder / f"train_FD003{PREFIX}"))
    assert np.array_equal(after.mean, scaled.mean)


def test_each_condition_of_flight_has_a_scale_of_its_own():
    rng = np.random.default_rng(1)
    flown = np.repeat(np.arange(6), 50)
    settings = CONDITIONS[flown] + rng.normal(0, 0.003, (300, 3))
    sensors = 100 * flown[:, None] + (1 + flown[:, None]) * rng.normal(size=(300, 14))
    cycles = np.concatenate([settings, sensors], 1)
    assert nearest(cycles).tolist() == flown.tolist()
    found = Scaling.of([cycles[:170], cycles[170:]])(cycles)
    for condition in range(6):
        own = found[flown == condition]
        assert np.abs(own.mean(0)).max() < 1e-6
        assert np.allclose(own.std(0), 1 / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "cell", "says"),
    [
        ("train_FD001.txt", (7, "T30 (°R)", "warm"), ("row 7", "'T30 (°R)'", "'warm'")),
        ("train_FD001.txt", (9, "BPR", "-1"), ("row 9", "'BPR'", "'-1'", "0 to 50")),
        ("test_FD001.txt", (3, "cycle", "4"), ("row 3", "'cycle'", "4", "next cycle")),
        ("train_FD001.txt", (1, "engine", "2"), ("row 1", "'engine'", "2", "next engine")),
        ("test_FD001.txt", (2, "W32 (lbm/s)", "nan"), ("row 2", "'W32 (lbm/s)'", "'nan'")),
    ],
)
def test_bad_cells_are_named(folder, file, cell, says):
    change(folder / file, *cell)
    with pytest.raises(DataError) as found:
        domain_of(folder).load()
    for words in (file, *says):
        assert words in str(found.value)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "train_FD001.txt").write_text(""), "holds no rows"),
        (lambda f: (f / "train_FD001.txt").write_text("1 2 3\n"), "row 1 has 3 columns where 26"),
        (lambda f: (f / "test_FD001.txt").write_bytes(b"\xff\x00"), "cannot be read"),
        (lambda f: (f / "RUL_FD001.txt").write_text("100\n"), "has 1 rows, but test_FD001.txt has"),
        (lambda f: (f / "RUL_FD001.txt").write_text("1\n2\n3\n-4\n"), "row 4"),
        (lambda f: (f / f"train_FD003{PREFIX}").unlink(), "train_FD003.txt: there is no such file"),
        (lambda f: (f / f"train_FD003{PREFIX}").write_bytes(b"\x1f\x8b\x00"), "cannot be read"),
        (lambda f: shutil.rmtree(f), "domain.root must be the folder"),
    ],
)
def test_broken_files_are_named(folder, break_it, says):
    break_it(folder)
    with pytest.raises(DataError, match=says):
        domain_of(folder).load()


def test_a_first_part_is_taken_only_where_that_is_said(folder):
    for name in ("train_FD001", "test_FD001"):
        (folder / f"{name}.txt").rename(folder / "whole.txt")
        shutil.copy(folder / f"train_FD003{PREFIX}", folder / f"{name}{PREFIX}")
        with pytest.raises(DataError, match=r"domain\.prefix=true"):
            domain_of(folder).load()
        (folder / f"{name}{PREFIX}").unlink()
        (folder / "whole.txt").rename(folder / f"{name}.txt")


def test_a_first_part_of_the_test_engines_has_the_first_lives(folder):
    part, whole = folder / f"test_FD001{PREFIX}", folder / "test_FD001.txt"
    shutil.copy(folder / f"train_FD003{PREFIX}", part)
    whole.unlink()
    (folder / "RUL_FD001.txt").write_text("\n".join(map(str, range(10, 18))))
    test = domain_of(folder, prefix=True).load()["operator-1"].test
    assert cycles_of(test.targets).tolist() == [10, 11, 12, 13, 14]


def test_another_number_of_engines_than_declared_is_named(folder):
    with pytest.raises(DataError, match=r"holds 6 engines, but domain\.engines=7"):
        domain_of(folder, engines=7).load()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("subset", "FD003"),
        ("sites", "roads"),
        ("operators", 0),
        ("operators", 7),
        ("engines", 2.5),
        ("window", True),
        ("stride", -1),
        ("windows", "all"),
    ],
)
def test_settings_out_of_range_are_named(folder, key, value):
    with pytest.raises(ConfigurationError, match=rf"domain\.{key}={value}"):
        domain_of(folder, **{key: value})


@needs_data
def test_the_real_fleet_is_read_whole():
    engines = read_engines(ROOT / "train_FD001.txt")
    # Saxena et al. 2008: 100 trajectories; 20,631 rows in the published file.
    assert len(engines) == 100
    assert sum(map(len, engines)) == 20631
    domain = FleetEngines(str(ROOT))
    data = domain.load()
    check_sites(data, domain.card)
    lives = np.loadtxt(ROOT / "RUL_FD001.txt")
    test = data["operator-1"].test
    assert cycles_of(test.targets).tolist() == np.minimum(lives, 125).tolist()
    shares = [len(data[site].train) / size for site, size in domain.declared_sizes.items()]
    assert min(shares) > 0.8
    assert max(shares) <= 1


@needs_data
def test_the_second_fleet_is_refused_where_only_a_part_is_there():
    if (ROOT / "train_FD002.txt").is_file():
        pytest.skip("FD002 is whole here")
    with pytest.raises(DataError, match=r"train_FD002.*domain\.prefix=true"):
        FleetEngines(str(ROOT), subset="FD002", engines=260).load()


def test_a_run_names_the_engine_as_its_unit(folder, command, tmp_path):
    run = tmp_path / "run"
    ended = command(
        *("domain=fleet_engines", f"domain.root={folder}", "domain.engines=6"),
        *("domain.operators=2", "domain.window=10", "training.rounds=2", "compare=false"),
        *("model.pretraining.steps=2", f"run.dir={run}"),
    )
    assert ended.code == 0, ended.err
    results = json.loads((run / "results.json").read_text())
    assert results["evaluation"]["metric"] == "rmse"
    (guarantee,) = results["privacy"]["guarantees"]
    assert guarantee["unit"] == "person"
    assert guarantee["persons"] == {"rows": 40, "within": "mean"}
    assert "one engine" in results["domain"]["unit_protected"]

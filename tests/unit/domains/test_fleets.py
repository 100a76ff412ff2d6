"""The fleets: physics against published numbers, rows in their ranges, nobody in two places."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.domains import driving, fleets, wear
from tacit.domains.domain import Metric, check_sites
from tacit.domains.driving import DEEPEST, live
from tacit.domains.fleets import HELD_OUT, MOST_WEEKS, SCHEMA, TARGET, VEHICLES, Fleets
from tacit.domains.operators import KINDS, OPERATORS, bench, fleet
from tacit.errors import ConfigurationError

SEEDS = st.integers(0, 2**31)


def columns_of(features):
    """Undo the schema's scaling: name to values."""
    return {
        column.name: (features[:, i].double().numpy() + 1)
        / 2
        * (column.typical[1] - column.typical[0])
        + column.typical[0]
        for i, column in enumerate(SCHEMA.columns)
    }


def life_of(operator, seed, count=5):
    rng = np.random.default_rng(seed)
    return live(fleet(OPERATORS[operator], count, rng), rng)


# Schmalstieg et al. 2014, J. Power Sources 257, 325-334: the published coefficients, by hand.


def test_calendar_ageing_is_the_published_law():
    # 7.543 V - 23.75 at 3.7 V is 4.1591; exp(-6976 / 323.15) is 4.2137e-10 at 50 °C.
    alpha = wear.calendar_rate(np.array([3.7]), np.array([323.15]))
    assert alpha[0] == pytest.approx(4.1591e6 * 4.2137e-10, rel=1e-4)
    # 400 days of rest: 400**0.75 is 89.443.
    left = wear.capacity(np.full(400, alpha[0]), np.full(400, 1e-3), 1.0, np.zeros(400))
    assert left[-1] == pytest.approx(1 - 1.75254e-03 * 89.443, rel=1e-4)


def test_cycle_ageing_is_the_published_law():
    # At 3.667 V and half depth: 7.6e-4 + 4.081e-3 / 2 = 2.8005e-3. At 4.0 V: 8.148e-4 more.
    beta = wear.cycle_rate(np.array([3.667, 4.0]), np.array([0.5, 0.5]))
    assert beta == pytest.approx([2.8005e-3, 2.8005e-3 + 8.1480e-4], rel=1e-4)
    # 2500 Ah, in a hundred parts: √2500 is 50.
    left = wear.capacity(np.full(100, 1e-9), np.full(100, beta[0]), 1.0, np.full(100, 25.0))
    assert left[-1] == pytest.approx(1 - 50 * 2.8005e-3, rel=1e-5)


@given(
    st.floats(1e-5, 1e-3),
    st.floats(1e-5, 1e-3),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_ageing_goes_on_from_the_equivalent_time(first, second, before, after):
    """After `before` days at one rate, the loss is that of an age t* at the other, and goes on."""
    alpha = np.concatenate([np.full(before, first), np.full(after, second)])
    left = wear.capacity(alpha, np.zeros(before + after), 1.0, np.zeros(before + after))
    lost = first * before**0.75
    equivalent = (lost / second) ** (4 / 3)
    assert 1 - left[-1] == pytest.approx(second * (equivalent + after) ** 0.75, rel=1e-6, abs=1e-12)


def test_voltage_is_read_between_the_tenths():
    # Figure 1 of the same paper: 3.33 V empty, about 3.70 V half full, 4.16 V full.
    found = wear.voltage(np.array([0.0, 0.5, 0.55, 1.0]))
    assert found == pytest.approx([3.33, 3.70, 3.74, 4.16])


def test_energy_is_that_of_the_mean_resistances():
    # 10 t at a cruising speed of 10 m/s, rolling 0.01: 981 N. Drag of 5 m²: 300 N. A climb of
    # 10 m/km: 981 N. Two stops a km: 2 × 500 kJ a km, which is 1000 N. Together 3262 N, or 3262 kJ
    # a km at the wheels; 3600 kJ are 1 kWh.
    speed = 36 / wear.CRUISE
    drawn, back = wear.energy_per_km(
        *(np.array([x]) for x in (10.0, 5.0, 0.01, speed, 2.0, 10.0, speed / 10))
    )
    assert drawn[0] == pytest.approx(3262 / wear.DRIVE / 3600 + 0.1)
    assert back[0] == pytest.approx(1981 * wear.RECOVERED * wear.DRIVE / 3600)


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(250, 330), st.floats(0, 50))
def test_heat_charge_and_depth_wear(charge, more, kelvin, warmer):
    volts, fuller = (wear.voltage(np.array([c])) for c in (charge, min(charge + more, 1)))
    cold, warm = np.array([kelvin]), np.array([kelvin + warmer])
    assert wear.calendar_rate(volts, cold) <= wear.calendar_rate(volts, warm) * (1 + 1e-12)
    assert wear.calendar_rate(volts, cold) <= wear.calendar_rate(fuller, cold) * (1 + 1e-12)
    assert wear.cycle_rate(volts, np.array([charge])) <= wear.cycle_rate(
        volts, np.array([charge + more])
    )


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, operator=st.sampled_from([*OPERATORS]))
def test_lives_are_possible_and_wear_only_grows(seed, operator):
    check_life(life_of(operator, seed))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_test_bench_vehicles_are_possible(seed):
    rng = np.random.default_rng(seed)
    check_life(live(bench(20, rng), rng))


def check_life(life):
    assert (np.diff(life.capacity) < 0).all()
    assert (life.capacity[:, 0] < 1).all()
    assert ((life.charge > 0) & (life.charge <= 1)).all()
    assert ((life.depth > 0) & (life.depth <= DEEPEST + 1e-12)).all()
    assert (life.charge + life.depth / 2 <= 1 + 1e-12).all()
    assert (life.recuperated < life.used).all()
    assert (life.hottest >= life.battery).all()
    assert (life.weeks > MOST_WEEKS).all(), "two reports of a vehicle could be of one week"
    for i, week in enumerate(life.weeks):
        assert life.capacity[i, week] <= 0.8 < life.capacity[i, week - 1]


def test_nobody_drives_further_than_the_battery_reaches(monkeypatch):
    rng = np.random.default_rng(3)
    use = fleet(OPERATORS["haul"], 20, rng)
    life = live(use, rng)
    charged = life.used - life.recuperated
    assert (charged <= 7 * use.charges * DEEPEST * use.pack * (1 + 1e-12)).all()
    assert np.isclose(life.depth, DEEPEST).any(), "nobody comes to the end of the range"
    monkeypatch.setattr(driving, "DEEPEST", 10.0)
    with pytest.raises(AssertionError):
        check_life(live(use, rng))


def test_capacity_that_grows_is_found(monkeypatch):
    honest = wear.capacity
    monkeypatch.setattr(driving, "capacity", lambda *given: honest(*given)[:, ::-1])
    with pytest.raises(AssertionError):
        check_life(life_of("metro", 0))


@settings(max_examples=15, deadline=None)
@given(
    seed=SEEDS, weeks=st.integers(2, MOST_WEEKS), sites=st.sampled_from(["operators", "vehicles"])
)
def test_rows_are_in_their_public_ranges(seed, weeks, sites):
    domain = Fleets(sites, {"haul": 2, "alpine": 1, "island": 1}, weeks, seed)
    data = domain.load()
    check_sites(data, domain.card)
    assert {site: len(held.train) for site, held in data.items()} == dict(domain.declared_sizes)
    parts = [e for held in data.values() for e in (held.train, held.test)]
    assert (torch.cat([e.targets for e in parts]).abs() <= 1).all()
    assert all(e.targets.dtype == torch.float32 for e in parts)
    for features in (torch.cat([e.features for e in parts]), domain.public_pool()):
        assert features.dtype == torch.float32
        for column, values in zip(SCHEMA.columns, columns_of(features).values(), strict=True):
            slack = 1e-5 * (column.valid[1] - column.valid[0])
            assert (values >= column.valid[0] - slack).all()
            assert (values <= column.valid[1] + slack).all()
            # A value that the schema had to clamp would lie at its end.
            assert (values < column.valid[1] - slack).all() or column.name.startswith(
                ("mean charge", "depth", "life left")
            )


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_the_seed_fixes_everything(seed):
    few = {"alpine": 2, "haul": 1}
    one, same, other = (Fleets(vehicles=few, seed=s) for s in (seed, seed, seed + 1))
    again, unlike = same.load(), other.load()
    for site, held in one.load().items():
        assert torch.equal(held.train.features, again[site].train.features)
        assert torch.equal(held.test.targets, again[site].test.targets)
        assert not torch.equal(held.train.features, unlike[site].train.features)
    assert torch.equal(one.public_pool(), same.public_pool())
    assert not torch.equal(one.public_pool(), other.public_pool())


def test_an_operator_stays_as_it_is_when_others_leave():
    every, one = Fleets().load(), Fleets(vehicles={"taxi": VEHICLES["taxi"]}).load()
    assert torch.equal(every["taxi"].train.features, one["taxi"].train.features)
    assert torch.equal(every["taxi"].test.targets, one["taxi"].test.targets)


def rows_of(features):
    return {row.numpy().tobytes() for row in features}


@pytest.mark.parametrize("sites", ["operators", "vehicles"])
def test_no_row_is_in_two_places(sites):
    domain = Fleets(sites)
    parts = [e.features for held in domain.load().values() for e in (held.train, held.test)]
    parts.append(domain.public_pool())
    assert len(set().union(*map(rows_of, parts))) == sum(map(len, parts))


def test_an_operators_held_out_vehicles_train_nobody():
    """A vehicle's report of age and odometer grows; a vehicle in both would be split in two."""
    for site, held in Fleets().load().items():
        for examples, count in ((held.train, VEHICLES[site]), (held.test, HELD_OUT)):
            assert len(examples) == 12 * count
            columns = columns_of(examples.features)
            for name in ("age (weeks)", "odometer (1000 km)", "full cycles so far"):
                assert (np.diff(columns[name].reshape(count, 12)) > 0).all()
            weeks = TARGET.unscale(examples.targets.double().numpy()).reshape(count, 12)
            age = columns["age (weeks)"].reshape(count, 12)
            open_ended = weeks >= TARGET.high - 1e-3
            # Age and remaining life of a vehicle have one sum, unless the life is clamped.
            total = np.where(open_ended, np.nan, age + weeks)
            assert (np.nanmax(total, 1) - np.nanmin(total, 1) < 1e-2).all()


def test_vehicles_are_the_operators_training_vehicles_one_by_one():
    operators, vehicles = Fleets().load(), Fleets("vehicles").load()
    assert list(vehicles)[:6] == [*(f"airport-{n:03}" for n in range(1, 6)), "alpine-001"]
    assert len(vehicles) == sum(VEHICLES.values())
    for operator, held in operators.items():
        mine = [v for name, v in vehicles.items() if name.rpartition("-")[0] == operator]
        together = [e for v in mine for e in (v.train, v.test)]
        assert rows_of(torch.cat([e.features for e in together])) == rows_of(held.train.features)
        assert sum(map(len, together)) == len(held.train)
        assert [(len(v.train), len(v.test)) for v in mine] == [(9, 3)] * VEHICLES[operator]


def test_operators_are_unlike():
    """Over thirty draws of routes, typical lives differ by more than a half."""
    lives = [
        np.median([np.median(life_of(name, seed).weeks) for seed in range(30)])
        for name in OPERATORS
    ]
    assert max(lives) > 1.5 * min(lives)
    mixes = [tuple(sorted(operator.mix.items())) for operator in OPERATORS.values()]
    assert len(set(mixes)) == len(mixes)
    for operator in OPERATORS.values():
        assert set(operator.mix) <= set(KINDS)
        assert sum(operator.mix.values()) == pytest.approx(1)


def test_declared_sizes_follow_from_public_numbers_alone(monkeypatch):
    monkeypatch.setattr(fleets, "live", None)  # no row is made for them
    assert Fleets(vehicles={"haul": 3, "taxi": 1}, weeks=7).declared_sizes == {
        "haul": 21,
        "taxi": 7,
    }
    own = Fleets("vehicles", {"haul": 2, "taxi": 1}, weeks=7).declared_sizes
    assert own == {"haul-001": 5, "haul-002": 5, "taxi-001": 5}


@pytest.mark.parametrize(("sites", "rows"), [("operators", 12), ("vehicles", 9)])
def test_the_card_says_what_it_is(sites, rows):
    card = Fleets(sites).card
    assert card.synthetic
    assert "synthetic" in card.title
    assert "Synthetic: no such vehicle exists" in card.description
    assert "that federation helps here is built in" in card.description
    assert (card.metric, card.target, card.classes, card.outputs) == (Metric.RMSE, TARGET, (), 1)
    assert f"a vehicle has {rows} training rows" in card.not_protected[0]
    assert "shows in every later row" in card.not_protected[1]
    assert card.public_pool.startswith(f"{len(Fleets().public_pool())} unlabelled rows")
    assert "public by assumption" in card.public_pool


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": "depots"}, "domain.sites=depots: must be one of operators, vehicles"),
        ({"vehicles": {"metro": 3, "tram": 2}}, "domain.vehicles: no such operator: tram"),
        ({"vehicles": {}}, "domain.vehicles: names no operator"),
        ({"vehicles": {"metro": 0}}, "domain.vehicles.metro=0: must be a whole number from 1"),
        ({"vehicles": {"metro": 1000}}, "domain.vehicles.metro=1000: must be a whole number"),
        ({"vehicles": {"metro": 2.5}}, "domain.vehicles.metro=2.5: must be a whole number"),
        ({"weeks": 0}, "domain.weeks=0: must be a whole number from 1 to 20"),
        ({"weeks": True}, "domain.weeks=True: must be a whole number"),
        ({"weeks": 21}, "domain.weeks=21: must be a whole number"),
        ({"sites": "vehicles", "weeks": 1}, "domain.weeks=1: must be a whole number from 2"),
        ({"seed": -1}, "domain.seed=-1: must be a whole number of at least 0"),
        ({"seed": "one"}, "domain.seed=one: must be a whole number"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Fleets(**options)


def test_one_report_of_one_vehicle_is_enough_at_an_operator():
    held = Fleets(vehicles={"haul": 1}, weeks=1).load()["haul"]
    assert (len(held.train), len(held.test)) == (1, HELD_OUT)
    assert math.isfinite(held.train.targets.item())

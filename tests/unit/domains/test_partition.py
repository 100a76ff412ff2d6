"""Every partition: whose rows they are, how many, how alike the sites are, and what is refused."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from commands.compose import composed
from tacit.domains.partition import Table, partition_of, parts_of
from tacit.domains.partition_column import Column
from tacit.domains.partition_draw import apportion, draw_distinct
from tacit.domains.partition_labels import Dirichlet, Shards
from tacit.domains.partition_sizes import IID, Quantity
from tacit.errors import ConfigurationError

CLASSES = 5
MAKERS = {
    "iid": IID,
    "dirichlet": lambda **o: Dirichlet(alpha=0.5, **o),
    "quantity": Quantity,
    "log-normal": lambda **o: Quantity(alpha=None, sigma=1.5, **o),
    "shards": lambda **o: Shards(shards=2, **o),
}
seeds = st.integers(0, 2**32)


def table(rows, seed=0):
    labels = np.random.default_rng(seed).integers(0, CLASSES, rows)
    return Table(rows, {"label": labels})


def held(parts):
    return [
        parts.rows[a:b].tolist() for a, b in zip(parts.offsets[:-1], parts.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize("name", MAKERS)
@given(rows=st.integers(1, 300), sites=st.integers(1, 40), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_a_division_gives_every_row_to_one_site_and_every_site_a_row(name, rows, sites, seed):
    partition = MAKERS[name](sites=sites, seed=seed)
    if sites > rows or (name == "shards" and 2 * sites > rows):
        with pytest.raises(ConfigurationError, match=r"sites.*domain\.partition\.rows"):
            partition.divide(table(rows))
        return
    # By label some site may be left without rows, however often it is drawn.
    assume(name != "dirichlet" or sites <= rows // 10)
    parts = partition.divide(table(rows))
    assert sorted(parts.rows.tolist()) == list(range(rows))
    assert len(parts.names) == len(parts.sizes) == sites
    assert parts.sizes.min() >= 1
    assert list(parts.names) == sorted(parts.names)
    again = MAKERS[name](sites=sites, seed=seed).divide(table(rows))
    assert held(again) == held(parts)


@pytest.mark.parametrize("name", MAKERS)
@given(among=st.integers(10, 200), share=st.floats(0.01, 1), sites=st.integers(1, 60), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_a_site_draws_its_number_of_distinct_rows(name, among, share, sites, seed):
    rows = max(2, int(share * among) // 2 * 2)
    assume(name != "shards" or among // (rows // 2) >= 2)
    parts = MAKERS[name](sites=sites, rows=rows, seed=seed).divide(table(among))
    for own in held(parts):
        assert own == sorted(set(own))
        assert own[0] >= 0
        assert own[-1] < among
    if name in ("quantity", "log-normal"):
        assert parts.sizes.sum() <= sites * rows
        assert parts.sizes.max() <= among
    else:
        assert set(parts.sizes.tolist()) == {rows}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("rows", [None, 20])
def test_another_seed_is_another_partition(name, rows):
    found = [held(MAKERS[name](sites=9, rows=rows, seed=s).divide(table(400))) for s in (0, 1)]
    assert found[0] != found[1]


def mixes(parts, labels):
    """Share of each class at each site [sites, classes]."""
    counts = np.zeros((len(parts.names), CLASSES))
    np.add.at(counts, (parts.owners, labels[parts.rows]), 1)
    return counts / counts.sum(1, keepdims=True)


@pytest.mark.parametrize("rows", [None, 100])
def test_label_skew_falls_as_alpha_grows_by_the_law_of_the_dirichlet(rows):
    full = Table(20_000, {"label": np.arange(20_000) % CLASSES})
    sites = 200
    spreads = []
    for alpha in (0.3, 1.0, 10.0, 1000.0):
        parts = Dirichlet(sites, alpha, rows=rows).divide(full)
        spreads.append(float(mixes(parts, full.columns["label"]).var(0).mean()))
        if rows is not None:
            # Variance of a share of Dirichlet(α, …, α) over C classes, p = 1 / C, and of the
            # multinomial draw of `rows` on top of it. Over 200 sites it is found to about 15 %
            # (one standard error, for α = 0.3), and the seed is fixed.
            p = 1 / CLASSES
            own = p * (1 - p) / (CLASSES * alpha + 1)
            wanted = own + (p * (1 - p) - own) / rows
            assert spreads[-1] == pytest.approx(wanted, rel=0.35)
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 10 * spreads[-1]


def test_a_mix_follows_that_of_the_table():
    rare = Table(1000, {"label": np.repeat([0, 1], [900, 100])})
    parts = Dirichlet(2000, 1.0, rows=20).divide(rare)
    share = (rare.columns["label"][parts.rows] == 1).mean()
    assert share == pytest.approx(0.1, abs=0.03)


def test_a_class_that_has_too_few_rows_gives_way_to_others():
    few = Table(100, {"label": np.repeat([0, 1, 2], [90, 5, 5])})
    parts = Dirichlet(50, 0.01, rows=60).divide(few)
    assert set(parts.sizes.tolist()) == {60}


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    extra=st.integers(0, 5),
    seed=seeds,
)
@settings(deadline=None)
def test_drawn_numbers_are_distinct_at_each_site(counts, extra, seed):
    counts = np.array(counts)
    among = int(counts.max()) + extra
    drawn = draw_distinct(np.random.default_rng(seed), counts, among)
    parts = np.split(drawn, np.cumsum(counts)[:-1])
    for part, count in zip(parts, counts, strict=True):
        assert len(set(part.tolist())) == count
        assert set(part.tolist()) <= set(range(among))


def test_every_set_is_drawn_equally_often(monkeypatch):
    monkeypatch.setattr("tacit.domains.partition_draw.AT_ONCE", 1000)
    sites = 60_000
    drawn = draw_distinct(np.random.default_rng(0), np.full(sites, 2), 5).reshape(sites, 2)
    codes = np.bincount(np.sort(drawn, 1) @ [5, 1], minlength=25)
    seen = codes[codes > 0]
    assert len(seen) == 10
    # Each of 10 sets is expected 6000 times, with a standard deviation of 73: 5 of them.
    assert abs(seen - sites / 10).max() < 5 * 73


@given(weights=st.lists(st.floats(0, 1), min_size=1, max_size=20), total=st.integers(0, 10_000))
def test_parts_sum_to_the_whole_and_follow_their_shares(weights, total):
    assume(sum(weights) > 0.01)
    shares = np.array(weights) / sum(weights)
    parts = apportion(shares, total)
    assert parts.sum() == total
    assert (parts >= 0).all()
    assert np.abs(parts - shares * total).max() <= 1.001


@pytest.mark.parametrize("options", [{"alpha": 0.1}, {"alpha": None, "sigma": 2.0}])
def test_quantity_is_unlike_and_its_knob_says_how_much(options):
    parts = Quantity(100, **options).divide(table(10_000))
    assert parts.sizes.max() > 10 * np.median(parts.sizes)
    alike = Quantity(100, alpha=1000.0).divide(table(10_000))
    assert alike.sizes.max() < 1.5 * np.median(alike.sizes)
    mean = Quantity(100, rows=30, **options).divide(table(10_000)).sizes.mean()
    assert mean == pytest.approx(30, rel=0.01)


def test_a_site_of_shards_knows_few_labels():
    full = Table(1000, {"label": np.arange(1000) % 10})
    for rows in (None, 10):
        parts = Shards(50, 2, rows=rows).divide(full)
        known = [len(set((full.columns["label"][own]).tolist())) for own in held(parts)]
        assert max(known) <= 4  # a shard may lie across the border of two labels
        assert np.mean(known) < 2.5


def test_rows_with_one_value_make_a_site():
    values = Table(6, {"writer": np.array([10, 2, 2, 10, 7, 2]), "ward": np.array(list("baabca"))})
    parts = Column("writer").divide(values)
    assert parts.names == ("writer-02", "writer-07", "writer-10")
    assert held(parts) == [[1, 2, 5], [4], [0, 3]]
    assert Column("ward").divide(values).names == ("ward-a", "ward-b", "ward-c")
    with pytest.raises(ConfigurationError, match=r"no column 'hand'.*it has writer, ward"):
        Column("hand").divide(values)


@pytest.mark.parametrize("values", [np.array([0.5]), np.array(["a/b"]), np.array([""])])
def test_a_value_that_cannot_name_a_site_is_refused(values):
    with pytest.raises(ConfigurationError, match=r"domain\.partition\.column=x"):
        Column("x").divide(Table(1, {"x": values}))


@pytest.mark.parametrize(
    ("maker", "says"),
    [
        (lambda: IID(0), r"domain\.partition\.sites=0"),
        (lambda: IID("many"), r"domain\.partition\.sites=many"),
        (lambda: IID(3, rows=0), r"domain\.partition\.rows=0"),
        (lambda: IID(3, seed=-1), r"domain\.partition\.seed=-1"),
        (lambda: Dirichlet(3, 0.0), r"domain\.partition\.alpha=0"),
        (lambda: Dirichlet(3, float("nan")), r"domain\.partition\.alpha=nan"),
        (lambda: Quantity(3, alpha=1.0, sigma=1.0), "set one"),
        (lambda: Quantity(3, alpha=None), "set one"),
        (lambda: Quantity(3, alpha=None, sigma=-1.0), r"domain\.partition\.sigma=-1"),
        (lambda: Shards(3, 0), r"domain\.partition\.shards=0"),
        (lambda: Shards(3, 4, rows=10), r"domain\.partition\.rows=10 must be a multiple.*use 8"),
        (lambda: IID(3, rows=101).divide(table(100)), r"rows=101: there are only 100 rows"),
        (lambda: IID(101).divide(table(100)), r"sites=101: .*set domain\.partition\.rows"),
        (lambda: Shards(60).divide(table(100)), r"use at most 50 sites"),
        (lambda: Dirichlet(50, 1e-3).divide(table(100)), r"use a larger domain\.partition\.alpha"),
    ],
)
def test_what_cannot_be_is_refused_by_key_value_and_way(maker, says):
    with pytest.raises(ConfigurationError, match=says):
        maker()


def test_a_foreign_partition_cannot_leave_a_site_empty_or_count_a_row_twice():
    with pytest.raises(ConfigurationError, match=r"leaves 1 of 3 sites without rows.*user-000001"):
        parts_of(np.array([0, 2]), np.array([0, 1]), 2, 3)
    with pytest.raises(ConfigurationError, match=r"gives user-000001 row 4 twice"):
        parts_of(np.array([0, 1, 1]), np.array([4, 4, 4]), 5, 2)


@pytest.mark.parametrize("option", ["iid", "dirichlet", "quantity", "shards", "column"])
def test_every_packaged_partition_is_made_and_follows_the_seed(option):
    found = composed(["domain=digits", f"partition={option}", "seed=7"])["domain"]["partition"]
    assert found["name"] == option
    assert found.get("seed", 7) == 7
    assert partition_of(found).divide(table(2000)).names
    assert partition_of(made := IID(3)) is made


def test_a_partition_without_a_class_is_refused():
    with pytest.raises(ConfigurationError, match="choose one with partition="):
        partition_of({"sites": 3})
    with pytest.raises(ConfigurationError, match=r"domain\.partition: IID does not take"):
        partition_of({"_target_": "tacit.domains.partition_sizes.IID", "site": 3})

"""What all sites of a sum agree on: one text, and of each site nothing but what all are told."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit import joint_plan
from tacit.errors import ConfigurationError
from tacit.joint_plan import MOST_BYTES, JointPlan
from tacit.learning.plan import LocalOptimizer, Part, Persons, RoundPlan, Share, Within
from tacit.messages import Terms
from tacit.privacy.events import Unit

PART = Part(bits=32, spacing=2.0**-20, dimension=6, sites=5, largest=1000, weight=0.5)
PLAN = RoundPlan(3, 0.5, 8.0, 0.1, 1.5, 20.0, part=PART)
SHARED = RoundPlan(1, 0.5, 8.0, 0.1, 1.5, part=PART, share=Share(4096.0, 2))
PERSON = replace(PLAN, unit=Unit.PERSON, persons=Persons(8, Within.MEAN))
TERMS = Terms("wards", "f" * 64, "fedavg", others=2)
SITES = ("east", "north", "south")


def joint_of(plan=PLAN, /, **own):
    """A plan of sites that do the same, but for those that have their own."""
    return JointPlan.of("run-1", 5, TERMS, dict.fromkeys(SITES, plan) | own)


def weighing(weight, plan=PLAN):
    return replace(plan, part=replace(plan.part, weight=weight))


PLANS = {"alike": joint_of(), "own": joint_of(north=weighing(1.0)), "shared": joint_of(SHARED)}

positive = st.floats(min_value=1e-6, max_value=1e6)


def owned(plan, rate, divisor, weight, noise=None):
    own = {"sampling_rate": rate, "divisor": divisor}
    return replace(weighing(weight, plan), **own, **({"noise_multiplier": noise} if noise else {}))


rates = st.floats(1e-9, 1)
private = st.builds(RoundPlan, st.integers(1, 10**9), rates, positive, positive, part=st.just(PART))
private = st.builds(replace, private, clipping_norm=positive, noise_multiplier=positive)
plans_of_all = st.one_of(
    st.builds(
        lambda plan: st.builds(owned, st.just(plan), rates, positive, rates, positive), private
    ),
    st.just(st.builds(owned, st.just(SHARED), rates, st.just(SHARED.divisor), rates)),
)
joint_plans = st.builds(
    JointPlan.of,
    st.text(),
    st.integers(1, 2**62),
    st.builds(Terms, st.text(), st.text(), st.text(), st.integers(0, 10**6)),
    plans_of_all.flatmap(
        lambda plans: st.dictionaries(st.text(), plans, min_size=2, max_size=PART.sites)
    ),
)


@given(joint_plans)
def test_a_plan_is_read_as_it_was_written_and_has_one_text(plan):
    text = plan.text()
    found = JointPlan.parse(text)
    assert found == plan
    assert found.text() == text
    assert plan.digest() == hashlib.sha256(text).digest()


def test_the_order_in_which_sites_are_named_says_nothing():
    plans = {site: weighing(0.1 * number) for number, site in enumerate(SITES, 1)}
    turned = dict(reversed(plans.items()))
    assert JointPlan.of("r", 5, TERMS, turned).text() == JointPlan.of("r", 5, TERMS, plans).text()


def test_what_is_alike_for_all_is_written_once():
    part = replace(PART, sites=1000)
    plans = {f"site-{n:04d}": replace(PLAN, part=part) for n in range(1000)}
    assert len(JointPlan.of("run-1", 5, TERMS, plans).text()) < 20 * 1000


def test_it_says_how_long_a_vector_is_and_how_many_sum_at_least():
    plan = joint_of()
    assert (plan.bits, plan.dimension, plan.fewest) == (32, 6, 3)


def rewritten(change):
    def rewrite(text):
        found = json.loads(text)
        change(found)
        return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()

    return rewrite


def one_is_not_written_once(found):
    for row in found["sites"].values():
        row["plan-steps"] = 3
    del found["all"]["plan-steps"]


def one_overrides_all(found):
    found["sites"]["east"]["plan-divisor"] = 9.0


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text + b"\n",
        lambda text: text.replace(b'"rounds":5', b'"rounds": 5'),
        lambda text: text.replace(b'"rounds":5', b'"rounds":5,"rounds":5'),
        lambda text: text.replace(b'"rounds":5', b'"rounds":9,"rounds":5'),
        lambda text: text.replace(b'"plan-divisor":8.0', b'"plan-divisor":8.00'),
        lambda text: text.replace(b'"plan-divisor":8.0', b'"plan-divisor":80e-1'),
        lambda text: text.replace(b"east", b"\\u0065ast"),
        lambda text: text.decode().encode("utf-16"),
        lambda text: json.dumps(dict(reversed(json.loads(text).items()))).encode(),
        lambda text: json.dumps(json.loads(text), indent=1).encode(),
        rewritten(lambda found: found.update(note=1)),
        rewritten(lambda found: found.update(format="tacit/joint/2")),
        rewritten(lambda found: found.pop("format")),
        rewritten(one_is_not_written_once),
        rewritten(one_overrides_all),
    ],
)
def test_what_could_have_been_written_in_two_ways_is_refused(rewrite):
    text = joint_of().text()
    changed = rewrite(text)
    assert changed != text
    with pytest.raises(ConfigurationError, match="is not written as one is"):
        JointPlan.parse(changed)


def without(key):
    return rewritten(lambda found: found.pop(key))


def of_all(**values):
    return rewritten(lambda found: found["all"].update(values))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"3",
        b"\xff\xfe",
        b"[" * 100_000,
        *(without(key)(joint_of().text()) for key in ("run", "rounds", "terms", "all", "sites")),
        *(
            rewritten(lambda found, value=value: found.update(sites=value))(joint_of().text())
            for value in ({}, [], None, {"east": {}}, {"east": 1, "north": 2}, ["east", "north"])
        ),
        rewritten(lambda found: found["terms"].update(others="2"))(joint_of().text()),
        rewritten(lambda found: found["terms"].update(note=1))(joint_of().text()),
        rewritten(lambda found: found.update(terms=None))(joint_of().text()),
        of_all(**{"plan-part-sites": "many"})(joint_of().text()),
        of_all(**{"plan-part-sites": None})(joint_of().text()),
        of_all(**{"plan-part-sites": float("inf")})(joint_of().text()),
        of_all(**{"plan-divisor": float("nan")})(joint_of().text()),
        joint_of().text().replace(b'"plan-part-sites":5', b'"plan-part-sites":1e999'),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_no_joint_plan_is_refused(content):
    with pytest.raises(ConfigurationError):
        JointPlan.parse(content)


@given(st.data())
def test_a_text_that_came_damaged_is_refused_or_says_what_it_says(data):
    text = bytearray(data.draw(st.sampled_from([plan.text() for plan in PLANS.values()])))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        found = JointPlan.parse(bytes(text))
    except ConfigurationError:
        return
    assert found.text() == bytes(text)


def test_a_text_that_is_too_large_is_not_read(monkeypatch):
    text = joint_of().text()
    monkeypatch.setattr(joint_plan, "MOST_BYTES", len(text))
    assert JointPlan.parse(text) == joint_of()
    monkeypatch.setattr(joint_plan, "MOST_BYTES", len(text) - 1)
    monkeypatch.setattr(joint_plan.json, "loads", None)
    with pytest.raises(ConfigurationError, match=f"{len(text)} bytes is too large"):
        JointPlan.parse(text)
    assert MOST_BYTES == 1 << 24


def on(**grid):
    return replace(PLAN, part=replace(PART, **grid))


@pytest.mark.parametrize(
    ("plan", "own", "key"),
    [
        (on(bits=32), on(bits=16), "plan-part-bits"),
        (PLAN, on(spacing=2.0**-19), "plan-part-spacing"),
        (PLAN, on(dimension=7), "plan-part-dimension"),
        (PLAN, on(largest=999), "plan-part-largest"),
        (PLAN, on(sites=4), "plan-part-sites"),
        (PLAN, replace(PLAN, part=None), "plan-part-bits"),
        (SHARED, replace(SHARED, share=Share(4097.0, 2)), "plan-share-variance"),
        (SHARED, replace(SHARED, share=Share(4096.0, 1)), "plan-share-honest"),
        (SHARED, replace(SHARED, noise_multiplier=20.0, share=None), "plan-share-variance"),
        (PLAN, replace(PLAN, unit=Unit.CLIENT), "plan-unit"),
        (PERSON, replace(PERSON, persons=Persons(9, Within.MEAN)), "plan-persons-rows"),
        (PERSON, replace(PERSON, persons=Persons(8, Within.SUM)), "plan-persons-within"),
        (PLAN, replace(PLAN, steps=1), "plan-steps"),
        (PLAN, replace(PLAN, learning_rate=1e-9), "plan-learning-rate"),
        (PLAN, replace(PLAN, optimizer=LocalOptimizer.ADAM), "plan-optimizer"),
        (PLAN, replace(PLAN, proximal_mu=9.0), "plan-proximal-mu"),
        (PLAN, replace(PLAN, clipping_norm=1e-9), "plan-clipping-norm"),
        (PLAN, replace(PLAN, clip_factor=1e-9), "plan-clip-factor"),
        (PLAN, replace(PLAN, count_weight=0.5), "plan-count-weight"),
    ],
)
@pytest.mark.parametrize("site", ["east", "south"])
def test_sites_that_count_on_different_things_do_not_sum(plan, own, key, site):
    with pytest.raises(ConfigurationError, match=f"differ in {key}: they cannot sum"):
        joint_of(plan, **{site: own})


def test_sites_may_differ_in_what_is_their_own():
    for own in (
        weighing(1.0),
        replace(PLAN, sampling_rate=1.0),
        replace(PLAN, divisor=7.0),
        replace(PLAN, noise_multiplier=30.0),
    ):
        assert joint_of(north=own).sites["east"] == joint_of().sites["east"]


def test_there_is_no_sum_of_one_or_without_a_grid():
    with pytest.raises(ConfigurationError, match="of 1 sites sums nothing"):
        JointPlan.of("run-1", 5, TERMS, {"east": PLAN})
    with pytest.raises(ConfigurationError, match="have no part of a sum"):
        joint_of(replace(PLAN, part=None))


def test_there_are_no_more_sites_than_the_grid_has_room_for():
    plans = {str(number): PLAN for number in range(PART.sites)}
    JointPlan.of("run-1", 5, TERMS, plans)
    with pytest.raises(ConfigurationError, match="6 sites are more than their grid has room for"):
        JointPlan.of("run-1", 5, TERMS, plans | {"one more": PLAN})


CHANGES = [
    (PLAN, weighing(0.25)),
    (PLAN, weighing(2.0**-40)),
    (PLAN, replace(PLAN, learning_rate=0.2)),
    (PLAN, replace(PLAN, clipping_norm=1.0)),
    (PLAN, replace(PLAN, clip_factor=0.5)),
    (PLAN, replace(PLAN, sampling_rate=0.25)),
    (PLAN, replace(PLAN, divisor=9.0)),
    (PLAN, replace(PLAN, steps=2)),
    (PLAN, replace(PLAN, proximal_mu=0.1)),
    (PLAN, replace(PLAN, optimizer=LocalOptimizer.ADAM)),
    (PLAN, replace(PLAN, unit=Unit.CLIENT)),
    (PLAN, replace(PLAN, count_weight=0.5)),
    (PLAN, replace(PLAN, clipping_norm=None, noise_multiplier=None)),
    (PLAN, replace(PLAN, part=None)),
    (PLAN, on(spacing=2.0**-30)),
    (PLAN, on(largest=1)),
    (PLAN, on(dimension=5)),
    (PLAN, on(sites=6)),
    (PLAN, SHARED),
    (SHARED, replace(SHARED, share=Share(1.0, 2))),
    (SHARED, replace(SHARED, share=Share(4096.0, 1))),
    (SHARED, replace(SHARED, learning_rate=0.2)),
    (SHARED, weighing(0.25, SHARED)),
]


@pytest.mark.parametrize(("told", "asked"), CHANGES)
def test_a_site_is_asked_for_nothing_that_the_others_were_not_told(told, asked):
    plan = joint_of(told)
    plan.check("north", "run-1", 5, told)
    with pytest.raises(ConfigurationError, match="is asked of north, and all sites were told"):
        plan.check("north", "run-1", 5, asked)


@pytest.mark.parametrize(
    ("told", "asked"), [*CHANGES[:2], (PLAN, replace(PLAN, sampling_rate=0.25, divisor=4.0))]
)
def test_whatever_one_site_is_asked_the_hash_is_another(told, asked):
    assert joint_of(told, north=asked).digest() != joint_of(told).digest()


def test_what_was_told_of_one_site_is_asked_of_that_one():
    plan = joint_of(north=weighing(1.0))
    plan.check("north", "run-1", 5, weighing(1.0))
    plan.check("east", "run-1", 5, PLAN)
    with pytest.raises(ConfigurationError, match=r"plan-part-weight=1\.0 is asked of east"):
        plan.check("east", "run-1", 5, weighing(1.0))
    with pytest.raises(ConfigurationError, match="is asked of stranger"):
        plan.check("stranger", "run-1", 5, PLAN)


def test_rounds_and_run_are_those_that_all_were_told():
    with pytest.raises(ConfigurationError, match=r"rounds=6 is asked of north.* told 5"):
        joint_of().check("north", "run-1", 6, PLAN)
    with pytest.raises(ConfigurationError, match=r"run=run-2 is asked of north.* told run-1"):
        joint_of().check("north", "run-2", 5, PLAN)


def test_a_sites_own_noise_is_between_it_and_its_policy():
    plan = joint_of()
    plan.check("north", "run-1", 5, replace(PLAN, noise_multiplier=99.0))
    assert b"noise" not in plan.text()
    assert joint_of(north=replace(PLAN, noise_multiplier=99.0)).digest() == plan.digest()


SIZES = {"east": 16, "north": 32, "south": 16}


def sized(**own):
    """A plan as sizes give it: weights relative to the largest, full batches of half the rows."""
    rows = {
        site: replace(weighing(size / 32), sampling_rate=0.5, divisor=size / 2)
        for site, size in SIZES.items()
    }
    return JointPlan.of("run-1", 5, TERMS, rows | own)


def test_weights_and_divisors_follow_from_declared_sizes():
    sized().check_sizes(SIZES)
    sized().check_sizes({"east": 16})
    sized().check_sizes({})
    joint_of(weighing(1.0)).check_sizes({"east": 16, "elsewhere": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        replace(weighing(1e-9), sampling_rate=0.5, divisor=8.0),
        replace(weighing(1.0), sampling_rate=0.5, divisor=8.0),
        replace(weighing(0.5), sampling_rate=0.5, divisor=8e9),
        replace(weighing(0.5), sampling_rate=1e-9, divisor=8.0),
    ],
    ids=["faint", "loud", "divided away", "hardly sampled"],
)
def test_a_site_that_would_send_nothing_much_is_found(wrong):
    with pytest.raises(ConfigurationError, match="declared size"):
        sized(south=wrong).check_sizes(SIZES)

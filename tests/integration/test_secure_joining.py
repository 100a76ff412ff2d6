"""Sites that join a run of secure sums one after another, each with a budget of its own."""

from dataclasses import replace
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
from lying_coordinator import MODEL, POLICY, RUN, ZERO

from client.app import build_client_app
from commands.compose import composed
from server.deployment import _joining, _sites
from server.joining import Joining
from server.kept_plan import PLAN, read_plan, write_plan
from server.planning import plan_run
from server.rounds import State, run_rounds
from server.secure import Secured
from simulations.grid import LocalGrid, loop_engine
from strategies.build import FEDAVG, build_strategy
from tacit.components import make
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError
from tacit.experiment import prepare_model
from tacit.plan_fields import flat
from tacit.settings import RecordPrivacy, Training

TRAINING = Training(rounds=2, local_steps=1, batch_size="full", learning_rate=0.5, min_replies=4)
DIMENSION = 8


def joining_of(sites, folder, present, privacy, plan=None):
    """How a deployed coordinator gathers sites, of which some are there."""
    app = build_client_app(lambda context: sites.sites[context.node_config["site"]])
    grid = LocalGrid(sites.names, loop_engine(app))
    planner = partial(
        plan_run,
        RUN,
        "wards",
        MODEL,
        dict.fromkeys(sites.names, 16),
        TRAINING,
        privacy,
        FEDAVG,
        folder / "cache",
        DIMENSION,
        secure=True,
    )
    return Joining(
        grid=grid,
        names=grid.names,
        terms=planner({}).terms,
        training=TRAINING,
        privacy=privacy,
        planner=planner,
        least=4,
        present=lambda: frozenset(present),
        heard=lambda joined, refused: None,
        keep=partial(write_plan, folder / "plan.json"),
        plan=plan,
    )


@pytest.mark.parametrize("bits", [32, 16])
def test_a_site_that_comes_later_and_spends_less(wards, tmp_path, bits):
    """More noise at one site needs a wider grid on 16 bits: then it is everybody's."""
    sites = wards(reserved=False)
    narrow = replace(POLICY, epsilon_per_run=0.3)
    sites.sites["ward4"] = replace(sites.sites["ward4"], policy=narrow)
    privacy = RecordPrivacy("record", 1.0, 1e-5, 1.0, bits=bits)
    present = set(sites.names[:4])
    joining = joining_of(sites, tmp_path, present, privacy)
    joining.gather(1.0)
    before = joining.planned()
    present.add("ward4")
    joining.welcome()
    plan = joining.planned()
    assert set(plan.sites) == set(sites.names)
    assert plan.sites["ward4"].noise_multiplier > 2 * plan.sites["ward0"].noise_multiplier
    assert (before.sites["ward0"].part == plan.sites["ward0"].part) == (bits == 32)
    assert plan.sites["ward0"].event() == before.sites["ward0"].event()
    outcomes = rounds_of(joining, sites)
    assert [outcome.replied for outcome in outcomes] == [sites.names] * 2
    # And it is kept, for a process that begins anew.
    kept = read_plan(tmp_path / "plan.json")
    assert {s: flat(p) for s, p in kept.sites.items()} == {
        s: flat(p) for s, p in plan.sites.items()
    }


def rounds_of(joining, sites):
    outcomes = []
    run_rounds(
        joining.grid,
        build_strategy(FEDAVG),
        joining.planned(),
        joining.names_there(),
        State(0, ZERO, model=MODEL),
        lambda after, outcome: outcomes.append(outcome),
        secured=Secured(sites.roster, count(1)),
    )
    return outcomes


def test_a_coordinator_that_begins_anew_knows_whose_sum_it_was(tmp_path):
    """Also while nobody is there: else the report would say that each part was seen."""
    settings = read_settings(composed(["domain=hospitals", "model=linear", "compare=false"]))
    domain = make("domain", settings.domain)
    prepared = prepare_model(settings, domain)
    nodes = dict(enumerate(domain.declared_sizes))
    link = SimpleNamespace(grid=None, names=nodes, present=frozenset)
    board = SimpleNamespace(heard=None)
    begun = partial(_joining, tmp_path, prepared, domain.declared_sizes, RUN, link, board)
    plan = begun().planner({})
    joined = ("county", "referral", "screening")
    write_plan(tmp_path / PLAN, replace(plan, sites={site: plan.sites[site] for site in joined}))
    after = begun().planned()
    assert set(after.sites) == {"county", "referral", "screening"}
    assert after.joint() == plan.joint()
    assert set(after.summed) == set(domain.declared_sizes)


def test_noise_in_shares_is_never_deployed_without_a_secure_sum():
    words = ("domain=hospitals", "privacy=shared_noise", "secure_aggregation=off", "compare=false")
    settings = read_settings(composed(words))
    domain = make("domain", settings.domain)
    members = [SimpleNamespace(name=name) for name in domain.declared_sizes]
    bundle = SimpleNamespace(roster=SimpleNamespace(valid=lambda at: members))
    with pytest.raises(ConfigurationError, match="secure_aggregation=off: with privacy=shared_"):
        _sites(bundle, domain, settings)

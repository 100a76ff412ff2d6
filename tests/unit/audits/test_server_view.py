"""What a run lets its server rebuild: everything from an exact update, nothing under noise."""

from types import SimpleNamespace

import pytest

from audits.audit import DEPLOYED, STAGES
from audits.bench import Bench
from audits.likeness import MOST
from audits.server_view import RECORDS, ServerView
from commands.compose import composed
from tacit.components import make
from tacit.configuration import read_settings
from tacit.runs.audited import Outcome, StageName

WORDS = ("domain=digits", "domain.partition.sites=5", "domain.image=true", "training.rounds=2")


def findings(*words, claimed=None):
    settings = read_settings(composed([*WORDS, *words]))
    sizes = make("domain", settings.domain).declared_sizes
    stranger = SimpleNamespace(
        settings=settings,
        run="run",
        results=SimpleNamespace(secure_sum=claimed),
        declared_sizes=sizes,
    )
    return {found.test: found for found in ServerView(stranger, Bench(stranger)).findings()}


def exact(finding):
    figures = finding.figures
    return figures["psnr"] == MOST and figures["better_than_chance"] == RECORDS


def test_an_exact_update_gives_records_away():
    found = findings("privacy=none")
    assert list(found) == [
        "records by division, from a site's exact update",
        "records by search, from a site's exact update",
    ]
    divided, searched = found.values()
    assert exact(divided)
    assert divided.figures["ssim"] == pytest.approx(1)
    assert divided.figures["psnr"] > divided.figures["psnr_chance"]
    assert divided.series["rebuilt"] == pytest.approx(divided.series["original"], abs=1e-4)
    assert (divided.figures["height"], divided.figures["width"]) == (8, 8)
    assert searched.figures["ssim"] > 0.9
    assert searched.figures["better_than_chance"] == RECORDS
    assert not any(each.contradicted for each in found.values())


def test_a_noised_update_does_not_and_the_exact_one_stands_beside_it():
    noised, plain, searched, searched_plain = findings("privacy=record").values()
    assert "a site's noised update" in noised.test
    assert noised.figures["better_than_chance"] <= 1
    assert noised.figures["psnr"] < noised.figures["psnr_chance"]
    assert searched.figures["better_than_chance"] <= 1
    assert exact(plain)
    assert searched_plain.figures["better_than_chance"] == RECORDS


def test_a_sum_hides_one_of_many_sites_and_is_not_searched():
    claimed = SimpleNamespace(fewest=5, bits=32)
    words = ("privacy=none", "secure_aggregation=required")
    summed, plain, searched = findings(*words, claimed=claimed).values()
    assert "the sum over 5 sites" in summed.test
    assert summed.figures["better_than_chance"] <= 1
    assert exact(plain)
    assert "exact" in searched.test


def test_noise_in_shares_is_seen_as_its_sum():
    found = list(findings("privacy=shared_noise", "privacy.epsilon=2"))
    assert found[0].endswith("the sum over 5 sites, as a deployment would show it")


def test_a_coordinator_that_is_trusted_sees_a_clients_record():
    words = ("privacy=client_level", "privacy.delta=1e-3", "privacy.clipping_norm=0.1")
    clipped, *_ = findings(*words).values()
    assert "with which the coordinator is trusted" in clipped.test
    assert exact(clipped)


def test_a_table_is_no_image():
    found, *_ = findings("privacy=none", "domain.image=false").values()
    assert (found.figures["height"], found.figures["width"]) == (1, 64)
    assert "ssim" not in found.figures


def test_of_a_deployed_run_nothing_is_tested():
    results = SimpleNamespace(simulation=False)
    stage = STAGES[StageName.SEEN](SimpleNamespace(stranger=SimpleNamespace(results=results)))
    assert stage.outcome is Outcome.NOT_TESTED
    assert stage.why == DEPLOYED

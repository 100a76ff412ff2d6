"""Runs as a stranger finds them, of which nothing was trained: what a plan would have claimed."""

from pathlib import Path
from types import SimpleNamespace

from audits.bench import Bench
from audits.stranger import Stranger
from commands.compose import composed
from tacit.components import make
from tacit.configuration import read_settings
from tacit.privacy.accounting import epsilon
from tacit.privacy.policy import with_steps
from tacit.runs.results import Adversary, Guarantee, Mechanism, SiteSpending


def claimed(*words):
    """Give what a run of these words would claim, and its bench."""
    settings = read_settings(composed([*words, "compare=false", "run.dir=nowhere"]))
    sizes = dict(sorted(make("domain", settings.domain).declared_sizes.items()))
    bench = Bench(Stranger(Path("nowhere"), "run", settings, SimpleNamespace(), (), sizes))
    return _guarantee(bench, settings.privacy.delta), bench


def _guarantee(bench, delta):
    sites = {}
    for site, plan in bench.plan.sites.items():
        event = plan.event()
        done = with_steps(event, event.steps * bench.plan.rounds_of_a_site)
        sites[site] = SiteSpending(
            epsilon(done, delta), 1.0, done[0].steps, 1.0, 1.0, plan.clipping_norm
        )
    return Guarantee(
        event.unit,
        event.relation,
        delta,
        Adversary.SERVER_AND_OTHER_SITES,
        1,
        Mechanism.GAUSSIAN_AT_SITE,
        sites,
    )

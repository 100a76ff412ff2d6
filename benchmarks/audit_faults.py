"""Faults of a private run, put in from outside: the product has no switch for any of them.

Each takes a `MonkeyPatch` and a generator from which its size is drawn in the range that it states.
The run and its audit both happen with it in place, as with code that has the fault.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from flwr.app import ConfigRecord, MetricRecord

import client.door
import client.task
import server.rounds
import simulations.cohort
import tacit.learning.local as local
import tacit.learning.per_example as per_example
import tacit.learning.shared as shared
import tacit.learning.sums as sums
import tacit.plans
import tacit.secagg.site
import tacit.secagg.unmasking
from tacit.learning.plan import RoundPlan
from tacit.privacy.chain import Receipt, write_head
from tacit.privacy.events import GaussianSteps
from tacit.privacy.randomness import Stream

ADD, CLIPPED, NORMS = local._add_noise, local.clipped_sum, local.norms_of


def noise_too_small(patch, chance):
    """By 20 to 35 %."""
    less = 1 - chance.uniform(0.2, 0.35)
    patch.setattr(local, "_add_noise", lambda s, noise, d: ADD(s, noise, less * d))


def noise_too_small_for_many_at_once(patch, chance):
    """By 20 to 35 %, in the engine that trains a cohort at once."""
    import tacit.learning.stacked.cohort as cohort

    less, real = 1 - chance.uniform(0.2, 0.35), cohort._add_noise
    patch.setattr(cohort, "_add_noise", lambda t, m, d: real(t, m, less * d))


def no_noise_at_all(patch, chance):
    """In the engine that trains a cohort at once."""
    import tacit.learning.stacked.cohort as cohort

    patch.setattr(cohort, "_add_noise", lambda totals, members, deviations: None)


def coordinator_noise_too_small(patch, chance):
    """From a tenth to a fifth of it."""
    left, real = chance.uniform(0.1, 0.2), Stream.normals
    patch.setattr(Stream, "normals", lambda self, n: left * real(self, n))


def coordinator_noise_left_out(patch, chance):
    """Half of it or more, where rounds ask for it and not in what adds it."""
    kept, real = chance.uniform(0.0, 0.5), server.rounds.noised_mean

    def mean(parts, start, how, noise):
        return real(parts, start, replace(how, noise_multiplier=kept * how.noise_multiplier), noise)

    patch.setattr(server.rounds, "noised_mean", mean)


def no_noise_on_one_layer(patch, chance):
    """On the last tensor, or the first."""
    left_out = int(chance.integers(2)) - 1

    def add(sums, noise, deviation):
        kept = sums[left_out].clone()
        ADD(sums, noise, deviation)
        sums[left_out].copy_(kept)

    patch.setattr(local, "_add_noise", add)


def no_clipping(patch, chance):
    patch.setattr(local, "clipped_sum", lambda m, x, y, c, *how: CLIPPED(m, x, y, 1e9, *how))


def clipping_each_row_of_a_person(patch, chance):
    """Accounted as one clipping of all of them."""
    patch.setattr(per_example.Whose, "together", lambda self, gradients, part: gradients)


def clipping_per_batch(patch, chance):
    def clipped(model, features, targets, norm, *how):
        found = CLIPPED(model, features, targets, 1e9, *how)
        whole = torch.sqrt(sum(part.square().sum() for part in found))
        for part in found:
            part.mul_(min(1.0, float(norm / whole.clamp(min=1e-12))))
        return found

    patch.setattr(local, "clipped_sum", clipped)


def clipping_per_layer(patch, chance):
    """Accounted as flat."""

    def clipped(model, features, targets, norm, *how):
        found = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
        if not len(features):
            return found
        with per_example.PerExampleGradients(model) as each:
            for total, gradient in zip(found, each(features, targets), strict=True):
                factors = norm / NORMS([gradient]).clamp(min=norm)
                total += torch.einsum("n,n...->...", factors, gradient)
        return found

    patch.setattr(local, "clipped_sum", clipped)


def noise_before_clipping(patch, chance):
    def add(sums, noise, deviation):
        ADD(sums, noise, deviation)
        whole = torch.sqrt(sum(part.square().sum() for part in sums))
        for part in sums:
            part.mul_(min(1.0, deviation / 5 / float(whole)))

    patch.setattr(local, "_add_noise", add)


def _streams(patch, made):
    patch.setattr(simulations.cohort, "seeded_streams", made)


def same_noise_at_two_sites(patch, chance):
    def streams(seed, site):
        return lambda number, purpose: Stream.seeded(seed, "somewhere", number, purpose)

    _streams(patch, streams)


def same_noise_in_two_rounds(patch, chance):
    """From every second to every fourth round on."""
    every = int(chance.integers(2, 5))

    def streams(seed, site):
        def stream(number, purpose):
            return Stream.seeded(seed, site, number // every * every, purpose)

        return stream

    _streams(patch, streams)


def noise_from_a_known_seed(patch, chance):
    """Where the operating system's is said."""
    seed = int(chance.integers(2**31))

    def streams():
        return lambda number, purpose: Stream.seeded(seed, "site", number, purpose)

    patch.setattr(simulations.cohort, "system_streams", streams)


def shuffled_batches(patch, chance):
    """Of a fixed size, accounted as Poisson."""

    def coins(self, n, rate):
        order = self.words(n).argsort()
        drawn = torch.zeros(n, dtype=torch.bool)
        drawn[order[: max(1, round(n * rate))]] = True
        return drawn

    patch.setattr(Stream, "coins", coins)


def twice_the_rate(patch, chance):
    """From 1.5 to 2 times."""
    times, real = chance.uniform(1.5, 2.0), Stream.coins
    patch.setattr(Stream, "coins", lambda self, n, rate: real(self, n, min(1.0, times * rate)))


def steps_counted_short(patch, chance):
    """One less in every round."""
    real = RoundPlan.event

    def event(self):
        found = real(self)
        private = isinstance(found, GaussianSteps)
        return replace(found, steps=max(1, self.steps - 1)) if private else found

    patch.setattr(RoundPlan, "event", event)


def divisor_that_follows_size(patch, chance):
    def clipped(model, features, targets, norm, *how):
        found = CLIPPED(model, features, targets, norm, *how)
        for part in found:
            part.mul_(20 / max(1, len(features)))
        return found

    patch.setattr(local, "clipped_sum", clipped)


def nan_let_through(patch, chance):
    patch.setattr(
        per_example,
        "cleaned",
        lambda features: (features, torch.ones(len(features), dtype=torch.bool)),
    )

    def gradients(self, features, targets):
        self._forget_pass()
        losses, _ = per_example.usable_losses(self._hooked, features, targets, self._precision)
        self._hooked.zero_grad()
        torch.autograd.backward(losses.sum())
        return [self._take(parameter, len(features)) for parameter in self._parameters]

    patch.setattr(per_example.PerExampleGradients, "__call__", gradients)
    patch.setattr(torch, "isfinite", lambda values: torch.ones_like(values, dtype=torch.bool))


def one_parameter_never_clipped(patch, chance):
    """The smallest: a 0-d one, where the model has such."""

    def clipped(model, features, targets, norm, *how):
        found = CLIPPED(model, features, targets, norm, *how)
        whole = CLIPPED(model, features, targets, 1e9, *how)
        least = min(range(len(found)), key=lambda place: found[place].numel())
        found[least].copy_(whole[least])
        return found

    patch.setattr(local, "clipped_sum", clipped)


def _replies(patch, record, entry):
    real = client.door._reply

    def reply(message, arrays, receipt):
        made = real(message, arrays, receipt)
        made.content[record] = entry
        return made

    patch.setattr(client.door, "_reply", reply)


def exact_metric_released(patch, chance):
    loss = MetricRecord({"train-loss": float(chance.random())})
    _replies(patch, "metrics", loss)


def exact_count_released(patch, chance):
    real = client.door._reply

    def reply(message, arrays, receipt):
        made = real(message, arrays, receipt)
        ledger = dict(made.content["ledger"])
        made.content["ledger"] = ConfigRecord({**ledger, "num-examples": 78})
        return made

    patch.setattr(client.door, "_reply", reply)


def shares_short_by_dropouts(patch, chance):
    """Noise of all who are asked is counted on, and a round counts with fewer."""
    patch.setattr(
        tacit.plans,
        "in_gradients",
        lambda plans, sizes, privacy, training, fewest, dimension: sums.in_gradients(
            plans, sizes, privacy, training, len(sizes), dimension
        ),
    )


def row_lost(run):
    """The ledger's last round is gone, and the second place says the same, as after a crash."""
    path = run / "ledger" / "sites.sqlite"
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT number, body, hash FROM rows ORDER BY number").fetchall()
        last = max(n for n, body, _ in rows if json.loads(body)["kind"].startswith("charged"))
        database.execute("DROP TRIGGER rows_never_go")
        database.execute("DELETE FROM rows WHERE number >= ?", (last,))
        database.commit()
    digest = {number: digest for number, _, digest in rows}[last - 1]
    write_head(path.with_name(path.name + ".head"), Receipt(last - 1, digest))


def wrong_relation(run):
    """The report says that a changed record is covered."""
    results = json.loads((run / "results.json").read_text())
    results["privacy"]["guarantees"][0]["relation"] = "replace_with_zero"
    (run / "results.json").write_text(json.dumps(results))


def weights_ignored(patch, chance):
    """A site's sensitivity is taken to be that of the mean site."""
    real = sums.shared_noise

    def mean(terms, **how):
        norm = sum(each.norm for each in terms.values()) / len(terms)
        patch.setattr(RoundPlan, "unit_norm", property(lambda self: norm))
        return real({site: replace(each, norm=norm) for site, each in terms.items()}, **how)

    patch.setattr(sums, "shared_noise", mean)


def modulus_too_small(patch, chance):
    """A grid on which what was computed does not fit, by 2^20 to 2^24."""
    finer, real = 2.0 ** -int(chance.integers(20, 25)), sums.finest_grid

    def grid(bits, dimension, sites, reach):
        return real(bits, dimension, sites, reach * finer)

    patch.setattr(sums, "finest_grid", grid)


def masks_left_out(patch, chance):
    """Of all numbers of a secure sum, or of all but up to half of them."""
    masked = chance.uniform(0.0, 0.5)
    for module in (tacit.secagg.site, tacit.secagg.unmasking):

        def apply(masks, vector, real=module.apply):
            real(masks, vector[: round(masked * len(vector))])

        patch.setattr(module, "apply", apply)


def skellam_too_small(patch, chance):
    """By 20 to 35 % of its deviation."""
    less, real = (1 - chance.uniform(0.2, 0.35)) ** 2, shared.skellam
    patch.setattr(shared, "skellam", lambda noise, v, n: real(noise, less * v, n))


def seeds(fault: Callable[..., None], seed: int) -> np.random.Generator:
    """Give the generator of a fault's size."""
    return np.random.default_rng([seed, len(fault.__name__), *fault.__name__.encode()])

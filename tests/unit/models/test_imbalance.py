"""Classes that are not equally common: from the public prior alone."""

import math
from dataclasses import replace

import pytest
import torch

from tacit.domains.domain import Card, Metric
from tacit.errors import ConfigurationError
from tacit.learning.local import Compute
from tacit.learning.stacked.frozen import split
from tacit.learning.stacked.trial import Means, choose
from tacit.models.compatibility import check_private
from tacit.models.imbalance import balance, log_odds, start_from_prior
from tacit.models.linear import LinearModel

CARD = Card("c", "C", "", ("no", "some", "yes"), Metric.ACCURACY, "row", prior=(0.7, 0.2, 0.1))
CPU = Compute(torch.device("cpu"))


def logit(share):
    return math.log(share / (1 - share))


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        (CARD, [math.log(0.7), math.log(0.2), math.log(0.1)]),
        (replace(CARD, ordered=True), [logit(0.3), logit(0.1)]),
        (replace(CARD, together=True), [logit(0.7), logit(0.2), logit(0.1)]),
    ],
)
def test_an_untrained_head_says_the_prior(card, wanted):
    model = LinearModel(4, card.outputs)
    start_from_prior(model, card)
    assert model(torch.randn(2, 4))[0].tolist() == pytest.approx(wanted, rel=1e-6)


def test_without_a_prior_nothing_starts_from_it():
    model = LinearModel(4, 3)
    start_from_prior(model, replace(CARD, prior=None))
    assert not model.head.bias.any()
    with pytest.raises(ConfigurationError, match="prior"):
        balance(model, replace(CARD, prior=None))


def test_the_prior_is_there_in_training_and_gone_after():
    model = LinearModel(4, 3)
    balance(model, CARD)
    examples = torch.randn(2, 4)
    assert torch.equal(model.train()(examples)[0], log_odds(CARD))
    assert not model.eval()(examples).any()


def test_a_rare_class_is_found_as_readily_as_a_common_one():
    """Two overlapping classes, one in nine: the balanced boundary lies in the middle."""
    torch.manual_seed(0)
    card = replace(CARD, classes=("no", "yes"), prior=(0.9, 0.1))
    targets = (torch.arange(4000) % 10 == 0).long()
    features = torch.randn(4000, 1) + 2.0 * targets[:, None] - 1.0
    found = {}
    for balanced in (False, True):
        model = LinearModel(1, 2)
        if balanced:
            balance(model, card)
        step = torch.optim.LBFGS(model.parameters(), max_iter=50)

        def loss(model=model, step=step):
            step.zero_grad()
            value = torch.nn.functional.cross_entropy(model(features), targets)
            value.backward()
            return value

        step.step(loss)
        chosen = model.eval()(features).argmax(1)
        found[balanced] = (chosen[targets == 1] == 1).float().mean().item()
    # Of normals at ±1, Φ(1) = 0.84 of each lie on their side of 0.
    assert found[True] == pytest.approx(0.84, abs=0.03)
    assert found[False] < 0.6


def test_engines_agree_on_it():
    model = LinearModel(4, 3)
    balance(model, CARD)
    check_private(model, (4,))
    assert choose(model, (4,), CPU, private=True).means is Means.STACKED
    frozen = split(model, (4,), CPU)
    assert frozen is not None
    assert frozen.prefix == "head"

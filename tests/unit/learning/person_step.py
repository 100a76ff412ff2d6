"""What a step is where a person is the unit, by hand: one row after the other, by autograd."""

import copy

import torch
from private_step import CPU, joined, make
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning import local
from tacit.learning.per_example import Whose
from tacit.learning.plan import Within


def persons_of(counts):
    """Number the persons of rows that lie person by person."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))


def make_persons(name, counts, seed=0, scale=1.0):
    """A model, and persons of so many rows each."""
    model, data = make(name, sum(counts), seed, scale)
    return model, Examples(data.features, data.targets, persons_of(counts))


def summed(model, data, clip, within, compute=CPU):
    whose = Whose(data.persons, within)
    return joined(local.clipped_sum(model, data.features, data.targets, clip, compute, whose))


def by_hand(model, data, clip, within):
    """Sum of persons' clipped gradients in float64."""
    exact = copy.deepcopy(model).double()
    trainable = [p for p in exact.parameters() if p.requires_grad]
    total = torch.zeros_like(joined(trainable))
    for person in range(int(data.persons.max()) + 1 if len(data) else 0):
        own = data.persons == person
        gradient = torch.zeros_like(total)
        for x, y in zip(data.features[own].double(), data.targets[own], strict=True):
            loss = nn.functional.cross_entropy(exact(x[None]), y[None])
            gradient += joined(torch.autograd.grad(loss, trainable))
        if within is Within.MEAN:
            gradient /= int(own.sum())
        total += gradient * min(1.0, clip / max(gradient.norm().item(), 1e-300))
    return total


def without(data, person):
    """Leave a person out; the others keep their order."""
    kept = data.persons != person
    _, persons = data.persons[kept].unique(return_inverse=True)
    return Examples(data.features[kept], data.targets[kept], persons)


def check_is_the_sum_by_hand(model, data, clip, within, compute=CPU):
    expected = by_hand(model, data, clip, within)
    wrong = (summed(model, data, clip, within, compute) - expected).norm()
    assert wrong <= len(data) * clip * 1e-5


def check_one_person_moves_the_sum_by_at_most_c(model, data, clip, within):
    """The sensitivity of the sum under 'add or remove one person'."""
    whole = summed(model, data, clip, within)
    # Norms and factors are fp32 (1e-5), and so are two sums of n terms of norm C at most.
    allowed = clip * (1 + 1e-5 + 2 * len(data) ** 2 * 2.0**-24)
    for person in range(int(data.persons.max()) + 1):
        moved = (whole - summed(model, without(data, person), clip, within)).norm()
        assert moved <= allowed, f"person {person} moves the sum by {moved:g} > {clip:g}"

"""Per-example gradients against autograd, one example at a time."""

import copy

import pytest
import torch
from torch import nn

from tacit.learning.per_example import PerExampleGradients


class Twice(nn.Module):
    """Uses one weight twice, owns one it never uses, and has a buffer and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 2.0))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.layer = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, features):
        hidden = torch.tanh(self.layer(self.frozen(features / self.scale)))
        return self.head(torch.tanh(self.layer(hidden)))


class Parallel(nn.Module):
    """Two layers whose outputs are added, so that both see the same backward values."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, features):
        return self.one(features) + self.other(features)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))


def models():
    torch.manual_seed(0)
    return {
        "linear": (nn.Linear(4, 3), torch.randn(5, 4)),
        "mlp": (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(5, 4)),
        "conv": (
            nn.Sequential(
                nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
            ),
            torch.randn(5, 2, 5, 5),
        ),
        "twice": (Twice(), torch.randn(5, 4)),
        "parallel": (Parallel(), torch.randn(5, 4)),
        "tokens": (Tokens(), torch.randint(11, (5, 7))),
    }


MODELS = pytest.mark.parametrize("name", sorted(models()))
TARGETS = torch.tensor([0, 1, 2, 1, 0])


def alone(model, features, targets):
    """Gradients of every example by autograd, as PerExampleGradients gives them."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for x, y in zip(features, targets, strict=True):
        loss = nn.functional.cross_entropy(model(x[None]), y[None])
        found = torch.autograd.grad(loss, trainable, allow_unused=True)
        rows.append(
            [torch.zeros_like(p) if g is None else g for p, g in zip(trainable, found, strict=True)]
        )
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def batched(model, features, targets, **options):
    with PerExampleGradients(model, **options) as per_example:
        return per_example(features, targets)


def assert_close(found, expected):
    # fp32 sums of fewer than 100 terms: relative error below 100 * 2**-24 of the largest.
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-5 * other.abs().max().clamp(min=1e-3)


@MODELS
def test_they_are_autograds(name):
    model, features = models()[name]
    assert_close(batched(model, features, TARGETS), alone(model, features, TARGETS))


@MODELS
def test_two_batches_in_one_context(name):
    model, features = models()[name]
    with PerExampleGradients(model) as per_example:
        first = per_example(features[:3], TARGETS[:3])
        second = per_example(features[3:], TARGETS[3:])
    both = [torch.cat(parts) for parts in zip(first, second, strict=True)]
    assert_close(both, alone(model, features, TARGETS))


def traces(model):
    """Everything that hooks and gradients leave on a module."""
    kept = [model.__dict__.get("autograd_grad_sample_hooks")]
    for layer in model.modules():
        kept += [*layer._forward_hooks.values(), *layer._backward_hooks.values()]
        kept += [layer.__dict__.get(name) for name in ("activations", "max_batch_len")]
    for parameter in model.parameters():
        kept += [parameter.grad, *vars(parameter)]
    return [one for one in kept if one is not None]


@MODELS
def test_nothing_is_left_on_the_module(name):
    model, features = models()[name]
    batched(model, features, TARGETS)
    assert traces(model) == []
    copy.deepcopy(model)
    assert_close(batched(model, features, TARGETS), alone(model, features, TARGETS))


def test_nothing_is_left_after_an_error():
    model, features = models()["mlp"]
    with PerExampleGradients(model) as per_example, pytest.raises(RuntimeError, match="shapes"):
        per_example(features[:, :2], TARGETS)
    assert traces(model) == []
    with pytest.raises(KeyError), PerExampleGradients(model):
        raise KeyError
    assert traces(model) == []
    handle = model[0].register_full_backward_pre_hook(out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        batched(model, features, TARGETS)
    handle.remove()
    assert traces(model) == []


@pytest.mark.parametrize("register", ["forward_pre_hook", "full_backward_pre_hook"])
@MODELS
def test_a_pass_that_memory_ran_out_in_changes_nothing(name, register):
    """Opacus counts uses of a weight: a count left over would make gradients vanish."""
    model, features = models()[name]
    last = list(model.modules())[-1]
    handle = getattr(last, f"register_{register}")(out_of_memory)
    with PerExampleGradients(model) as per_example:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            per_example(features, TARGETS)
        handle.remove()
        found = per_example(features[:2], TARGETS[:2])
    assert_close(found, alone(model, features[:2], TARGETS[:2]))
    assert traces(model) == []


def out_of_memory(*_):
    raise torch.cuda.OutOfMemoryError("made up")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["linear", "mlp", "conv"])
def test_a_row_that_is_not_finite_gets_zero(name, bad):
    model, features = models()[name]
    spoilt = features.clone()
    spoilt[2].view(-1)[1] = bad
    check_row_is_zero(model, spoilt, TARGETS, 2, features)


@pytest.mark.parametrize("target", [-1, 3, -100, 2**40])
@MODELS
def test_a_target_that_is_no_class_gets_zero(name, target):
    """-100 is what torch's own loss ignores; the others would be an error there."""
    model, features = models()[name]
    targets = TARGETS.clone()
    targets[2] = target
    check_row_is_zero(model, features, targets, 2, features)


def test_a_gradient_that_is_not_finite_gets_zero():
    """Features that are finite, but whose scores overflow."""
    model, features = models()["mlp"]
    with torch.no_grad():
        model[0].weight.mul_(10)
    spoilt = features.clone()
    spoilt[2] = 3e38
    wide = nn.Sequential(model[0], model[2])
    assert not torch.isfinite(wide(spoilt)[2]).all()
    check_row_is_zero(wide, spoilt, TARGETS, 2, features)


def check_row_is_zero(model, features, targets, row, good):
    """The row contributes nothing, and the others what they contribute without it."""
    found = batched(model, features, targets)
    others = [n for n in range(len(features)) if n != row]
    assert all((gradient[row] == 0).all() for gradient in found)
    assert_close([g[others] for g in found], alone(model, good[others], targets[others]))


def test_a_gradient_that_is_infinite_gets_zero():
    """The scores are finite; the gradient of the first layer, 1e10 times 1e30, is not."""
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    with torch.no_grad():
        first.weight.zero_()
        last.weight.copy_(torch.tensor([[1e10], [0.0], [0.0]]).expand(3, 6))
    model, good = nn.Sequential(first, last), torch.zeros(5, 4)
    spoilt = good.clone()
    spoilt[2] = 1e30
    (gradient,) = torch.autograd.grad(
        nn.functional.cross_entropy(model(spoilt[2:3]), TARGETS[2:3]), [first.weight]
    )
    assert torch.isinf(gradient).all()
    check_row_is_zero(model, spoilt, TARGETS, 2, good)


@pytest.mark.parametrize("bad", [float("inf"), -float("inf")])
def test_an_infinite_row_gets_zero_where_its_gradient_is_finite(bad):
    """A frozen layer and tanh make of infinity an ordinary 1."""
    model, features = models()["mlp"]
    model[0].requires_grad_(False)
    spoilt = features.clone()
    spoilt[2] = torch.tensor([bad, 0, 0, 0])
    assert torch.isfinite(model(spoilt)).all()
    check_row_is_zero(model, spoilt, TARGETS, 2, features)


@MODELS
def test_a_power_of_two_as_loss_scale_divides_out_to_the_bit(name):
    model, features = models()[name]
    plain = batched(model, features, TARGETS)
    scaled = batched(model, features, TARGETS, loss_scale=1024.0)
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))


@pytest.mark.parametrize("name", ["linear", "mlp", "conv", "tokens"])
def test_bf16_is_close_and_its_gradients_are_fp32(name):
    model, features = models()[name]
    exact = batched(model, features, TARGETS)
    rough = batched(model, features, TARGETS, precision=torch.bfloat16)
    assert all(gradient.dtype == torch.float32 for gradient in rough)
    assert any(not torch.equal(a, b) for a, b in zip(exact, rough, strict=True))
    # bf16 keeps 8 bits: an error of 2**-8 per operation, about ten operations deep.
    for a, b in zip(exact, rough, strict=True):
        assert (a - b).norm() <= 10 * 2.0**-8 * a.norm()

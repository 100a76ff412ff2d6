"""A trainable weight that has a value for each site, and what a module may do with it.

The module runs unchanged on one batch of all sites' examples, site-major. Only an operation that
touches a trainable weight must know of sites: each such operation has a rule here. One without a
rule raises `NoRule`; what mixes examples without touching a trainable weight is found by
`tacit.learning.stacked.trial`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from tacit.learning.stacked.convolution import convolve
from tacit.learning.stacked.linear import multiply
from tacit.learning.stacked.tape import Direct, Lookup, Maker, Product, Tape


class NoRule(Exception):  # noqa: N818 (it is a finding, not a fault)
    """An operation touches a trainable weight and has no rule."""


class Stacked(torch.Tensor):
    """A weight of K sites [K, *shape] that looks like one of shape [*shape].

    Parameters
    ----------
    name
        The weight's name in its model.
    value
        Its values [K, *shape].
    tape
        Where its uses are noted.
    """

    weight_name: str
    value: torch.Tensor
    tape: Tape

    @staticmethod
    def __new__(cls: type["Stacked"], name: str, value: torch.Tensor, tape: Tape) -> "Stacked":
        """Make the outside: shape, type and device of one site's weight."""
        made: Stacked = torch.Tensor._make_wrapper_subclass(
            cls, value.shape[1:], dtype=value.dtype, device=value.device
        )
        return made

    def __init__(self, name: str, value: torch.Tensor, tape: Tape) -> None:
        self.weight_name = name
        # A leaf that wants a gradient: whatever is made of it is part of autograd's graph.
        self.value = value.detach().requires_grad_()
        self.tape = tape

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Apply the rule of an operation."""
        if (rule := RULES.get(function)) is not None:
            return rule(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") in _PLAIN:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **(kwargs or {}))
        raise NoRule(getattr(function, "__name__", str(function)))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares no classmethod
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Refuse what got past the rules."""
        raise NoRule(str(function))

    __hash__ = object.__hash__


_PLAIN: Final = frozenset({"__get__", "size", "dim", "numel", "is_floating_point", "__len__"})
"""What asks about shape, type and device: it is the same at every site."""


def _spread(weight: Stacked, dims: int, channel: int) -> torch.Tensor:
    """View a weight of one number a channel [K, C] so that it meets outputs [K, B, ..., C, ...].

    `dims` counts the dimensions of an output without sites, `channel` says which one is C.
    """
    shape = [weight.tape.sites, *[1] * dims]
    shape[1 + channel] = weight.value.shape[1]
    return weight.value.view(shape)


def _by_row(weight: Stacked, output: torch.Tensor, channel: int) -> torch.Tensor:
    """Copy such a weight to each row, to meet outputs [N, ..., C, ...].

    Viewing outputs by site instead would cost them their order in memory.
    """
    tape = weight.tape
    if len(output) != tape.rows:
        raise NoRule(f"a batch of {len(output)} rows where {tape.rows} were given")
    spread = _spread(weight, output.dim(), channel)
    return spread.repeat_interleave(tape.rows // tape.sites, 1).flatten(0, 1)


def _sited(values: torch.Tensor, tape: Tape) -> torch.Tensor:
    """View rows [N, ...] as [K, B, ...]."""
    if len(values) != tape.rows:
        raise NoRule(f"a batch of {len(values)} rows where {tape.rows} were given")
    return values.view(tape.sites, tape.rows // tape.sites, *values.shape[1:])


def _summed(gradient: torch.Tensor, keep: int) -> torch.Tensor:
    """Sum an output's gradient [N, ...] over all its dimensions but rows and `keep`."""
    rest = [dim for dim in range(1, gradient.dim()) if dim != keep]
    return gradient.sum(rest) if rest else gradient


def _bias_of(keep: int) -> Maker:
    return lambda gradient: Direct(_summed(gradient, keep))


def _with_bias(
    output: torch.Tensor, bias: torch.Tensor | None, channel: int
) -> tuple[torch.Tensor, list[tuple[str, Maker]]]:
    """Add a bias, of one number a channel, to rows [N, ...]; return what to note."""
    if bias is None:
        return output, []
    if not isinstance(bias, Stacked):
        return output + bias.view([*[1] * channel, -1, *[1] * (output.dim() - channel - 1)]), []
    added = output + _by_row(bias, output, channel)
    return added, [(bias.weight_name, _bias_of(channel))]


def _linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    if not isinstance(weight, Stacked):
        added, uses = _with_bias(functional.linear(input, weight), bias, input.dim() - 1)
        return bias.tape.note(added, *uses) if isinstance(bias, Stacked) else added
    tape, rows = weight.tape, len(input)
    sited = _sited(input, tape).reshape(tape.sites, -1, input.shape[-1])
    of_bias: list[tuple[str, Maker]] = []
    own = None
    if isinstance(bias, Stacked):
        own = _spread(bias, 2, 1)
        of_bias = [(bias.weight_name, _bias_of(input.dim() - 1))]
    output = multiply(sited, weight.value, own).view(*input.shape[:-1], -1)
    if own is None and bias is not None:
        output = output + bias
    kept = input.detach().reshape(rows, 1, -1, input.shape[-1])
    # Not the weight itself: it knows the tape, which knows this, and a cycle outlives its round.
    shape = weight.value.shape[1:]

    def use(gradient: torch.Tensor) -> Product:
        outputs = gradient.reshape(rows, 1, -1, gradient.shape[-1])
        return Product(kept.float(), outputs, shape)

    return tape.note(output, (weight.weight_name, use), *of_bias)


def _embedding(
    input: torch.Tensor,
    weight: Stacked,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    if max_norm is not None or scale_grad_by_freq:
        raise NoRule("embedding with max_norm or scale_grad_by_freq")
    tape, (entries, width) = weight.tape, weight.value.shape[1:]
    sited = _sited(input, tape)
    first = torch.arange(tape.sites, device=input.device) * entries
    flat = (sited + first.view(-1, *[1] * (sited.dim() - 1))).flatten()
    found = weight.value.reshape(-1, width)[flat].view(*input.shape, width)
    indices = input.reshape(len(input), -1)
    shape = weight.value.shape[1:]

    def lookup(gradient: torch.Tensor) -> Lookup:
        return Lookup(indices, gradient.reshape(*indices.shape, width), shape)

    output = tape.note(found, (weight.weight_name, lookup))
    if padding_idx is None:
        return output
    padding = input == (padding_idx + entries if padding_idx < 0 else padding_idx)
    return torch.where(padding.unsqueeze(-1), output.detach(), output)


def _scaled(
    normal: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, channel: int
) -> torch.Tensor:
    """Multiply what a normalisation gives by a weight and add a bias."""
    uses: list[tuple[str, Maker]] = []
    output, kept = normal, normal.detach()
    if isinstance(weight, Stacked):
        output = output * _by_row(weight, output, channel)
        uses.append((weight.weight_name, lambda g: Direct(_summed(g * kept, channel))))
    elif weight is not None:
        output = output * weight.view([*[1] * channel, -1, *[1] * (normal.dim() - channel - 1)])
    output, added = _with_bias(output, bias, channel)
    tapes = [w.tape for w in (weight, bias) if isinstance(w, Stacked)]
    return tapes[0].note(output, *uses, *added)


def _layer_norm(
    input: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    if len(normalized_shape) != 1:
        raise NoRule("layer_norm over more than one dimension")
    normal = functional.layer_norm(input, normalized_shape, None, None, eps)
    return _scaled(normal, weight, bias, input.dim() - 1)


def _group_norm(
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    normal = functional.group_norm(input, num_groups, None, None, eps)
    return _scaled(normal, weight, bias, 1)


def _convolution(dims: int) -> Callable[..., torch.Tensor]:
    def rule(
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> torch.Tensor:
        plain = functional.conv1d if dims == 1 else functional.conv2d
        if not isinstance(weight, Stacked):
            output = plain(input, weight, None, stride, padding, dilation, groups)
            added, uses = _with_bias(output, bias, 1)
            return bias.tape.note(added, *uses) if isinstance(bias, Stacked) else added
        output, product = convolve(
            _sited(input, weight.tape), weight.value, stride, padding, dilation, groups
        )
        output, uses = _with_bias(output, bias, 1)
        return weight.tape.note(output, (weight.weight_name, product), *uses)

    return rule


def _copied(weight: Stacked) -> torch.Tensor:
    """Give every row a copy [N, *shape] of its site's weight; autograd says what each is worth."""
    tape = weight.tape
    copy = weight.value.repeat_interleave(tape.rows // tape.sites, 0)
    return tape.note(copy, (weight.weight_name, Direct))


def _each(weight: Any, other: Any) -> Any:
    """Let a bare weight meet rows: where it has no dimension for them, or one of length 1."""
    if not isinstance(weight, Stacked):
        return weight
    copy, dims = _copied(weight), other.dim() if isinstance(other, torch.Tensor) else 0
    if isinstance(other, Stacked) or dims < weight.dim():
        raise NoRule("an operation on weights alone")
    if dims == weight.dim():
        if weight.shape[0] != 1:
            raise NoRule("a weight that is as long as the batch")
        return copy.flatten(0, 1)
    return copy.view(len(copy), *[1] * (dims - 1 - weight.dim()), *weight.shape)


def _elementwise(name: str) -> Callable[..., torch.Tensor]:
    operation = getattr(torch, name)

    def rule(left: Any, right: Any, **more: Any) -> torch.Tensor:
        found: torch.Tensor = operation(_each(left, right), _each(right, left), **more)
        return found

    return rule


def _reversed(rule: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda left, right: rule(right, left)


def _expand(weight: Stacked, *sizes: Any) -> torch.Tensor:
    """Expand a weight [1, ...] over the batch, as class tokens are."""
    wanted = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if weight.shape[0] != 1 or len(wanted) != weight.dim() or wanted[0] != weight.tape.rows:
        raise NoRule("expand")
    return _copied(weight).flatten(0, 1).expand(*wanted)


RULES: Final[dict[Any, Callable[..., Any]]] = {
    functional.linear: _linear,
    functional.embedding: _embedding,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.conv1d: _convolution(1),
    functional.conv2d: _convolution(2),
    torch.Tensor.expand: _expand,
}
for _name in ("add", "mul", "sub"):
    _rule = _elementwise(_name)
    RULES[getattr(torch, _name)] = RULES[getattr(torch.Tensor, _name)] = _rule
    RULES[getattr(torch.Tensor, f"__{_name}__")] = _rule
    RULES[getattr(torch.Tensor, f"__r{_name}__")] = _reversed(_rule) if _name == "sub" else _rule


def run(
    model: nn.Module, values: Mapping[str, torch.Tensor], tape: Tape, features: torch.Tensor
) -> tuple[torch.Tensor, Mapping[str, Stacked]]:
    """Run a model on all sites' rows; return its scores [N, ...] and the weights that it had."""
    held = {name: Stacked(name, value, tape) for name, value in values.items()}
    scores: torch.Tensor = torch.func.functional_call(model, dict(held), (features,))
    return scores, held

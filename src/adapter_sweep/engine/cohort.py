"""A cohort: adapted models of one backbone that go through it together, each as if it were alone.

The batch is repeated once for each member, and wherever a member has something in the backbone, it takes its own part
of it. Members may differ in method, width, layers and everything trained; what they share is the backbone and the
batch. A method that changes more than single modules' outputs (its own weights everywhere, virtual tokens) goes alone.

Shapes: K members, B batch, T tokens, D hidden, M width, C classes.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_sweep.engine.activations import Stored, resumed
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckAdapter
from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.batches import Batch
from adapter_sweep.engine.checkpointing import checkpointed
from adapter_sweep.engine.methods.insertion import Beside, Insertion, inserted

__all__ = ["Cohort"]

_Adapter = Callable[[Tensor], Tensor]
_Place = TypeVar("_Place", bound=Hashable)
_Part = TypeVar("_Part")


class Cohort:
    """One or more adapted models on one backbone, whose heads read the same and have as many outputs.

    Guarantees: a member's logits and gradients depend on nothing of another's, and are those it has alone up to the
    rounding of a larger batch.

    Args:
        members: the models.
        stacked: whether one batched product computes all members' adapters at a site, narrow ones padded with zeros,
            rather than one product each. Unless told, so on a GPU, where starting many small products is expected to
            cost more than padding; no speed of it has been measured.

    Raises:
        ValueError: no members, or members of different backbones or heads, or several of which one can only go alone.
    """

    def __init__(self, members: Sequence[AdaptedModel], *, stacked: bool | None = None) -> None:
        if not members:
            raise ValueError("a cohort needs a member")
        if len({id(member.backbone) for member in members}) > 1 or len({(m.outputs, m.per_token) for m in members}) > 1:
            raise ValueError("the members of a cohort share a backbone and the shape of the head")
        if len(members) > 1 and (alone := [m for m in members if not m.insertion.shares_pass]):
            raise ValueError(f"a model with {type(alone[0].spec).__name__} goes through the backbone alone")
        self.members = tuple(members)
        self._stacked = self.device.type == "cuda" if stacked is None else stacked

    @property
    def backbone(self) -> Backbone:
        """The backbone the members stand on."""
        return self.members[0].backbone

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return self.members[0].head.weight.device

    def logits(self, batch: Batch, below: Stored | None = None, *, held: ExitStack | None = None) -> Tensor:
        """Every member's logits for the batch in float32: [K, B, C], or [K, B, T, C] where heads read every token.

        Args:
            batch: the batch.
            below: what lies below all members' trained layers, computed before; unless given, it is computed now.
            held: where given, layers keep their inputs alone (see `checkpointed`), and all that the backward pass needs
                stays open until this is closed.
        """
        count = len(self.members)
        states = self._states(batch, below, held)  # [K or 1, B, D] or [K or 1, B, T, D]
        shape = (count, *states.shape[1:-1], self.members[0].outputs)
        states = states.reshape(len(states), -1, states.shape[-1]).expand(count, -1, -1)
        heads = [member.head for member in self.members]
        weight, bias = torch.stack([h.weight for h in heads]), torch.stack([h.bias for h in heads])
        return torch.baddbmm(bias.unsqueeze(1), states, weight.transpose(1, 2)).view(shape)

    def _states(self, batch: Batch, below: Stored | None, held: ExitStack | None) -> Tensor:
        """What the heads read, in float32; once for all members where nothing below the heads is trained."""
        device, per_token = self.device, self.members[0].per_token
        if below is not None and below.layer is None:
            return below.of(batch, device).float().unsqueeze(0)
        count, rows = len(self.members), len(batch.rows)
        inputs = {name: t.repeat(count, *[1] * (t.ndim - 1)) for name, t in batch.inputs_on(device).items()}
        with ExitStack() as own:
            stack = own if held is None else held
            stack.enter_context(self.attached(rows))
            if below is not None:
                stack.enter_context(resumed(self.backbone, below, below.of(batch, device).repeat(count, 1, 1)))
            if held is not None:
                stack.enter_context(checkpointed(self.backbone))
            states = self.backbone.hidden_states(inputs).float() if per_token else self.backbone.encode(inputs)
        return states.view(count, rows, *states.shape[1:])

    @contextmanager
    def attached(self, rows: int) -> Iterator[None]:
        """While open, the backbone computes with every member's adapters and layer norms on its part of the batch.

        Args:
            rows: of the batch, B.

        Raises:
            ValueError: inside, where what is trained computes on something else than the batch (DeBERTa's norm of its
                relative positions, say). Its members cannot share a pass.
        """
        insertions = [member.insertion for member in self.members]
        if len(insertions) == 1:
            with self.members[0].attached():
                yield
            return
        model = self.backbone.model
        after = _by_place([insertion.after for insertion in insertions])
        beside = _by_place([insertion.beside for insertion in insertions])
        replaced = _by_place([insertion.replaced for insertion in insertions])
        inside = tuple(f"{layer.name}." for layer in self.backbone.layout.layers)
        joint = Insertion(
            after={name: self._adapter(adapters, rows) for name, adapters in after.items()},
            beside={ends: partial(_each_beside, adapters, rows) for ends, adapters in beside.items()},
            replaced={
                name: _Joint(model.get_submodule(name), own, rows, in_layer=name.startswith(inside))
                for name, own in replaced.items()
            },
        )
        with inserted(model, joint):
            yield

    def _adapter(self, adapters: Sequence[_Adapter | None], rows: int) -> _Adapter:
        plain = [a for a in adapters if isinstance(a, BottleneckAdapter)]
        alike = len({type(a.activation) for a in plain}) == 1 and len(plain) == sum(a is not None for a in adapters)
        if self._stacked and alike:
            return partial(_adapt_stacked, [a if isinstance(a, BottleneckAdapter) else None for a in adapters], rows)
        return partial(_each, adapters, rows, True)


def _by_place(insertions: Sequence[Mapping[_Place, _Part]]) -> dict[_Place, list[_Part | None]]:
    """Place -> what each member has there."""
    places = dict.fromkeys(place for insertion in insertions for place in insertion)
    return {place: [insertion.get(place) for insertion in insertions] for place in places}


def _each(modules: Sequence[_Adapter | None], rows: int, in_layer: bool, x: Tensor) -> Tensor:
    """Each member's module on its part of [K·B, T, D]; where a member has none, its part as it is."""
    _check_batch(x, len(modules), rows, in_layer)
    parts = x.chunk(len(modules))
    return torch.cat([part if module is None else module(part) for module, part in zip(modules, parts, strict=True)])


def _each_beside(modules: Sequence[Beside | None], rows: int, x: Tensor, y: Tensor) -> Tensor:
    """Each member's module on its part of a sub-layer's input and output, [K·B, T, D] each."""
    _check_batch(x, len(modules), rows, in_layer=True)
    parts = zip(modules, x.chunk(len(modules)), y.chunk(len(modules)), strict=True)
    return torch.cat([after if module is None else module(given, after) for module, given, after in parts])


def _check_batch(x: Tensor, count: int, rows: int, in_layer: bool) -> None:
    # In a layer all is computed of the batch, and some see it as one list of tokens (OPT's feed-forward block).
    flat = in_layer and x.ndim == 2 and len(x) % (count * rows) == 0
    if not flat and (x.ndim < 3 or len(x) != count * rows):
        raise ValueError(f"a tensor of shape {list(x.shape)} does not hold {count} models' batches of {rows} rows")


def _adapt_stacked(adapters: Sequence[BottleneckAdapter | None], rows: int, x: Tensor) -> Tensor:
    """Every member's adapter in two batched products. Padding adds exact zeros: each activation maps 0 to 0."""
    _check_batch(x, len(adapters), rows, in_layer=True)
    present = next(a for a in adapters if a is not None)
    width = max(a.down.out_features for a in adapters if a is not None)
    down, down_bias, up, up_bias = (
        torch.stack(tensors).to(x.dtype)
        for tensors in zip(*(_padded(a, present, width) for a in adapters), strict=True)
    )
    h = x.reshape(len(adapters), -1, x.shape[-1])
    h = present.activation(torch.baddbmm(down_bias.unsqueeze(1), h, down.transpose(1, 2)))
    added = torch.baddbmm(up_bias.unsqueeze(1), h, up.transpose(1, 2))
    if any(a is not None and (a.scale is not None or a.factor != 1.0) for a in adapters):
        ones = up_bias.new_ones(1)
        factors = [ones if a is None else (ones * a.factor if a.scale is None else a.scale) for a in adapters]
        added = added * torch.stack([factor.to(x.dtype) for factor in factors]).unsqueeze(-1)
    return x + added.view_as(x)


def _padded(adapter: BottleneckAdapter | None, like: BottleneckAdapter, width: int) -> tuple[Tensor, ...]:
    """An adapter's four tensors at the given width; zeros for a member without one."""
    if adapter is None:
        d = like.down.in_features
        zeros = like.down.weight.new_zeros
        return zeros(width, d), zeros(width), zeros(d, width), zeros(d)
    missing = width - adapter.down.out_features
    down, up = adapter.down, adapter.up
    if not missing:  # padding by nothing copies
        return down.weight, down.bias, up.weight, up.bias
    return (
        functional.pad(down.weight, (0, 0, 0, missing)),
        functional.pad(down.bias, (0, missing)),
        functional.pad(up.weight, (0, missing)),
        up.bias,
    )


class _Joint(nn.Module):
    """A module of the backbone, or what each member has in its place."""

    def __init__(self, frozen: nn.Module, own: Sequence[nn.Module | None], rows: int, *, in_layer: bool) -> None:
        super().__init__()
        self._rows, self._in_layer = rows, in_layer
        # In tuples: registering them would walk every parameter at every step.
        self._frozen = (frozen,)
        self._modules_in_turn = tuple(frozen if module is None else module for module in own)

    def forward(self, x: Tensor) -> Tensor:
        return _each(self._modules_in_turn, self._rows, self._in_layer, x)

    def __getattr__(self, name: str) -> Any:
        # What is read of a module instead of called is the model's own (T5 asks for its weight's precision).
        return getattr(self.__dict__["_frozen"][0], name)

"""What lies below the lowest trained layer: computed once for each split, and kept.

The backbone is frozen, so the hidden states that enter its lowest trained layer are the same in every epoch and every
trial; where only a head is trained, so are the pooled ones. They are kept without padding, in the backbone's precision.

Shapes: B batch, T tokens, D hidden, N rows of the split.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone, Inputs, Precision
from adapter_sweep.engine.batches import Batch, collate, moved, scoring_batches
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.room import Room

__all__ = ["Activations", "Stored", "resumed"]

_log = logging.getLogger(__name__)
# A resumed pass has to give what the whole one gives; it does so bit for bit in every family that is tested. A model
# whose layers pass more on than hidden states (relative positions computed by the first one, say) is left alone.
_TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 1e-2}


@dataclass(frozen=True)
class Stored:
    """A split's hidden states where computing resumes.

    Attributes:
        layer: the layer they enter; None where they are what heads read.
        states: [all tokens, D] row after row in the backbone's precision; pooled, [N, D] in float32.
        starts, lengths: of each row in `states`, [N].
        returns: what each layer below returns: a tensor (None), or a tuple this long whose first item is the tensor.
    """

    layer: int | None
    states: Tensor
    starts: Tensor
    lengths: Tensor
    returns: tuple[int | None, ...] = ()
    pooled: bool = False

    def of(self, batch: Batch, device: torch.device) -> Tensor:
        """The batch's hidden states: [B, T, D] padded to its longest text, or pooled [B, D].

        What stands at padded positions is another token's state: the mask keeps every real token from seeing it.
        """
        rows = torch.tensor(batch.rows)
        if self.pooled:
            return moved(self.states[rows.to(self.states.device)], device)
        lengths = self.lengths[rows]
        positions = torch.arange(int(lengths.max())).expand(len(rows), -1)
        index = self.starts[rows].unsqueeze(1) + positions.minimum(lengths.unsqueeze(1) - 1)
        return moved(self.states[index.to(self.states.device)], device)


class Activations:
    """One backbone's activations below its trained layers, kept for as long as this object lives.

    Guarantees: what is kept is never stale. It is found by the backbone's bytes as held, its precision and attention
    kernel, and what it is given of every row (so by the tokenizer or image processor and the data), and it ends with
    the process.

    Args:
        backbone: the backbone.
        room: where they are kept.
    """

    def __init__(self, backbone: Backbone, room: Room) -> None:
        self._backbone = backbone
        self._room = room
        self._kept: dict[tuple[object, ...], Stored | None] = {}

    def below(self, split: Encoded, layer: int | None, *, batch_size: int, max_tokens: int) -> Stored | None:
        """The split's hidden states below a layer, computed where they are not kept yet.

        Args:
            split: whose.
            layer: the lowest one with anything trained; None where only heads are: then what they read.
            batch_size, max_tokens: bounds of the passes.

        Returns:
            None where nothing but embeddings lies below the layer, where the model cannot resume there, or where there
            is room neither in memory nor on disk: then the whole model has to compute.
        """
        if layer is not None and not 0 < layer < len(self._backbone.layout.layers):
            return None
        backbone, per_token = self._backbone, layer is None and split.problem.per_token
        key = (backbone.held, backbone.precision, self._kernel(), split.fingerprint, layer, per_token)
        if key not in self._kept:
            self._kept[key] = self._compute(split, layer, {"batch_size": batch_size, "max_tokens": max_tokens})
        return self._kept[key]

    def _kernel(self) -> object:
        return getattr(self._backbone.model.config, "_attn_implementation", None)

    @torch.inference_mode(mode=False)  # whose tensors could not take part in training
    @torch.no_grad()
    def _compute(self, split: Encoded, layer: int | None, bounds: dict[str, int]) -> Stored | None:
        backbone = self._backbone
        parameter = next(backbone.model.parameters())
        returns = _returned_below(backbone, layer, split) if layer is not None else ()
        if returns is None:
            _log.warning("layers of %s cannot be skipped; it computes whole", backbone.source)
            return None
        pooled = layer is None and not split.problem.per_token
        lengths = torch.ones(len(split), dtype=torch.long) if pooled else torch.tensor(split.lengths)
        starts = lengths.cumsum(0) - lengths
        dtype = torch.float32 if pooled else parameter.dtype
        shape = int(lengths.sum()), backbone.layout.hidden_size
        states = self._room.take(shape, dtype, parameter.device, "activations, which are computed anew")
        if states is None:
            return None
        for batch in scoring_batches(split, **bounds):
            with training_step():
                inputs = batch.inputs_on(parameter.device)
                if pooled:
                    states[list(batch.rows)] = backbone.encode(inputs).to(states.device)
                    continue
                reached = backbone.hidden_states(inputs) if layer is None else _entering(backbone, layer, inputs)
                for row, hidden in zip(batch.rows, reached.to(states.device), strict=True):
                    start, length = int(starts[row]), int(lengths[row])
                    states[start : start + length] = hidden[:length]
        return Stored(layer, states, starts, lengths, returns, pooled)


@contextmanager
def resumed(backbone: Backbone, stored: Stored, hidden: Tensor) -> Iterator[None]:
    """While open, the backbone skips the layers below the stored one, whose input is `hidden` [B, T, D]."""
    assert stored.layer is not None
    layers = [backbone.model.get_submodule(layer.name) for layer in backbone.layout.layers]
    with ExitStack() as stack:
        for module, returned in zip(layers[: stored.layer], stored.returns, strict=True):
            # On the instance, where it hides the class's own until it is deleted.
            module.forward = _pass_on(returned)
            stack.callback(delattr, module, "forward")

        def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        stack.callback(layers[stored.layer].register_forward_pre_hook(enter, with_kwargs=True).remove)
        yield


def _pass_on(returned: int | None) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if returned is None else (hidden, *[None] * (returned - 1))

    return forward


class _Entered(Exception):  # noqa: N818
    """The pass has come to the layer it was for."""


class _Seen:
    """What was seen in a pass: a layer's input, which layers were called, and what each returned."""

    def __init__(self) -> None:
        self.hidden: Tensor | None = None
        self.called: list[int] = []
        self.returned: list[int | None] = []


def _entering(backbone: Backbone, layer: int, inputs: Inputs) -> Tensor:
    """The hidden states that enter a layer, [B, T, D]; what lies above it is not computed."""
    with suppress(_Entered), _watched(backbone, layer, stop=True) as seen:
        backbone.hidden_states(inputs)
    assert seen.hidden is not None
    return seen.hidden


@contextmanager
def _watched(backbone: Backbone, layer: int, *, stop: bool = False) -> Iterator[_Seen]:
    """While open, a pass is watched; with `stop` it ends where it enters the layer, by `_Entered`."""
    seen = _Seen()

    def enter(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.called.append(index)
        if index == layer:
            seen.hidden = args[0] if args else kwargs.get("hidden_states")
            if stop:
                raise _Entered

    def leave(output: Any) -> None:
        seen.returned.append(len(output) if isinstance(output, tuple) else None)

    with ExitStack() as stack:
        for found in backbone.layout.layers:
            module, index = backbone.model.get_submodule(found.name), found.index
            before = module.register_forward_pre_hook(lambda _, a, k, i=index: enter(i, a, k), with_kwargs=True)
            stack.callback(before.remove)
            stack.callback(module.register_forward_hook(lambda _module, _args, output: leave(output)).remove)
        yield seen


def _returned_below(backbone: Backbone, layer: int, split: Encoded) -> tuple[int | None, ...] | None:
    """What each layer below returns, a tensor (None) or a tuple this long; None where the model cannot resume there.

    Tried on the shortest and the longest text, so on one with padding.
    """
    rows = sorted(range(len(split)), key=split.lengths.__getitem__)
    batch = replace(collate(split, [rows[0], rows[-1]]), rows=(0, 1))
    parameter = next(backbone.model.parameters())
    inputs = batch.inputs_on(parameter.device)
    with training_step():
        with _watched(backbone, layer) as seen:
            pooled = backbone.encode(inputs)
        hidden = seen.hidden
        lengths = torch.tensor([split.lengths[row] for row in (rows[0], rows[-1])])
        shape = (2, int(lengths.max()), backbone.layout.hidden_size)
        if not isinstance(hidden, Tensor) or (hidden.shape, hidden.dtype) != (shape, parameter.dtype):
            return None
        # Each layer once and in turn: where weights are shared, what is trained in a layer changes its own input.
        if seen.called[: layer + 1] != [*range(layer + 1)] or min(seen.called[layer + 1 :], default=layer + 1) <= layer:
            return None
        states = torch.cat([own[:length] for own, length in zip(hidden, lengths.tolist(), strict=True)])
        stored = Stored(layer, states, lengths.cumsum(0) - lengths, lengths, tuple(seen.returned[:layer]))
        with suppress(Exception):  # whatever it fails of, it cannot resume
            with resumed(backbone, stored, stored.of(batch, parameter.device)):
                again = backbone.encode(inputs)
            if (again - pooled).norm() <= _TOLERANCE[backbone.precision] * pooled.norm():
                return stored.returns
    return None

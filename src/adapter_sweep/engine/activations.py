"""What lies below the lowest trained layer: computed once for each split, and kept.

The backbone is frozen, so the hidden states that enter its lowest trained layer are the same in every epoch and every
trial; where only a head is trained, so are the pooled ones. They are kept without padding, in the backbone's precision.

Shapes: B batch, T tokens, D hidden, N rows of the split.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.batches import Batch, Encoded, scoring_batches
from adapter_sweep.engine.latency import training_step

__all__ = ["Activations", "Stored", "resumed"]

_log = logging.getLogger(__name__)
# A resumed pass has to give what the whole one gives, up to rounding; a model whose layers pass more on than hidden
# states (relative positions computed by the first one, say) does not, and is left alone.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Stored:
    """A split's hidden states where computing resumes.

    Attributes:
        layer: the layer they enter; None where they are the backbone's pooled output.
        states: [all tokens, D] row after row in the backbone's precision; pooled, [N, D] in float32.
        starts, lengths: of each row in `states`, [N].
        tuples: whether each layer below returns a tuple, as some models' do, rather than a tensor.
    """

    layer: int | None
    states: Tensor
    starts: Tensor
    lengths: Tensor
    tuples: tuple[bool, ...] = ()

    def of(self, batch: Batch, device: torch.device) -> Tensor:
        """The batch's hidden states: [B, T, D] padded to its longest text, or pooled [B, D].

        What stands at padded positions is another token's state: the mask keeps every real token from seeing it.
        """
        rows = torch.tensor(batch.rows)
        if self.layer is None:
            return self.states[rows.to(self.states.device)].to(device)
        positions = torch.arange(batch.input_ids.shape[1]).expand(len(rows), -1)
        index = self.starts[rows].unsqueeze(1) + positions.minimum(self.lengths[rows].unsqueeze(1) - 1)
        return self.states[index.to(self.states.device)].to(device)


class Activations:
    """One backbone's activations below its trained layers, kept for as long as this object lives.

    Guarantees: what is kept is never stale. It is found by the backbone's bytes as held, its precision and attention
    kernel, and the token ids of every row (so by the tokenizer and the data), and it ends with the process.

    Args:
        backbone: the backbone.
        limit_bytes: how much is held in memory; what does not fit lies in memory-mapped files.
        folder: where these files are made; they have no name, and the operating system frees them with the process.
    """

    def __init__(self, backbone: Backbone, *, limit_bytes: int, folder: Path) -> None:
        self._backbone = backbone
        self._left = limit_bytes
        self._folder = folder
        self._kept: dict[tuple[object, ...], Stored | None] = {}

    def below(self, split: Encoded, layer: int | None, *, batch_size: int, max_tokens: int) -> Stored | None:
        """The split's hidden states below a layer (None: pooled), computed where they are not kept yet.

        Returns:
            None where nothing but embeddings lies below the layer, where the model cannot resume there, or where there
            is room neither in memory nor on disk: then the whole model has to compute.
        """
        if layer is not None and not 0 < layer < len(self._backbone.layout.layers):
            return None
        key = (self._backbone.held, self._backbone.precision, self._kernel(), split.fingerprint, layer)
        if key not in self._kept:
            self._kept[key] = self._compute(split, layer, {"batch_size": batch_size, "max_tokens": max_tokens})
        return self._kept[key]

    def _kernel(self) -> object:
        return getattr(self._backbone.model.config, "_attn_implementation", None)

    @torch.no_grad()  # not inference mode, whose tensors cannot take part in training
    def _compute(self, split: Encoded, layer: int | None, bounds: dict[str, int]) -> Stored | None:
        backbone = self._backbone
        parameter = next(backbone.model.parameters())
        lengths = torch.tensor([len(ids) if layer is not None else 1 for ids in split.ids])
        starts = lengths.cumsum(0) - lengths
        dtype = torch.float32 if layer is None else parameter.dtype
        states = self._room(int(lengths.sum()), backbone.layout.hidden_size, dtype, parameter.device)
        if states is None:
            return None
        stored = Stored(layer, states, starts, lengths)
        for number, batch in enumerate(scoring_batches(split, **bounds)):
            with training_step():
                inputs = batch.inputs(parameter.device)
                if layer is None:
                    states[list(batch.rows)] = backbone.encode(*inputs).to(states.device)
                    continue
                with _entering(backbone, layer) as seen:
                    pooled = backbone.encode(*inputs)
                for row, hidden in zip(batch.rows, seen.hidden.to(states.device), strict=True):
                    start, length = int(starts[row]), int(lengths[row])
                    states[start : start + length] = hidden[:length]
                if number == 0:
                    stored = Stored(layer, states, starts, lengths, tuple(seen.tuples))
                    if not _same(pooled, backbone, stored, batch):
                        _log.warning("layers of %s cannot be skipped; it computes whole", backbone.source)
                        return None
        return stored

    def _room(self, rows: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """Memory while the limit allows, else a mapped file, else nothing."""
        wanted = rows * size * dtype.itemsize
        if wanted <= self._left:
            self._left -= wanted
            return torch.empty(rows, size, dtype=dtype, device=device)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="activations-", suffix=".tmp") as file:
                # Reserved at once: a mapped page that finds the disk full would kill the process.
                os.posix_fallocate(file.fileno(), 0, wanted)
                mapped = torch.from_file(file.name, shared=True, size=rows * size, dtype=dtype)
        except OSError as error:
            _log.warning("no room for %.1f GB of activations: %s; they are computed anew", wanted / 1e9, error)
            return None
        return mapped.view(rows, size)


@contextmanager
def resumed(backbone: Backbone, stored: Stored, hidden: Tensor) -> Iterator[None]:
    """While open, the backbone skips the layers below the stored one, whose input is `hidden` [B, T, D]."""
    assert stored.layer is not None
    layers = [backbone.model.get_submodule(layer.name) for layer in backbone.layout.layers]
    with ExitStack() as stack:
        for module, as_tuple in zip(layers[: stored.layer], stored.tuples, strict=True):
            # On the instance, where it hides the class's own until it is deleted.
            module.forward = _pass_on(as_tuple)
            stack.callback(delattr, module, "forward")

        def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        stack.callback(layers[stored.layer].register_forward_pre_hook(enter, with_kwargs=True).remove)
        yield


def _pass_on(as_tuple: bool) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if as_tuple else hidden

    return forward


class _Seen:
    """What was seen on the way to a layer: its input, and whether each layer below it returns a tuple."""

    hidden: Tensor

    def __init__(self) -> None:
        self.tuples: list[bool] = []


@contextmanager
def _entering(backbone: Backbone, layer: int) -> Iterator[_Seen]:
    seen = _Seen()
    layers = [backbone.model.get_submodule(found.name) for found in backbone.layout.layers]

    def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.hidden = args[0] if args else kwargs["hidden_states"]

    with ExitStack() as stack:
        for module in layers[:layer]:
            hook = module.register_forward_hook(lambda _m, _a, out: seen.tuples.append(isinstance(out, tuple)))
            stack.callback(hook.remove)
        stack.callback(layers[layer].register_forward_pre_hook(enter, with_kwargs=True).remove)
        yield seen


def _same(pooled: Tensor, backbone: Backbone, stored: Stored, batch: Batch) -> bool:
    """Whether the pass resumed from what is stored gives what the whole one gave."""
    device = pooled.device
    with suppress(RuntimeError, TypeError, ValueError), resumed(backbone, stored, stored.of(batch, device)):
        again = backbone.encode(*batch.inputs(device))
        gap = (again - pooled).norm() / pooled.norm()
        return bool(gap <= _TOLERANCE.get(stored.states.dtype, 1e-4))
    return False

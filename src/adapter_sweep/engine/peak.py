"""The most memory that training one model takes: what its tensors hold at the fullest moment of a step.

Counted are the frozen weights as they are held, what is trained, its gradients and AdamW's moments, and all that a
forward pass, a backward pass and an update make of the split's largest batch: as many of its longest texts as a batch
holds. The model trains alone and computes whole; a trial that resumes from kept activations takes less.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train_cohort

__all__ = ["largest_batch", "peak_train_memory"]

_FEW = 2  # rows of the smaller of two batches: of a single row some operations make views where others copy


def largest_batch(split: Encoded, spec: TrainSpec) -> tuple[int, ...]:
    """The rows of as many of the longest texts as a batch holds."""
    rows = sorted(range(len(split)), key=split.lengths.__getitem__, reverse=True)
    return tuple(rows[: max(1, min(spec.batch_size, spec.max_tokens // split.lengths[rows[0]]))])


def peak_train_memory(model: AdaptedModel, split: Encoded, spec: TrainSpec) -> int | None:
    """Bytes at the fullest moment of one training step of the model, which is left as it was; None if it does not fit.

    On a GPU it is the allocator's count of a whole step. On a CPU every tensor is counted from its making to its end,
    in a step on two rows and one on three. What a tensor takes grows evenly with the rows, so from the two follows what
    is held after each operation on the whole batch. Work space that an operation gives back itself is not in it.

    Raises:
        GuardError: the loss is not finite.
    """
    rows = largest_batch(split, spec)
    rows, spec = rows[: -(-len(rows) // spec.micro_batches)], replace(spec, micro_batches=1)  # one pass at a time
    device = model.head.weight.device
    with suppress(_TooLargeError), _unchanged(model):
        if device.type == "cuda":
            return _on_gpu(model, lambda count: _step(model, split, rows[:count], spec), len(rows), device)
        if len(rows) > _FEW + 1:
            # With the shortest of them: where there is padding there is a mask.
            few, more = (_held(model, split, (*rows[:1] * count, rows[-1]), spec) for count in (_FEW - 1, _FEW))
            if len(few) == len(more):
                further = len(rows) - _FEW
                return max(low + further * (high - low) for low, high in zip(few, more, strict=True))
        return max(_held(model, split, rows, spec))
    return None


class _TooLargeError(Exception):
    """A step was not computed whole, so what it took says nothing of the whole."""


def _step(model: AdaptedModel, split: Encoded, rows: tuple[int, ...], spec: TrainSpec) -> None:
    (training,) = train_cohort([model], split.part(rows), [replace(spec, epochs=1)])
    if training.error is not None:
        raise training.error
    if training.micro_batches != spec.micro_batches:  # training's answer where memory runs out
        raise _TooLargeError


def _on_gpu(model: AdaptedModel, step: Callable[[int], None], rows: int, device: torch.device) -> int:
    own = sum(t.nbytes for t in (*model.parameters(), *_frozen(model)))
    step(1)  # what libraries make room for once
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step(rows)
    return int(torch.cuda.max_memory_allocated(device)) - before + own


def _frozen(model: AdaptedModel) -> list[Tensor]:
    return [*model.backbone.model.parameters(), *model.backbone.model.buffers()]


def _held(model: AdaptedModel, split: Encoded, rows: tuple[int, ...], spec: TrainSpec) -> list[int]:
    """Bytes that are held after each operation of a step that takes more memory."""
    ledger = _Ledger()
    with ledger:
        for tensor in (*model.parameters(), *_frozen(model)):
            ledger.count(tensor)
        _step(model, split, rows, spec)
    return ledger.held


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While open, counts the memory of every tensor from when it is made to when nothing needs it any more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: list[int] = []
        self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        before = self._now
        for made in output if isinstance(output, tuple | list) else (output,):
            if isinstance(made, Tensor):
                self.count(made)
        # A batch is put together row by row from Python's numbers, so these operations are not the same for all.
        if self._now > before and func is not torch.ops.aten.lift_fresh.default:
            self.held.append(self._now)
        return output

    def count(self, tensor: Tensor) -> None:
        """Count the memory of a tensor, unless another one with the same memory was counted."""
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._known:
            return

        def end(_: object) -> None:
            self._now -= size
            del self._known[address]

        self._now += size
        self._known[address] = weakref.ref(storage, end)


@contextmanager
def _unchanged(model: AdaptedModel) -> Iterator[None]:
    """Whatever is trained while it is open, the model's parameters are afterwards what they were."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), before, strict=True):
                parameter.copy_(value)

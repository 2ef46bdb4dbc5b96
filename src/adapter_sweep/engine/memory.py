"""How much memory there is, and how many models may train together in it."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Batch, collate
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded

__all__ = ["available_bytes", "cohort_bound", "free_memory", "is_out_of_memory", "saved_bytes"]

# Of what is free now, a cohort may take this much: the estimate leaves out what lives for one operation only.
_SHARE = 0.5
_CONTAINER_LIMITS = (  # a container's limit, what it uses, and of that the files that can be dropped: cgroup v2, v1
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
# What torch's errors say of it: on the host, from the driver, from cuBLAS and its kin.
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
# Weights, gradients and AdamW's two moments, in float32.
_BYTES_PER_PARAMETER = 16


def available_bytes(device: torch.device) -> int | None:
    """Bytes that are free on the device now; None where the system does not tell.

    On the CPU what can be had without swapping, within the container's limit.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [*_system_available(), *_container_available()]
    return max(0, min(found)) if found else None


def cohort_bound(model: AdaptedModel, split: Encoded, *, batch_size: int, max_tokens: int, share: float = 1.0) -> int:
    """How many models like this one may train together, by what one keeps for its backward pass; at least 1.

    One that goes through the backbone alone is bounded by its weights: the others' passes are over when its own begins.

    Args:
        model: one of them, with the widest adapters.
        split: what they train on. Attention's memory grows with the square of a text's length, so the longest decides.
        batch_size, max_tokens: the bounds of their batches.
        share: of the free memory, where others want some as well.
    """
    available = available_bytes(model.head.weight.device)
    if available is None:
        return 1
    each = _BYTES_PER_PARAMETER * model.count_params().total
    if not model.insertion.shares_pass:
        return max(1, int(_SHARE * share * available / each))
    longest = max(range(len(split)), key=split.lengths.__getitem__)
    try:
        one, two = (saved_bytes(model, collate(split, [longest] * rows)) for rows in (1, 2))
    except Exception as error:
        if is_out_of_memory(error):
            return 1
        raise
    rows = max(1, min(batch_size, max_tokens // split.lengths[longest]))
    each += one + (rows - 1) * (two - one)
    return max(1, int(_SHARE * share * available / each))


def saved_bytes(model: AdaptedModel, batch: Batch) -> int:
    """Bytes that one forward pass keeps for the backward pass, besides the parameters; each memory counted once."""
    kept: dict[int, int] = {}
    with _watched(kept):
        Cohort([model]).logits(batch)
    for tensor in (*model.parameters(), *model.backbone.model.parameters()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values())


@contextmanager
def _watched(kept: dict[int, int]) -> Iterator[None]:
    alive: list[Tensor] = []  # so that no memory is given out, and counted, twice

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for want of memory, on a GPU or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def free_memory(after: BaseException) -> None:
    """Give back what a failed pass left: an error keeps the local variables, and so the tensors, of the calls it ended.

    Its traceback stays, without these variables.
    """
    traceback.clear_frames(after.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _system_available() -> Iterator[int]:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])


def _container_available() -> Iterator[int]:
    for folder, limit, used, cached in _CONTAINER_LIMITS:
        with suppress(OSError):
            most, now, stat = (
                (Path(folder) / name).read_text(encoding="ascii") for name in (limit, used, "memory.stat")
            )
            files = dict(line.split() for line in stat.splitlines()).get(cached, "0")
            if most.strip() != "max":
                yield int(most) - int(now) + int(files)

"""How much memory there is, and how many models may train together in it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Batch
from adapter_sweep.engine.cohort import Cohort

__all__ = ["available_bytes", "cohort_bound", "free_memory", "is_out_of_memory", "saved_bytes"]

# Of what is free now, a cohort may take this much: the estimate leaves out what lives for one operation only.
_SHARE = 0.5
_CONTAINER_LIMITS = (  # a container's limit and what it uses: cgroup v2, v1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
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


def cohort_bound(model: AdaptedModel, batch: Batch, tokens: int, share: float = 1.0) -> int:
    """How many models like this one may train together, by what one keeps for its backward pass; at least 1.

    Args:
        model: one of them, with the widest adapters.
        batch: some rows to compute, as few as may be.
        tokens: of the largest batch they will see, padding counted.
        share: of the free memory, where others want some as well.
    """
    per_token = saved_bytes(model, batch) / batch.input_ids.numel()
    each = per_token * tokens + _BYTES_PER_PARAMETER * model.count_params().total
    available = available_bytes(model.head.weight.device)
    return max(1, int(_SHARE * share * available / each)) if available is not None else 1


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
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def free_memory() -> None:
    """Give back what nothing uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _system_available() -> Iterator[int]:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])


def _container_available() -> Iterator[int]:
    for limit, used in _CONTAINER_LIMITS:
        with suppress(OSError):
            most, now = Path(limit).read_text(encoding="ascii").strip(), Path(used).read_text(encoding="ascii")
            if most != "max":
                yield int(most) - int(now)

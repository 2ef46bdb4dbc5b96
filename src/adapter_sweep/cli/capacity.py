"""How many workers a study gets, and what each may use of the machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_sweep.bench import Bench
from adapter_sweep.config import SweepConfig
from adapter_sweep.provenance import physical_cores

__all__ = ["Capacity", "find_capacity"]

_MEMORY_LIMITS = (  # a container's limit and what it uses: cgroup v2, v1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Capacity:
    """The workers of a study.

    Attributes:
        devices: each worker's `train.device`.
        threads: CPU threads of each.
        bound: why there are fewer than there would be, in the user's words; None where nothing bound them.
    """

    devices: tuple[str, ...]
    threads: int
    bound: str | None = None

    @property
    def workers(self) -> int:
        """How many there are; one is the study's own process."""
        return len(self.devices)


def find_capacity(config: SweepConfig, bench: Bench, left: int) -> Capacity:
    """The workers for the trials that are left: never more than those.

    Unless `workers.count` says how many, there is one for each GPU where training is on GPUs, else one for each
    physical core (or for each `train.threads` of them), and no more than the available memory takes. A worker is
    estimated to need what this process took at most to load the same backbone and data, and the activations of one
    training batch (`activation_bytes`).
    """
    devices = _devices(config, bench)
    cores = physical_cores()
    bound = None
    if config.workers.count is not None:
        count = config.workers.count
    elif bench.device.type == "cuda":
        count = len(devices)
    else:
        count = max(1, cores // (config.train.threads or 1))
        count, bound = _within_memory(min(count, left), peak_bytes() + activation_bytes(config, bench))
    count = max(1, min(count, left))
    chosen = tuple(devices[i % len(devices)] for i in range(count))
    return Capacity(chosen, config.train.threads or max(1, cores // count), bound)


def activation_bytes(config: SweepConfig, bench: Bench) -> int:
    """What training one batch keeps for its backward pass, in fp32: per layer, tokens · (34 d + 5 heads · length) · 2.

    That is the count of Korthikanti et al. (2022, section 4.1) for a transformer layer; adapters add little to it.
    """
    train = config.train
    model: Any = bench.backbone.model.config
    tokens = min(train.batch_size * train.max_length, max(train.max_tokens_per_batch, train.max_length))
    hidden = bench.backbone.layout.hidden_size
    layers = getattr(model, "num_hidden_layers", len(bench.backbone.layout.layers))
    heads = getattr(model, "num_attention_heads", 1)
    return int(layers * tokens * (34 * hidden + 5 * heads * train.max_length) * 2)


def peak_bytes() -> int:
    """The most memory this process has held."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_bytes() -> int | None:
    """Memory that can be had without swapping, within the container's limit; None where the system does not tell."""
    found = [*_system_available(), *_container_available()]
    return max(0, min(found)) if found else None


def _within_memory(count: int, each: int) -> tuple[int, str | None]:
    available = available_bytes()
    if available is None or count * each <= available:
        return count, None
    fitting = max(1, available // each)
    return fitting, f"{available / 1e9:.1f} GB of memory are free, and a worker takes about {each / 1e9:.1f} GB"


def _devices(config: SweepConfig, bench: Bench) -> list[str]:
    if bench.device.type != "cuda" or bench.device.index is not None:
        return [config.train.device if bench.device.type == "cuda" else "cpu"]
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _system_available() -> Iterator[int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _container_available() -> Iterator[int]:
    for limit, used in _MEMORY_LIMITS:
        try:
            most, now = Path(limit).read_text(encoding="ascii").strip(), Path(used).read_text(encoding="ascii")
        except OSError:
            continue
        if most != "max":
            yield int(most) - int(now)

"""How many workers a study gets, and what each may use of the machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from adapter_sweep.bench import Bench
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.layers import parsed_layers
from adapter_sweep.config.methods import FullMethod, HeadMethod, MethodConfig
from adapter_sweep.config.naming import applying
from adapter_sweep.engine.memory import available_bytes
from adapter_sweep.engine.modality import count_image_tokens
from adapter_sweep.engine.sites import chosen_indices
from adapter_sweep.provenance import physical_cores

__all__ = ["Capacity", "find_capacity", "worker_threads"]


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
    estimated to need what this process took at most to load the same backbone and data, the activations of one
    training batch (`activation_bytes`) of as many trials as train together, `train.cache_gb` where it can be used, and
    for full fine-tuning, where it is among the methods, its copies of the backbone.
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
        together = config.train.cohort if isinstance(config.train.cohort, int) else 1
        each = peak_bytes() + together * activation_bytes(config, bench) + _cache_bytes(config, bench)
        each += _trained_bytes(config, bench, together)
        count, bound = _within_memory(min(count, left), each)
    count = max(1, min(count, left))
    chosen = tuple(devices[i % len(devices)] for i in range(count))
    return Capacity(chosen, config.train.threads or max(1, cores // count), bound)


def worker_threads(config: SweepConfig) -> int:
    """CPU threads of a worker before it is known how many trials there are for workers to share."""
    cores = physical_cores()
    return config.train.threads or max(1, cores // (config.workers.count or cores))


def activation_bytes(config: SweepConfig, bench: Bench) -> int:
    """What training one batch keeps for its backward pass, in fp32: per layer, tokens · (34 d + 5 heads · length) · 2.

    That is the count of Korthikanti et al. (2022, section 4.1) for a transformer layer; adapters add little to it.
    """
    train = config.train
    model: Any = bench.backbone.model.config
    length = train.max_length if bench.data.modality == "text" else count_image_tokens(bench.backbone.model)
    tokens = min(train.batch_size * length, max(train.max_tokens_per_batch, length))
    hidden = bench.backbone.layout.hidden_size
    layers = getattr(model, "num_hidden_layers", len(bench.backbone.layout.layers))
    heads = getattr(model, "num_attention_heads", 1)
    return int(layers * tokens * (34 * hidden + 5 * heads * length) * 2)


def peak_bytes() -> int:
    """The most memory this process has held."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cache_bytes(config: SweepConfig, bench: Bench) -> int:
    """What a worker may hold of activations below what is trained, and of images' pixels.

    Of texts it is nothing where every trial trains something in the lowest layer, or below it.
    """
    methods: list[tuple[str | None, MethodConfig]] = [*config.methods.items()] or [(None, config.method)]
    kept = bench.data.modality == "image" or any(
        _may_resume(method, applying(config.search_space, name), bench) for name, method in methods
    )
    return int(config.train.cache_gb * 1e9) if kept else 0


def _may_resume(method: MethodConfig, searched: Mapping[str, str], bench: Bench) -> bool:
    """Whether trials of a method may compute from kept activations: where nothing in the lowest layer is trained."""
    if isinstance(method, HeadMethod):
        return True
    layers = getattr(method, "layers", None)
    if layers is None:  # of full fine-tuning, and of virtual tokens, which all layers see
        return False
    chosen = chosen_indices(bench.backbone.layout, parsed_layers(layers))
    above = (chosen != "all" and 0 not in chosen) or "method.layers" in searched
    return above and (getattr(method, "layer_norms", None) != "all" or "method.layer_norms" in searched)


def _trained_bytes(config: SweepConfig, bench: Bench, together: int) -> int:
    """What trials hold of what they train: of all methods only full fine-tuning's is not small beside the backbone.

    In float32, a copy of the weights for each trial that is ready, and for the one of them that trains, as its method
    goes alone, gradients and AdamW's two moments.
    """
    methods = config.methods.values() or [config.method]
    if not any(isinstance(method, FullMethod) for method in methods):
        return 0
    return 4 * (together + 3) * bench.backbone.layout.num_params


def _within_memory(count: int, each: int) -> tuple[int, str | None]:
    available = available_bytes(torch.device("cpu"))
    if available is None or count * each <= available:
        return count, None
    fitting = max(1, available // each)
    return fitting, f"{available / 1e9:.1f} GB of memory are free, and a worker takes about {each / 1e9:.1f} GB"


def _devices(config: SweepConfig, bench: Bench) -> list[str]:
    if bench.device.type != "cuda" or bench.device.index is not None:
        return [config.train.device if bench.device.type == "cuda" else "cpu"]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]

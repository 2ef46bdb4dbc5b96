"""The frozen backbone's precision, chosen by what is faster on the machine at hand."""

import functools
import statistics
import time
from typing import Literal

import torch

__all__ = ["DTYPES", "Precision", "choose_precision"]

Precision = Literal["bf16", "fp32"]
DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}

# Where the processor computes in bf16 it is over twice as fast, and where it does not it is slower than fp32, so any
# threshold between lets noise decide nothing.
_WORTH_IT = 1.3


def choose_precision(wanted: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """The precision asked for; for `auto`, bf16 where this device multiplies matrices faster in it, else fp32.

    Adapters, layer norms, head and optimizer state are in float32 either way.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if _bf16_speed_up(device) >= _WORTH_IT else "fp32"


@functools.cache
def _bf16_speed_up(device: torch.device) -> float:
    """fp32 seconds over bf16 seconds of a feed-forward product of a small transformer, timed in turn."""
    x = torch.randn(1024, 384, device=device)
    w = torch.randn(1536, 384, device=device)
    operands = {name: (x.to(dtype), w.to(dtype)) for name, dtype in DTYPES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in DTYPES}
    for i in range(12):
        for name, (a, b) in operands.items():
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i >= 2:
                seconds[name].append(time.perf_counter() - started)
    return statistics.median(seconds["fp32"]) / statistics.median(seconds["bf16"])

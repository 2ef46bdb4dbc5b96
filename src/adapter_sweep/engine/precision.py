"""The frozen backbone's precision, chosen by what is faster on the machine at hand."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

from adapter_sweep.engine.backbone import DTYPES, Precision
from adapter_sweep.engine.choices import Choice, Seconds, measured, time_in_turn

__all__ = ["choose_precision"]

# Where the processor computes in bf16 it is over twice as fast, and where it does not it is slower than fp32, so any
# threshold between lets noise decide nothing.
_WORTH_IT = 1.3
# Rows, inputs and outputs of a feed-forward product, of a small transformer on a CPU and of BERT-base on a GPU; and how
# many are timed at once: a GPU takes less time for one than the clock and the launch do.
_SHAPE = {"cpu": (1024, 384, 1536), "cuda": (4096, 768, 3072)}
_CALLS = {"cpu": 1, "cuda": 50}


def choose_precision(wanted: Literal["auto", "bf16", "fp32"], device: torch.device) -> Choice[Precision]:
    """The precision asked for; for `auto`, bf16 where this device multiplies matrices faster in it, else fp32.

    It is measured once per machine, with the threads in use. Adapters, layer norms, head and optimizer state are in
    float32 either way. On a GPU products of float32 are computed in TensorFloat-32 from here on.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TensorFloat-32 for what is computed in float32
    if wanted != "auto":
        return Choice(wanted, "set by train.precision")
    what = f"precision: product of {'x'.join(map(str, _SHAPE[device.type]))}"
    seconds = measured(what, DTYPES, device, lambda: _time_products(device))
    speed_up = seconds["fp32"] / seconds["bf16"]
    if speed_up >= _WORTH_IT:
        return Choice("bf16", f"{speed_up:.1f}x the speed of fp32 on this machine")
    return Choice("fp32", f"bf16 has {speed_up:.1f}x its speed on this machine")


def _time_products(device: torch.device) -> Seconds:
    rows, inputs, outputs = _SHAPE[device.type]
    x, w = torch.randn(rows, inputs, device=device), torch.randn(outputs, inputs, device=device)

    def products(dtype: torch.dtype) -> None:
        here, weight = operands[dtype]
        for _ in range(_CALLS[device.type]):
            torch.nn.functional.linear(here, weight)

    operands = {dtype: (x.to(dtype), w.to(dtype)) for dtype in DTYPES.values()}
    calls: dict[str, Callable[[], object]] = {name: partial(products, dtype) for name, dtype in DTYPES.items()}
    return time_in_turn(calls, device, rounds=(10, 10))

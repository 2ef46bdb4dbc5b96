"""The arithmetic of an encoder with adapters, and the speed of the machine at its matrix products.

Needs torch alone. Shapes: L layers, D hidden, F feed-forward, M adapter width, C classes, n tokens of a text.
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Encoder:
    """A BERT-like encoder with an adapter at both sites of every layer, and a head on the pooled text."""

    layers: int
    hidden: int
    feed_forward: int
    width: int
    classes: int

    def forward_flops(self, tokens: int) -> int:
        """Of the matrix products of one text's forward pass, a multiply and an add counted as two.

        A layer's products for each token: query, key, value and output 4 x 2DD, feed-forward 2 x 2DF, two adapters
        2 x 4MD; the attention's own, scores and their use, 2 x 2nnD for the text. Then the head, 2DC for the text.
        """
        d, f, m, n = self.hidden, self.feed_forward, self.width, tokens
        layer = n * (8 * d * d + 4 * d * f + 8 * m * d) + 4 * n * n * d
        return self.layers * layer + 2 * d * self.classes

    def training_flops(self, tokens: int) -> int:
        """Of one text's forward and backward pass, what is needed and no more.

        A frozen product has a gradient for its input alone: as much as forward. Of the attention's own products both
        factors have one: twice as much. An adapter's have one for input and weights: twice as much. In the lowest layer
        nothing before the first adapter is trained, so there is none for its attention, nor for that adapter's input.
        """
        d, f, m, n = self.hidden, self.feed_forward, self.width, tokens
        frozen = n * (self.layers * 4 * d * f + (self.layers - 1) * 8 * d * d)
        attention = (self.layers - 1) * 8 * n * n * d
        adapters = n * (self.layers * 16 * m * d - 2 * m * d)
        return self.forward_flops(tokens) + frozen + attention + adapters + 4 * d * self.classes

    def total(self, lengths: Iterable[int], *, training: bool) -> int:
        """Of one pass over texts of these lengths in real tokens: padding is no needed work."""
        return sum(self.training_flops(n) if training else self.forward_flops(n) for n in lengths)

    def products(self) -> dict[tuple[int, int], int]:
        """The frozen products of a layer: (inputs, outputs) -> how many."""
        d, f = self.hidden, self.feed_forward
        return {(d, d): 4, (d, f): 1, (f, d): 1}


def linear_rates(encoder: Encoder, rows: int, dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """FLOP/s of `F.linear` at each shape of a layer's frozen products, and of all of them as a layer has them (`mix`).

    Medians of repeated calls on the same operands, after a warm-up.
    """
    rates: dict[str, float] = {}
    flops, seconds = 0, 0.0
    for (inputs, outputs), count in encoder.products().items():
        each = _linear_seconds(rows, inputs, outputs, dtype, device)
        work = 2 * rows * inputs * outputs
        rates[f"{inputs}->{outputs}"] = work / each
        flops += count * work
        seconds += count * each
    return {**rates, "mix": flops / seconds}


@torch.no_grad()
def _linear_seconds(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: torch.device) -> float:
    x = torch.randn(rows, inputs, device=device).to(dtype)
    weight = torch.randn(outputs, inputs, device=device).to(dtype)
    bias = torch.randn(outputs, device=device).to(dtype)
    calls = 100 if device.type == "cuda" else 1  # starting one takes longer than computing it
    times: list[float] = []
    ends = time.perf_counter() + 0.5
    while len(times) < 10 or time.perf_counter() < ends:
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            for _ in range(calls):
                functional.linear(x, weight, bias)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1000 / calls)
        else:
            started = time.perf_counter()
            functional.linear(x, weight, bias)
            times.append(time.perf_counter() - started)
    return statistics.median(times[3:])

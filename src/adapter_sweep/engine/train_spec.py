"""How a model is trained, as plain values."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from adapter_sweep.engine.problems import LossSpec

__all__ = ["Order", "TrainSpec", "warmup_then_decay"]


class Order(NamedTuple):
    """What decides an epoch's batches: trials of one order can share a pass through the backbone."""

    batch_size: int
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class TrainSpec:
    """How to train.

    Attributes:
        lr: peak learning rate of AdamW, after a linear warm-up over `warmup_fraction` of the steps and before a linear
            decay to 0 (Houlsby et al. 2019, section 3.1: warm-up over the first 10 %).
        weight_decay: on weight matrices only, not on biases and layer norms.
        max_tokens: bound of a batch, padding counted.
        max_grad_norm: gradients are clipped to this norm; 0 leaves them as they are.
        seed: of the batches' order.
        loss: what of the loss is chosen.
        micro_batches: how many passes an update's batch is computed in; less memory, the same update up to rounding.
        checkpointing: whether layers' activations are computed again rather than kept; less memory, the same update.
    """

    epochs: int
    lr: float
    batch_size: int
    max_tokens: int = 4096
    weight_decay: float = 0.0
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0
    loss: LossSpec = field(default_factory=LossSpec)
    micro_batches: int = 1
    checkpointing: bool = False

    @property
    def order(self) -> Order:
        """What decides the batches."""
        return Order(self.batch_size, self.max_tokens, self.seed)


def warmup_then_decay(steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """The learning rate's factor at a step from 0: up to 1 over the warm-up, then linearly down to 0 at `steps`."""
    warmup = math.ceil(steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor

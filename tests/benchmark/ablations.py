"""The engine's techniques, and the engine without each of them, by patches: the product has no such switches.

Precision and attention are chosen by measurement; where the choice is already what would be put in their place, their
two sides are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_sweep.engine import adapters, batches, training


@dataclass(frozen=True)
class Ablation:
    """What is in the technique's place.

    Attributes:
        instead: in words.
        overrides: of the configuration.
        patched: open while the engine is opened, trained and scored.
    """

    instead: str
    overrides: tuple[str, ...] = ()
    patched: Callable[[], AbstractContextManager[object]] = nullcontext


def _adapt_in_float32(self: adapters.BottleneckAdapter, x: Tensor) -> Tensor:
    h = functional.linear(x.float(), self.down.weight, self.down.bias)
    return x + functional.linear(self.activation(h), self.up.weight, self.up.bias).to(x.dtype)


def _norm_in_float32(self: Any, x: Tensor) -> Tensor:
    normed: Tensor = self.norm(x.float())
    return normed.to(x.dtype)


class _PerTensorAdamW:
    """torch's AdamW at its defaults over the parameters as they lie, with the same clipping and schedule."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        max_grad_norm: float,
        factor: Callable[[int], float],
    ) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        matrices, rest = ([p for p in self._parameters if (p.ndim >= 2) is wanted] for wanted in (True, False))
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self._adamw = torch.optim.AdamW(groups, lr=lr)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._adamw, factor)
        self._max_grad_norm = max_grad_norm

    def zero_grad(self) -> None:
        self._adamw.zero_grad()

    def step(self) -> None:
        if self._max_grad_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._adamw.step()
        self._schedule.step()

    def release(self) -> None:
        self.zero_grad()


@contextmanager
def _dropout_in_training() -> Iterator[None]:
    update = training._Training._update

    def with_dropout(loop: Any, members: Any, batch: Any) -> list[float]:
        model = members[0].model.backbone.model
        model.train()
        try:
            return update(loop, members, batch)
        finally:
            model.eval()

    with patch.object(training._Training, "_update", with_dropout):
        yield


ABLATIONS: dict[str, Ablation] = {
    "bf16": Ablation("an fp32 backbone", ("train.precision=fp32",)),
    "eager": Ablation("the fused attention kernel, sdpa", ("backbone.attention=sdpa",)),
    "buckets": Ablation("batches in random order of length", (), partial(patch.object, batches, "_POOL_BATCHES", 1)),
    "no-dropout": Ablation("dropout in the backbone while training", (), _dropout_in_training),
    "adapter-products": Ablation(
        "adapters computed in fp32", (), partial(patch.object, adapters.BottleneckAdapter, "forward", _adapt_in_float32)
    ),
    "fused-norm": Ablation(
        "trained layer norms on fp32 copies",
        (),
        partial(patch.object, adapters._TrainedNorm, "forward", _norm_in_float32),
    ),
    "flat-adamw": Ablation("AdamW on each tensor", (), partial(patch.object, training, "FlatAdamW", _PerTensorAdamW)),
    "batch-32": Ablation("batches of 8, a Trainer's default", ("train.batch_size=8",)),
}

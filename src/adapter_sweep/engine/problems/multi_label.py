"""Any number of labels an example, each of which holds or does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems.loss import LossSpec

__all__ = ["MultiLabel"]


@dataclass(frozen=True)
class MultiLabel:
    """Any number of labels an example. Labels and predictions are the indices of those that hold, ascending.

    Attributes:
        labels: how many there are, C.
    """

    labels: int
    per_token: bool = False

    @property
    def about(self) -> dict[str, Any]:
        """Nothing but the type: a label holds where its logit is over 0."""
        return {"type": "multi_label"}

    def targets(self, labels: Sequence[Any], _tokens: int, /) -> Tensor:
        """1 where a label holds, else 0: [B, C] in float32."""
        targets = torch.zeros(len(labels), self.labels)
        for row, own in enumerate(labels):
            targets[row, list(own)] = 1
        return targets

    def loss(self, logits: Tensor, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """Binary cross entropy, mean over rows and labels; a weight multiplies the loss of a label where it holds."""
        weights = spec.class_weights
        return functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=None if weights is None else logits.new_tensor(weights)
        )

    def weight(self, targets: Tensor, _spec: LossSpec, /) -> Tensor:
        """The number of rows."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def predictions(self, logits: Tensor, _rows: Sequence[int], /) -> list[Any]:
        """The labels whose probability is over a half."""
        return [tuple(own.nonzero().flatten().tolist()) for own in logits > 0]

"""One class an example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems.loss import LossSpec

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification:
    """One class an example. Labels and predictions are the classes' indices."""

    per_token: bool = False

    @property
    def about(self) -> dict[str, Any]:
        """Nothing but the type."""
        return {"type": "classification"}

    def targets(self, labels: Sequence[Any], _tokens: int, /) -> Tensor:
        """Class indices, [B]."""
        return torch.tensor(labels, dtype=torch.long)

    def loss(self, logits: Tensor, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """Cross entropy; with weights the weighted mean, as torch defines it."""
        weights = spec.class_weights
        return functional.cross_entropy(
            logits,
            targets,
            weight=None if weights is None else logits.new_tensor(weights),
            label_smoothing=spec.label_smoothing,
        )

    def weight(self, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """The number of rows, or the sum of their classes' weights."""
        if spec.class_weights is None:
            return torch.tensor(float(len(targets)), device=targets.device)
        return torch.tensor(spec.class_weights, device=targets.device)[targets].sum()

    def predictions(self, logits: Tensor, _rows: Sequence[int], /) -> list[Any]:
        """The class of the largest logit, of each row."""
        found: list[Any] = logits.argmax(dim=-1).tolist()
        return found

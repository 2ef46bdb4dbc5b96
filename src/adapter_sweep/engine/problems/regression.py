"""A number an example."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems.loss import LossSpec
from adapter_sweep.errors import GuardError

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression:
    """A number an example, in the labels' own unit. The head learns it standardised, whatever the unit is.

    Attributes:
        mean, sd: of the training split's labels; what the head gives, times `sd`, plus `mean` is the prediction.
    """

    mean: float = 0.0
    sd: float = 1.0
    per_token: bool = False

    @classmethod
    def of(cls, labels: Sequence[float]) -> "Regression":
        """The problem of a training split with these labels; where all are equal they are only centred."""
        return cls(statistics.fmean(labels), statistics.pstdev(labels) or 1.0)

    @property
    def about(self) -> dict[str, Any]:
        """The unit, without which the head's numbers mean nothing."""
        return {"type": "regression", "mean": self.mean, "sd": self.sd}

    def targets(self, labels: Sequence[Any], _tokens: int, /) -> Tensor:
        """Standardised, [B] in float32."""
        return ((torch.tensor(labels, dtype=torch.float64) - self.mean) / self.sd).float()

    def loss(self, logits: Tensor, targets: Tensor, _spec: LossSpec, /) -> Tensor:
        """Mean squared error of the standardised numbers."""
        return functional.mse_loss(logits.squeeze(-1), targets)

    def weight(self, targets: Tensor, _spec: LossSpec, /) -> Tensor:
        """The number of rows."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def predictions(self, logits: Tensor, _rows: Sequence[int], /) -> list[Any]:
        """The number of each row.

        Raises:
            GuardError: one is not finite.
        """
        broken = int((~logits.isfinite()).sum())
        if broken:
            raise GuardError(f"{broken} predictions are not finite; a lower train.lr may help")
        found: list[Any] = (logits.squeeze(-1).double() * self.sd + self.mean).tolist()
        return found

"""What a head's numbers mean: the targets it is trained towards, the loss, and what is predicted.

Shapes: B batch, T tokens, C outputs of the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Classification", "LossSpec", "Problem"]


@dataclass(frozen=True)
class LossSpec:
    """What of the loss a trial may choose.

    Attributes:
        label_smoothing: share of each target that is spread evenly over the classes (Szegedy et al. 2016, section 7).
        class_weights: how much an example of each class counts; None where all count the same.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None


class Problem(Protocol):
    """One type of task, as the engine sees it."""

    @property
    def per_token(self) -> bool:
        """Whether the head reads every token's hidden state, rather than the pooled one."""

    def targets(self, labels: Sequence[Any], tokens: int, /) -> Tensor:
        """The targets of a batch, [B, …].

        Args:
            labels: of the batch's rows, as the split holds them.
            tokens: what the batch's texts are padded to.
        """

    def loss(self, logits: Tensor, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """The mean loss of a batch, from logits [B, C], or [B, T, C] where the head reads every token."""

    def weight(self, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """How much a batch counts in the mean loss of several, a scalar."""

    def predictions(self, logits: Tensor, rows: Sequence[int], /) -> list[Any]:
        """What is predicted for each row of the split, from logits on the CPU."""


@dataclass(frozen=True)
class Classification:
    """One class an example. Labels and predictions are the classes' indices."""

    per_token: bool = False

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
        """The sum of the examples' weights."""
        if spec.class_weights is None:
            return targets.new_tensor(len(targets), dtype=torch.float32)
        return torch.tensor(spec.class_weights, device=targets.device)[targets].sum()

    def predictions(self, logits: Tensor, _rows: Sequence[int], /) -> list[Any]:
        """The class of the largest logit, of each row."""
        found: list[Any] = logits.argmax(dim=-1).tolist()
        return found

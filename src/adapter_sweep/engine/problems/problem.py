"""What the engine asks of a type of task: targets, loss, predictions.

Shapes: B batch, T tokens, C outputs of the head.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from adapter_sweep.engine.problems.loss import LossSpec

__all__ = ["Problem"]


class Problem(Protocol):
    """One type of task, as the engine sees it."""

    @property
    def per_token(self) -> bool:
        """Whether the head reads every token's hidden state, rather than the pooled one."""

    @property
    def about(self) -> dict[str, Any]:
        """What predicting from saved weights needs to know besides the label names, as JSON: `type`, and what it has.

        It is the same for all splits of a task.
        """

    def targets(self, labels: Sequence[Any], tokens: int, /) -> Tensor:
        """The targets of a batch, [B, …].

        Args:
            labels: of the batch's rows, as `Encoded.labels` holds them.
            tokens: what the batch's texts are padded to.
        """

    def loss(self, logits: Tensor, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """The mean loss of a batch, from logits [B, C], or [B, T, C] where the head reads every token."""

    def weight(self, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """How much a batch counts in the mean loss of several, a scalar."""

    def predictions(self, logits: Tensor, rows: Sequence[int], /) -> list[Any]:
        """What is found in each of these rows of the split, from their logits on the CPU.

        It is the example's prediction in the form of `adapter_sweep.scores`; where examples are cut into several rows,
        what `Encoded.cut` merges into it.
        """

"""Where a training stands: what is told of it, what it leaves, and what it needs to go on from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Keeper", "Progress", "Standing", "Training"]


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step, for whoever watches."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass
class Training:
    """What training leaves of one model.

    Attributes:
        losses: of every step, 1-based.
        seconds: wall time spent in steps; in a cohort, its equal share of each.
        error: what ended it early; the other members of its cohort went on. Whoever sets it ends it.
        stopped: whether it ended before its last epoch, and well. Whoever sets it ends it.
        micro_batches: how many passes an update's batch was computed in at the end.
        together: how many models its passes held, itself included: the most since passes were last made smaller for
            want of memory or for a failure. 0 before any.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: Exception | None = None
    stopped: bool = False
    micro_batches: int = 1
    together: int = 0


@dataclass(frozen=True)
class Standing:
    """Where the training of one model stands between two steps: all that it needs to go on, bit for bit.

    There is no random state: the batches' order follows from seed and epoch, and nothing else is drawn.

    Attributes:
        epochs: that are over, and scored where they are to be.
        batches: of the next epoch that are done.
        epoch_total: the sum of their examples' losses.
        at_once: how many models went through the backbone at once, at most.
        training: what there is of it so far.
        weights: what is trained, on the CPU, under the model's names.
        moments: what the optimizer remembers, on the CPU.
    """

    epochs: int
    batches: int
    epoch_total: float
    at_once: int
    training: Training
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]

    @property
    def place(self) -> tuple[Any, ...]:
        """What models that go on together have in common."""
        return self.epochs, self.batches, self.training.stopped, self.at_once, self.training.micro_batches


class Keeper(Protocol):
    """Whoever keeps where a training stands."""

    def due(self) -> bool:
        """Whether it is to be kept now; asked after each step."""

    def keep(self, standings: Mapping[int, Standing]) -> None:
        """Keep it, by the models' positions. What goes wrong is not training's concern: nothing is raised."""

"""The best epoch of a training that may end early."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Best", "weights_of"]


@dataclass(frozen=True)
class Best:
    """The epoch with the best score so far; of equal ones the first.

    Attributes:
        epoch: from 1.
        value: its score.
        scores: all that it was scored by.
        predictions: what was predicted.
        weights: what was trained, as it was then.
    """

    epoch: int
    value: float
    scores: dict[str, float]
    predictions: tuple[Any, ...]
    weights: Mapping[str, Tensor]

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights it had then."""
        model.load_state_dict(dict(self.weights))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is trained."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

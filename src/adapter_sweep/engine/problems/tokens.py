"""Entities in the words of an example, by a tag a word.

Shapes: B batch, T tokens, C tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems.loss import LossSpec
from adapter_sweep.engine.problems.tags import OUTSIDE, entities_of

__all__ = ["IGNORED", "Tokens"]

IGNORED = -100


@dataclass(frozen=True)
class Tokens:
    """Entities, each (first word, last word, type).

    A word's tag is read off one of its tokens; the others are left out of loss and prediction.

    Attributes:
        types: the entity types.
        places: of each row, the position of the token that each word's tag is read off; None for a word that has none,
            because the row was cut before it or the tokenizer drops it. Such a word is predicted to be outside of
            entities.
    """

    types: tuple[str, ...]
    places: tuple[tuple[int | None, ...], ...]
    per_token: bool = True

    @property
    def about(self) -> dict[str, Any]:
        """Nothing but the type: the label names are the entity types, and the backbone says which token is a word's."""
        return {"type": "tokens"}

    def targets(self, labels: Sequence[Any], tokens: int, /) -> Tensor:
        """The tag of each token, `IGNORED` at those without one, [B, T]; a row's label is the tags of its tokens."""
        targets = torch.full((len(labels), tokens), IGNORED)
        for row, tags in enumerate(labels):
            targets[row, : len(tags)] = torch.tensor(tags)
        return targets

    def loss(self, logits: Tensor, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """Cross entropy, mean over the words of the batch; with weights the weighted mean. 0 for no words at all."""
        weights = None if spec.class_weights is None else logits.new_tensor(spec.class_weights)
        total = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), weights, reduction="sum", label_smoothing=spec.label_smoothing
        )
        # A batch whose every word was dropped has nothing to learn from, and is no reason to divide by 0.
        return total / self.weight(targets, spec).clamp(min=torch.finfo(total.dtype).tiny)

    def weight(self, targets: Tensor, spec: LossSpec, /) -> Tensor:
        """The number of words, or the sum of their tags' weights."""
        tagged = targets[targets != IGNORED]
        if spec.class_weights is None:
            return torch.tensor(float(len(tagged)), device=targets.device)
        return torch.tensor(spec.class_weights, device=targets.device)[tagged].sum()

    def predictions(self, logits: Tensor, rows: Sequence[int], /) -> list[Any]:
        """The entities of each row."""
        best = logits.argmax(dim=-1).tolist()
        return [
            tuple(entities_of([OUTSIDE if at is None else tags[at] for at in self.places[row]], self.types))
            for tags, row in zip(best, rows, strict=True)
        ]

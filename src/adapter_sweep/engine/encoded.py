"""A split as a model takes it, row by row: texts as token ids, images as pixels.

Shapes: B rows of a batch, T tokens, N rows of the split, C channels, H height, W width.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from adapter_sweep.engine.problems import Classification, Problem

__all__ = ["Cut", "Encoded", "EncodedImages", "EncodedTexts", "Shortened"]


@dataclass(frozen=True)
class Cut:
    """How examples come together that were cut into several rows.

    Attributes:
        examples: the example of each row, from 0; each has a row.
        merge: an example's prediction, from what is found in each of its rows.
    """

    examples: tuple[int, ...]
    merge: Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Shortened:
    """What was cut off a split's rows: how many rows, and of `tokens` tasks the words and the entities lost by that."""

    rows: int = 0
    words: int = 0
    entities: int = 0


class Encoded(Protocol):
    """A split as a model takes it, whatever it reads."""

    def __len__(self) -> int:
        """How many rows there are."""

    @property
    def labels(self) -> tuple[Any, ...]:
        """Of each row, what `problem` makes targets of."""

    @property
    def problem(self) -> Problem:
        """What the head's numbers mean."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many hidden states each row becomes, padding left out."""

    @property
    def shortened(self) -> Shortened:
        """What of the examples is not in the rows, where that is known."""

    @property
    def examples(self) -> int:
        """How many examples the rows are of."""

    @property
    def fingerprint(self) -> str:
        """Sha256 over what a model is given of every row, not labels."""

    def predictions(self, found: Sequence[Any], /) -> tuple[Any, ...]:
        """Each example's prediction, in the split's order, from what `problem` found in each row.

        None for an example of which a row has None: it was not scored.
        """

    def inputs(self, rows: Sequence[int], /) -> dict[str, Tensor]:
        """What a model computes on for these rows, by its argument names, padded to the longest of them."""

    def part(self, rows: Sequence[int], /) -> "Encoded":
        """A split of these rows, in this order; a row may be there twice."""


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token ids: one list of ids and one label a row.

    Attributes:
        types: which of a pair's two texts each token is of, for models that are told; None for the others.
        cut: how rows make up the split's examples; None where each row is one, in the split's order.
    """

    ids: tuple[tuple[int, ...], ...]
    labels: tuple[Any, ...]
    pad_id: int
    types: tuple[tuple[int, ...], ...] | None = None
    problem: Problem = field(default_factory=Classification)
    cut: Cut | None = None
    shortened: Shortened = Shortened()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each row."""
        return tuple(map(len, self.ids))

    @property
    def examples(self) -> int:
        """How many examples the rows are of."""
        return len(self) if self.cut is None else 1 + max(self.cut.examples, default=-1)

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 over token ids and types."""
        return hashlib.sha256(repr((self.ids, self.types)).encode()).hexdigest()

    def predictions(self, found: Sequence[Any], /) -> tuple[Any, ...]:
        """Each example's prediction; see `Encoded`."""
        if self.cut is None:
            return tuple(found)
        parts: list[list[Any]] = [[] for _ in range(self.examples)]
        for example, part in zip(self.cut.examples, found, strict=True):
            parts[example].append(part)
        return tuple(None if None in own else self.cut.merge(own) for own in parts)

    def inputs(self, rows: Sequence[int], /) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and, with types, `token_type_ids`: [B, T], padded on the right."""
        longest = max(len(self.ids[row]) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        types = torch.zeros(len(rows), longest, dtype=torch.long) if self.types is not None else None
        for i, row in enumerate(rows):
            ids = self.ids[row]
            input_ids[i, : len(ids)] = torch.tensor(ids)
            mask[i, : len(ids)] = 1
            if types is not None and self.types is not None:
                types[i, : len(ids)] = torch.tensor(self.types[row])
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        return inputs if types is None else {**inputs, "token_type_ids": types}

    def part(self, rows: Sequence[int], /) -> "EncodedTexts":
        """A split of these rows, each an example of its own."""
        ids, labels = tuple(self.ids[row] for row in rows), tuple(self.labels[row] for row in rows)
        types = None if self.types is None else tuple(self.types[row] for row in rows)
        return replace(self, ids=ids, labels=labels, types=types, cut=None)


@dataclass(frozen=True)
class EncodedImages:
    """Images as the pixels that a model's own processor made of them: one label a row.

    Attributes:
        pixels: of all images that were encoded together, in float32, [N, C, H, W].
        tokens: how many hidden states the model makes of an image.
        made_of: sha256 over the images and the processor's settings.
        rows: which of `pixels` each row is.
    """

    pixels: Tensor = field(repr=False)
    labels: tuple[Any, ...]
    tokens: int
    made_of: str
    rows: tuple[int, ...]
    problem: Problem = field(default_factory=Classification)
    shortened: Shortened = Shortened()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Hidden states of each row: all images have as many."""
        return (self.tokens,) * len(self)

    @property
    def examples(self) -> int:
        """How many images there are."""
        return len(self)

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 over what the pixels were made of, and which of them the rows are."""
        return hashlib.sha256(repr((self.made_of, self.rows)).encode()).hexdigest()

    def predictions(self, found: Sequence[Any], /) -> tuple[Any, ...]:
        """What was found in each row: it is the prediction."""
        return tuple(found)

    def inputs(self, rows: Sequence[int], /) -> dict[str, Tensor]:
        """`pixel_values` [B, C, H, W]."""
        return {"pixel_values": self.pixels[[self.rows[row] for row in rows]]}

    def part(self, rows: Sequence[int], /) -> "EncodedImages":
        """A split of these rows, on the same pixels."""
        at, labels = tuple(self.rows[row] for row in rows), tuple(self.labels[row] for row in rows)
        return replace(self, rows=at, labels=labels)

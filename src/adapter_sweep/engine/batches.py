"""Texts as token ids, and the batches an epoch is made of."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.problems import Classification, Problem

__all__ = [
    "Batch",
    "Cut",
    "Encoded",
    "Shortened",
    "collate",
    "count_batches",
    "encode_texts",
    "epoch_batches",
    "moved",
    "pad_id_of",
    "scoring_batches",
    "split_batch",
]

# About how many batches' worth of rows are sorted by length together: more saves padding, fewer mixes better.
_POOL_BATCHES = 50


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


@dataclass(frozen=True)
class Encoded:
    """A split as token ids: one list of ids and one label a row.

    Attributes:
        labels: what `problem` makes targets of.
        types: which of a pair's two texts each token is of, for models that are told; None for the others.
        shortened: what of the texts is not in the rows, where the tokenizer tells.
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

    @property
    def examples(self) -> int:
        """How many examples the rows are of."""
        return len(self) if self.cut is None else 1 + max(self.cut.examples, default=-1)

    def predictions(self, found: Sequence[Any]) -> tuple[Any, ...]:
        """Each example's prediction, in the split's order, from what `problem` found in each row.

        None for an example of which a row has None: it was not scored.
        """
        if self.cut is None:
            return tuple(found)
        parts: list[list[Any]] = [[] for _ in range(self.examples)]
        for example, part in zip(self.cut.examples, found, strict=True):
            parts[example].append(part)
        return tuple(None if None in own else self.cut.merge(own) for own in parts)

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 over what a model is given of every row: token ids and types, not labels."""
        return hashlib.sha256(repr((self.ids, self.types)).encode()).hexdigest()


@dataclass(frozen=True)
class Batch:
    """One batch, padded on the right to its longest text.

    Attributes:
        rows: positions in the split, [B].
        inputs: what a model computes on: `input_ids`, `attention_mask` and, for models that are told a pair's texts
            apart, `token_type_ids`, [B, T].
        targets: what the loss takes, [B, …].
    """

    rows: tuple[int, ...]
    inputs: Mapping[str, Tensor]
    targets: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows B and tokens T, padding counted."""
        rows, tokens = self.inputs["attention_mask"].shape
        return rows, tokens

    def inputs_on(self, device: torch.device) -> dict[str, Tensor]:
        """What a model computes on, on the device."""
        return {name: moved(tensor, device) for name, tensor in self.inputs.items()}


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; to a GPU from pinned memory, so that the copy waits for nothing and nothing for it."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[Any],
    *,
    text_pairs: Sequence[str] | None = None,
    token_types: bool = False,
    max_length: int,
) -> Encoded:
    """Tokenize texts (or pairs of texts), each cut to `max_length` tokens with its special tokens.

    With `token_types`, a pair's tokens say which of its texts they are of, as BERT was pre-trained to be told.
    """
    pairs = list(text_pairs) if text_pairs is not None else None
    told = token_types and pairs is not None  # asked for: a tokenizer need not know what its model is told
    encoded = tokenizer(
        list(texts),
        pairs,
        truncation=True,
        max_length=max_length,
        add_special_tokens=True,
        return_token_type_ids=True if told else None,
    )
    pad_id = pad_id_of(tokenizer)
    # A text of characters the tokenizer drops, with no special tokens, would be an empty row.
    ids = tuple(tuple(row) or (pad_id,) for row in encoded["input_ids"])
    types = encoded["token_type_ids"] if told else None
    encodings = encoded.encodings or [None] * len(ids)  # none of a slow tokenizer, which does not tell
    cut = sum(own is not None and bool(own.overflowing) for own in encodings)
    told_types = tuple(map(tuple, types)) if types is not None else None
    return Encoded(ids, tuple(labels), pad_id, told_types, shortened=Shortened(rows=cut))


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands at padded positions; any id will do, as they are masked."""
    return tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0


def epoch_batches(
    split: Encoded, *, batch_size: int, max_tokens: int, seed: int, epoch: int, done: int = 0
) -> Iterator[Batch]:
    """One epoch's training batches, but the first `done`; the order depends on seed and epoch alone.

    They are of texts of similar length.

    Guarantees: each row is in exactly one batch; a batch has at most `batch_size` rows and, padding counted, at most
    `max_tokens` tokens (but never less than one row).
    """
    groups, generator = _epoch_groups(split, batch_size, max_tokens, seed, epoch)
    for index in torch.randperm(len(groups), generator=generator).tolist()[done:]:
        yield collate(split, groups[index])


def count_batches(split: Encoded, *, batch_size: int, max_tokens: int, seed: int, epoch: int) -> int:
    """How many batches `epoch_batches` yields, without making them."""
    return len(_epoch_groups(split, batch_size, max_tokens, seed, epoch)[0])


def _epoch_groups(
    split: Encoded, batch_size: int, max_tokens: int, seed: int, epoch: int
) -> tuple[list[list[int]], torch.Generator]:
    """The rows of each of an epoch's batches, shortest texts first within a pool, and the generator as they left it."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(split), generator=generator).tolist()
    whole = -(-len(order) // batch_size)
    # Of about equal size: a small last pool would be sorted coarsely, and pad much.
    pool = batch_size * max(1, -(-whole // max(1, round(whole / _POOL_BATCHES))))
    groups: list[list[int]] = []
    for start in range(0, len(order), pool):
        # Python's sort is stable, so rows of equal length stay in their random order.
        rows = sorted(order[start : start + pool], key=lambda row: len(split.ids[row]))
        groups.extend(_cut(split, rows, batch_size, max_tokens))
    return groups, generator


def scoring_batches(split: Encoded, *, batch_size: int, max_tokens: int) -> Iterator[Batch]:
    """Every row once, sorted by length, in the same bounds as `epoch_batches`."""
    rows = sorted(range(len(split)), key=lambda row: len(split.ids[row]))
    for group in _cut(split, rows, batch_size, max_tokens):
        yield collate(split, group)


def _cut(split: Encoded, rows: list[int], batch_size: int, max_tokens: int) -> list[list[int]]:
    """Cut rows, ascending in length, into consecutive groups."""
    groups: list[list[int]] = []
    for row in rows:
        fits = groups and len(groups[-1]) < batch_size and (len(groups[-1]) + 1) * len(split.ids[row]) <= max_tokens
        if fits:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def split_batch(split: Encoded, batch: Batch, parts: int) -> list[Batch]:
    """A batch's rows in so many batches of about equal size, each padded to its own longest; no more than rows."""
    if parts == 1:
        return [batch]
    size = -(-len(batch.rows) // parts)
    return [collate(split, batch.rows[start : start + size]) for start in range(0, len(batch.rows), size)]


def collate(split: Encoded, rows: Sequence[int]) -> Batch:
    """The batch of these rows, in this order."""
    longest = max(len(split.ids[row]) for row in rows)
    input_ids = torch.full((len(rows), longest), split.pad_id)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    types = torch.zeros(len(rows), longest, dtype=torch.long) if split.types is not None else None
    for i, row in enumerate(rows):
        ids = split.ids[row]
        input_ids[i, : len(ids)] = torch.tensor(ids)
        mask[i, : len(ids)] = 1
        if types is not None and split.types is not None:
            types[i, : len(ids)] = torch.tensor(split.types[row])
    inputs = {"input_ids": input_ids, "attention_mask": mask}
    if types is not None:
        inputs["token_type_ids"] = types
    return Batch(tuple(rows), inputs, split.problem.targets([split.labels[row] for row in rows], longest))

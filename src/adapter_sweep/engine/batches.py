"""The batches an epoch is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adapter_sweep.engine.encoded import Encoded

__all__ = [
    "Batch",
    "collate",
    "count_batches",
    "epoch_batches",
    "moved",
    "scoring_batches",
    "split_batch",
]

# About how many batches' worth of rows are sorted by length together: more saves padding, fewer mixes better.
_POOL_BATCHES = 50


@dataclass(frozen=True)
class Batch:
    """One batch; texts are padded on the right to its longest one.

    Attributes:
        rows: positions in the split, [B].
        inputs: what a model computes on: `input_ids`, `attention_mask` and, for models that are told a pair's texts
            apart, `token_type_ids`, [B, T]; or `pixel_values` [B, C, H, W].
        targets: what the loss takes, [B, …].
    """

    rows: tuple[int, ...]
    inputs: Mapping[str, Tensor]
    targets: Tensor

    def inputs_on(self, device: torch.device) -> dict[str, Tensor]:
        """What a model computes on, on the device."""
        return {name: moved(tensor, device) for name, tensor in self.inputs.items()}


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; to a GPU from pinned memory, so that the copy waits for nothing and nothing for it."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def epoch_batches(
    split: Encoded, *, batch_size: int, max_tokens: int, seed: int, epoch: int, done: int = 0
) -> Iterator[Batch]:
    """One epoch's training batches, but the first `done`; the order depends on seed and epoch alone.

    They are of texts of similar length.

    Guarantees: each row is in exactly one batch; a batch has at most `batch_size` rows and, padding counted, at most
    `max_tokens` tokens (but never less than one row). Of an image its hidden states count as tokens.
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
        rows = sorted(order[start : start + pool], key=split.lengths.__getitem__)
        groups.extend(_cut(split, rows, batch_size, max_tokens))
    return groups, generator


def scoring_batches(split: Encoded, *, batch_size: int, max_tokens: int) -> Iterator[Batch]:
    """Every row once, sorted by length, in the same bounds as `epoch_batches`."""
    rows = sorted(range(len(split)), key=split.lengths.__getitem__)
    for group in _cut(split, rows, batch_size, max_tokens):
        yield collate(split, group)


def _cut(split: Encoded, rows: list[int], batch_size: int, max_tokens: int) -> list[list[int]]:
    """Cut rows, ascending in length, into consecutive groups."""
    groups: list[list[int]] = []
    for row in rows:
        fits = groups and len(groups[-1]) < batch_size and (len(groups[-1]) + 1) * split.lengths[row] <= max_tokens
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
    longest = max(split.lengths[row] for row in rows)
    targets = split.problem.targets([split.labels[row] for row in rows], longest)
    return Batch(tuple(rows), split.inputs(rows), targets)
